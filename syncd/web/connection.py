"""One connection: its clock, whose turn it is, and what it says at the end.

Its requests are read by `incoming` and answered by a service; which connections there are is
`server`'s business. There is no task to a connection: each step follows from bytes, an answer
or the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from syncd.web.answers import CONTINUE, Answer, Refused, Stream, framed
from syncd.web.incoming import Incoming
from syncd.web.request import Malformed
from syncd.web.service import Service

_KEEP_ALIVE = 75.0  # seconds between two requests; more than the usual 60 of a reverse proxy
_UNREAD = 75.0  # seconds that the client of a stream has to take most of a piece
_LINGERING = 2.0  # seconds that a refused request is read on, so that the client sees the answer


class Connection(asyncio.Protocol):
    """The HTTP protocol of one accepted socket, from its first byte to the last answer.

    From the moment it stands, and from the first byte of each later request, `timeout()` seconds (asked
    anew each time) are given for all of a request, headers and body; what is late is answered 408.
    Requests sent ahead wait for their turn, and their client does once there is more than a read of them.
    A stream goes on as its client reads it, and is cut off where it can't be brought to its end.
    `gone` is called once the socket is closed and the service has no request of it any more, `came` with
    the number of bytes that have come and not made a request whole.
    """

    __slots__ = (
        "_asked", "_came", "_coming", "_deadline", "_gone", "_idle", "_incoming", "_lingers", "_loop", "_service",
        "_stream", "_timeout", "_timer", "_unread", "begun", "closing", "host", "transport",
    )  # fmt: skip

    def __init__(
        self,
        service: Service[Any],
        *,
        host: str,
        timeout: Callable[[], float],
        gone: Callable[[Connection], None],
        came: Callable[[int], None],
    ) -> None:
        self.host = host
        self.transport: asyncio.Transport | None = None
        self.begun = False  # a byte of a request has come that is not answered yet
        self.closing = False  # the next answer is the last one
        self._service = service
        self._incoming = Incoming(service, host)
        self._timeout = timeout
        self._gone = gone
        self._came = came
        self._loop = asyncio.get_running_loop()
        self._asked = False  # the client was told to send the body
        self._unread = False  # the client leaves its answers where they are
        self._lingers = False  # the last answer is given, and what still comes is dropped
        self._idle = False  # nothing is wrong if no request comes for a while
        self._stream: Stream | None = None  # the answer in hand, which goes on
        self._coming: asyncio.Future[bytes] | None = None  # its next piece
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Tell if it is the other side's turn, be it to send a request or the rest of one."""
        return not self._incoming.whole

    @property
    def held(self) -> int:
        """Bytes of a request that is not whole."""
        return self._incoming.size if self.waiting else 0

    @property
    def _speaks_old(self) -> bool:
        """Tell if the request in hand is of HTTP/1.0, which knows of no chunks."""
        request = self._incoming.request
        return request is not None and request.version == "1.0"

    # ---- what the transport calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock; a TLS handshake is over by now."""
        self.transport = cast("asyncio.Transport", transport)
        self._wind(self._timeout())

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._lingers or self.transport is None:
            return
        self._incoming.ahead += data
        if self._incoming.whole or self._unread:
            self.transport.pause_reading()
        else:
            self._go_on()
            if self.waiting:
                self._came(len(data))

    def eof_received(self) -> bool:
        """Answer what is whole to a client that has no more to say, but may still listen."""
        if not self._incoming.whole or self.transport is None or not self.transport.can_write_eof():
            return False
        self.transport.pause_reading()  # this end is met again after the answer
        return True

    def pause_writing(self) -> None:
        """Go no further for now: the client does not read its answers."""
        self._unread = True
        if self._stream is not None:
            self._wind(_UNREAD)

    def resume_writing(self) -> None:
        """Go on: it does."""
        self._unread = False
        if self._stream is not None:
            self._deadline = None
            self._stream_on()
        else:
            self._go_on()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - it makes no difference why
        """Forget the clock, and a stream; what the service is about to answer, it may finish."""
        self.transport = None
        self._incoming.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            self._end_stream()
        elif not self._incoming.whole:
            self._gone(self)

    def force_close(self) -> None:
        """Close without another word."""
        if self.transport is not None:
            self.transport.close()

    # ---- one request after another ----

    def _go_on(self) -> None:
        """Read on in what has come, to the end of one request; the next one is looked at when that is answered."""
        incoming = self._incoming
        if not self.waiting or self._unread or self._lingers or self.transport is None:
            return
        try:
            begun = incoming.read()
        except Malformed as malformed:
            self._refuse(Refused("malformed", str(malformed)[:200]), broken=True)
            return
        except Exception as bug:  # noqa: BLE001 - the client is to hear of it
            self._send(self._service.fail(bug), broken=True)
            return
        if begun and not self.begun:
            self.begun = True
            if self._idle and not incoming.whole:
                self._idle = False
                self._wind(self._timeout())
        if incoming.refused is not None:
            self._refuse(incoming.refused)
        elif incoming.request is None:
            self.transport.resume_reading()
        elif incoming.whole:
            self._deadline = None
            self._service.receive(incoming.request, incoming.body, self._send)
        else:
            if incoming.request.asks_first and not self._asked:
                self._asked = True
                self.transport.write(CONTINUE)
            self._take_turns() if incoming.more else self.transport.resume_reading()

    def _refuse(self, refused: Refused, *, broken: bool = False) -> None:
        if self._incoming.request is not None:
            self._send(self._service.refuse(self._incoming.request, refused), broken=broken)
        else:
            self._send(self._service.never_whole(refused.word, self.host, str(refused)), broken=broken)

    def _send(self, answer: Answer, *, broken: bool = False) -> None:
        """Answer the request in hand, with the beginning of a stream at least."""
        incoming, request, old = self._incoming, self._incoming.request, self._speaks_old
        clear = incoming.whole and not broken  # where this one ends
        last = self.closing or not incoming.keep or not clear
        bodiless = request is not None and request.method == "HEAD"
        if isinstance(answer, Stream):
            self._stream, last = answer, last or old
        if self.transport is not None:
            self.transport.write(answer.encode(last=last, old=old, bodiless=bodiless))
        if self._stream is None:
            self._turn(last=last, clear=clear)
        elif bodiless or self.transport is None:
            self._end_stream()
        else:
            self._stream_on()

    def _stream_on(self) -> None:
        """Ask for the next piece of a stream, unless the client has to read first."""
        if self._stream is not None and not self._unread:
            self._coming = self._stream.following()
            self._coming.add_done_callback(self._pass_on)

    def _pass_on(self, coming: asyncio.Future[bytes]) -> None:
        if self._stream is None:  # whoever wanted it has gone
            return
        try:
            piece = coming.result()
        except (Exception, asyncio.CancelledError) as bug:  # noqa: BLE001 - the client is to see that there is no end
            self._service.fail(bug)
            if self.transport is not None:
                self.transport.abort()
            return
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(framed(piece, old=self._speaks_old))
        self._stream_on() if piece else self._end_stream()

    def _end_stream(self) -> None:
        self._stream = None
        if self._coming is not None:
            self._coming.cancel()  # nobody is to read for who has gone
            self._coming = None
        self._turn(last=self.closing or not self._incoming.keep or self._speaks_old, clear=True)

    def _turn(self, *, last: bool, clear: bool) -> None:
        """Turn to the next request, or close where it can't be told from this one."""
        incoming = self._incoming
        incoming.forget()
        if self.transport is None:
            self._gone(self)
            return
        self.begun = self._asked = False
        self._idle = True
        if not last:
            self._wind(_KEEP_ALIVE)
            if incoming.ahead or not self.transport.is_reading():
                self._take_turns()
        elif clear and not incoming.ahead:
            self.transport.close()
        else:  # closed at once, with bytes unread, the system would take the answer back
            self._lingers, incoming.ahead = True, b""
            self._wind(_LINGERING)
            if self.transport.can_write_eof():
                with suppress(OSError):  # the client has gone, unseen while nothing was read
                    self.transport.write_eof()
            self.transport.resume_reading()

    def _take_turns(self) -> None:
        """Read on behind others, who wait as well."""
        assert self.transport is not None  # noqa: S101 - or there would be nothing to read on
        self.transport.pause_reading()
        self._loop.call_soon(self._go_on)

    # ---- the clock ----

    def _wind(self, seconds: float) -> None:
        # One timer serves many requests: it looks at the deadline only when it rings.
        self._deadline = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None or self.transport is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        elif self._lingers or self._unread:
            self.transport.abort()
        elif self._idle:
            self.transport.close()
        else:
            self._refuse(Refused("timeout", "it did not come whole in time"))
