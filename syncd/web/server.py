"""A listening socket and the connections it brings, for either of the daemon's two listeners.

Accepting is done here rather than by asyncio's server, so that a connection counts from the
moment it is accepted, TLS handshake included, and so that what waits in the backlog is
answered when the socket closes. What is said on a connection is its own business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any

from syncd.config import Tls
from syncd.web.connection import Connection
from syncd.web.listen import let_nobody_new_in, release
from syncd.web.service import Service

log = logging.getLogger(__name__)

CONNECTIONS = 1000
"""How many there may be at once; beyond it, idle ones make room for new ones."""
UNFINISHED = 128 << 20
"""Bytes of requests that are not whole; beyond it, connections of whoever holds most of them are dropped."""

_ACCEPTED_AT_ONCE = 64
_BREATH = 1.0  # seconds without accepting after the process ran out of file descriptors
_LAST_CALL = 1.0  # seconds that idle connections are kept when draining, for requests under way
_AT_THE_DOOR = 0.05  # seconds in which a connection that has begun can be complete
_UNREAD_MS = 30_000  # that a client may leave an answer unread before the kernel drops it


class Listener:
    """Serves one socket: `open` begins accepting, `drain` ends it, answers what is there and closes.

    Its connections' requests are answered by `service`; `timeout` tells the seconds for a whole
    request or a TLS handshake. `tls` may be replaced at any time; it is used for
    connections from then on. The listener owns `sock`; the file of a unix socket is removed with it,
    unless it is `inherited` and so belongs to systemd.
    """

    def __init__(
        self,
        sock: socket.socket,
        service: Service[Any],
        *,
        timeout: Callable[[], float],
        tls: ssl.SSLContext | None = None,
        inherited: bool = False,
    ) -> None:
        self.tls = tls
        self._socket = sock
        self._service = service
        self._timeout = timeout
        self._inherited = inherited
        # Each with the task that brings it up, the oldest first.
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing = False
        self._unweighed = 0

    @property
    def sock(self) -> socket.socket:
        """The socket that is listened on, closed once draining began."""
        return self._socket

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._socket.getsockname()[1])

    def open(self) -> None:
        """Begin to accept."""
        self._loop = asyncio.get_running_loop()
        self._resume()

    async def drain(self, grace: float) -> None:
        """Stop accepting, answer what is there, and close, within `grace` seconds.

        What waits in the backlog is served like any other, unless the socket is inherited: then it
        is left to the next process. Every answer from here on is the last one of its connection.
        Connections that stay idle are closed after a moment, in which a request that was under
        way may arrive. Cancellation cuts off what is left.
        Draining again does nothing.
        """
        if self._closing:
            return
        self._closing = True
        for connection in self._connections:
            connection.closing = True
        ends = self._loop.time() + grace
        if not self._inherited:
            let_nobody_new_in(self._socket)
            await asyncio.sleep(min(grace, _AT_THE_DOOR))
        self._loop.remove_reader(self._socket)
        while not self._inherited and self._accept():
            pass
        self._close_socket()
        try:
            await self._emptied(min(ends, self._loop.time() + _LAST_CALL))
            for connection in list(self._connections):
                if not connection.begun and connection.transport is None:  # a TLS handshake does not come together
                    self._drop(connection)
                elif not connection.begun:
                    connection.force_close()
            await self._emptied(ends)
        finally:
            late = list(self._connections)
            if late:
                log.warning("connections cut off", extra={"connections": len(late)})
            for connection in late:
                self._drop(connection)

    def _resume(self) -> None:
        if not self._closing:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> bool:
        """Take connections from the backlog, some at once; tell if there may be more."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                log.error("can't accept connections", extra={"reason": str(error)})  # noqa: TRY400 - no bug of ours
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_BREATH, self._resume)
                return False
            self._admit(accepted, peer[0] if isinstance(peer, tuple) else "")
        return True

    def _admit(self, accepted: socket.socket, host: str) -> None:
        if len(self._connections) >= CONNECTIONS and not self._make_room(lambda _: 1):
            accepted.close()
            return
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        connection = Connection(self._service, host=host, timeout=self._timeout, gone=self._forget, came=self._count)
        connection.closing = self._closing
        self._connections[connection] = self._loop.create_task(self._bring_up(connection, accepted))
        self._empty.clear()

    async def _bring_up(self, connection: Connection, accepted: socket.socket) -> None:
        seconds = self._timeout() if self.tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self.tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=1.0 if self.tls else None,
            )
        except OSError as error:  # of TLS as well
            log.debug("no TLS handshake", extra={"address": connection.host, "reason": str(error)})
            error.with_traceback(None)  # which would hold on to the connection's buffers, in a circle
        finally:
            if connection.transport is None:
                accepted.close()
                self._forget(connection)

    def _make_room(self, weight: Callable[[Connection], int]) -> bool:
        """Drop the oldest waiting connection of the address whose waiting ones weigh the most, if any waits."""
        waiting = {connection: weight(connection) for connection in self._connections if connection.waiting}
        loads = Counter[str]()
        for connection, load in waiting.items():
            loads[connection.host] += load
        if not loads:
            return False
        greediest, _ = loads.most_common(1)[0]
        self._drop(next(connection for connection in waiting if connection.host == greediest and waiting[connection]))
        return True

    def _count(self, more: int) -> None:
        """Count what has come of unfinished requests. What of it is still held is looked at once in a while."""
        self._unweighed += more
        if self._unweighed < UNFINISHED // 8:
            return
        self._unweighed = 0
        while sum(connection.held for connection in self._connections) > UNFINISHED:
            self._make_room(lambda connection: connection.held)

    def _drop(self, connection: Connection) -> None:
        self._connections[connection].cancel()  # a TLS handshake under way
        if connection.transport is not None:
            connection.transport.abort()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._empty.set()

    async def _emptied(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._empty.wait()
        except TimeoutError:
            return

    def _close_socket(self) -> None:
        if self._inherited:
            self._socket.close()
        else:
            release(self._socket)


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Read a certificate and its key for a listener; raises OSError (ssl.SSLError among them)."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(tls.cert, tls.key, password="")  # never ask on a terminal
    return context
