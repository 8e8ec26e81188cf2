"""The admin listener's connections: an aiohttp application behind a `Listener` of ours.

Who asks there is trusted, and aiohttp's own limits are enough; here is only what a listener
must know of a connection to make room and to drain. The public listener has nothing of this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

log = logging.getLogger(__name__)


class Visit(web.RequestHandler):
    """The HTTP protocol of one accepted socket. `timeout()` is how many seconds may pass without a whole request.

    `gone` is called once the socket is closed and no handler is at work for it any more.
    """

    __slots__ = ("_gone", "begun", "closing", "host", "waiting")

    def __init__(
        self, server: web.Server, *, host: str, timeout: Callable[[], float], gone: Callable[[Visit], None]
    ) -> None:
        untyped: dict[str, Any] = {"access_log": None}  # aiohttp takes None, its annotation does not
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=timeout(), logger=log, **untyped)
        self.host = host
        self.begun = False  # a byte of a request has come that is not answered yet
        self.closing = False  # the next answer is the last one
        self.waiting = True  # for the other side, not for a handler
        self._gone = gone

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self.begun = True
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a request's answer."""
        if self.closing:
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.begun, self.waiting = False, True
            if self.transport is None:
                self._gone(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let a handler that is at work finish."""
        super().connection_lost(exc)
        if self.waiting:
            self._gone(self)


def visits(application: web.Server) -> Callable[..., Visit]:
    """Return how a `Listener` makes connections to an application, given its runner's server."""

    def begin(message: Any, payload: Any, protocol: Any, *rest: Any) -> web.BaseRequest:
        protocol.waiting = False
        return application.request_factory(message, payload, protocol, *rest)

    return partial(Visit, web.Server(application.request_handler, request_factory=begin))
