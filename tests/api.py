"""A stand-in for the platform's API on loopback: `banners` by id, and what was asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[], Awaitable[web.StreamResponse]]
KEY = "the-api-key"


class Api:
    """Answers as the platform does, or with `answer` where that is set. `asked` are (path, key), in order."""

    def __init__(self) -> None:
        self.banners: dict[str, Any] = {}
        self.answer: Answer | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.base = ""

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.path, request.headers.get("x-api-key")))
        if self.answer is not None:
            return await self.answer()
        banner = self.banners.get(request.path.removeprefix("/banners/"))
        if banner is None:
            return web.json_response({"id": "visual_not_found", "message": "no such visual"}, status=404)
        return web.json_response(banner)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Api]:
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.base = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()
