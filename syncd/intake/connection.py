"""One connection: its deadline, and what it says when no request comes together on it.

aiohttp has no time limit on a request's headers, and says unparsable requests with a
traceback; both are mended here, on top of its public protocol class. Which connections there
are is `server`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from syncd.intake import answers

log = logging.getLogger(__name__)

_KEEP_ALIVE = 75.0  # seconds between two requests; more than the usual 60 of a reverse proxy
_LINGERING = 2.0  # seconds that a refused body is read on, so that the client sees the answer


class Connection(web.RequestHandler):
    """The HTTP protocol of one accepted socket, from accept to the last answer.

    From accept, and from the first byte of each later request, `timeout()` seconds (asked
    anew each time) are given for all of a request, headers and body. Late headers are answered
    408 right here; a late body ends the handler's read with TimeoutError.
    `gone` is called once the socket is closed and no handler is at work for it any more;
    `refused` is told (word, peer, reason) of what was answered here because no handler could.
    """

    __slots__ = ("_deadline", "_gone", "_refused", "_request", "_timeout", "_timer", "begun", "closing", "host")

    def __init__(
        self,
        server: web.Server,
        *,
        host: str,
        timeout: Callable[[], float],
        gone: Callable[[Connection], None],
        refused: Callable[[answers.Word, str, str], None],
    ) -> None:
        untyped: dict[str, Any] = {"access_log": None}  # aiohttp takes None, its annotation does not
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_KEEP_ALIVE,
            lingering_time=_LINGERING,
            auto_decompress=False,
            logger=log,
            **untyped,
        )
        self.host = host
        self.begun = False  # a byte of a request has come that is not answered yet
        self.closing = False  # the next answer is the last one
        self._gone = gone
        self._refused = refused
        self._timeout = timeout
        self._request: web.BaseRequest | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._start_clock()

    @property
    def waiting(self) -> bool:
        """Tell if the other side is still to send something, be it a request or the rest of one."""
        return self._request is None or not self._request.content.is_eof()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket; the first ones of a request start its clock."""
        if data and self._request is None:
            self.begun = True
            if self._deadline is None:
                self._start_clock()
        super().data_received(data)

    def request_begins(self, request: web.BaseRequest) -> None:
        """Note that a request's headers are whole: from here on its handler is at work."""
        self.begun = True
        self._request = request
        if self._deadline is None:  # pipelined behind another one
            self._start_clock()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a request's answer; keep the connection if all of the request was read."""
        # Bytes of an unread body would otherwise be taken for the next request.
        if self.closing or not request.content.is_eof():
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._request = self._deadline = None
            self.begun = False
            if self.transport is None:
                self._gone(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the clock; a handler that is at work may finish."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        if self._request is None:
            self._gone(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the request, which is not said back
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse (400), and what a handler did not survive."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if isinstance(exc, ConnectionError):
            log.debug("the client went away", extra={"address": self.host})
        elif status == 400:  # noqa: PLR2004 - as aiohttp calls unparsable requests
            self._refused("malformed", self.host, ascii(exc)[:200])
        else:
            self._refused("internal", self.host, "a bug of syncd")
            log.error("a request's handler failed", exc_info=exc)
        resp = answers.refusal("malformed" if status == 400 else "internal")  # noqa: PLR2004 - as above
        resp.force_close()
        return resp

    def _start_clock(self) -> None:
        # One timer serves many requests: it looks at the deadline only when it rings.
        self._deadline = self._loop.time() + self._timeout()
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        elif self._request is None:
            if self.transport is not None:
                self._refused("timeout", self.host, "no whole request came within server.request_timeout")
                self.transport.write(answers.raw_timeout())
            self.force_close()
        elif not self._request.content.is_eof():
            self._request.content.set_exception(TimeoutError("the request did not arrive in time"))
