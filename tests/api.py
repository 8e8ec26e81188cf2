"""A stand-in for the platform's API on loopback, the host of its subscriptions included, and what was asked of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[], Awaitable[web.StreamResponse]]
KEY = "the-api-key"


PENDING, FORGOTTEN = "pending", "forgotten"


class Api:
    """Answers as the platform does, or with `answer` where that is set. `asked` are (path, key), in order.

    `requests` are finished generation requests by id, or PENDING, or FORGOTTEN. `budget` is how many more questions
    are answered before one 429, which asks to wait for `wait` seconds. `headers` come with every answer.
    """

    def __init__(self) -> None:
        self.banners: dict[str, Any] = {}
        self.requests: dict[str, Any] = {}
        self.subscriptions: dict[str, dict[str, str]] = {}
        self.budget: int | None = None
        self.wait = 0
        self.headers: dict[str, str] = {}
        self.answer: Answer | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.base = ""
        self._numbers = itertools.count(1)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.path, request.headers.get("x-api-key")))
        if self.answer is not None:
            return await self.answer()
        if request.headers.get("x-api-key") != KEY:
            return says(401, {"id": "unauthorized", "message": "no such key"})
        if self.budget == 0:
            self.budget = None
            return says(429, {"id": "request_rate_limited", "message": "wait"}, **{"Retry-After": str(self.wait)})
        self.budget = None if self.budget is None else self.budget - 1
        kind, _, name = request.path.removeprefix("/").partition("/")
        answer = await getattr(self, f"_{kind.replace('-', '_')}", self._nothing)(name, request)
        answer.headers.update(self.headers)
        return answer

    async def _nothing(self, _name: str, _request: web.BaseRequest) -> web.Response:
        return says(404, {"id": "not_found", "message": "no such path"})

    async def _auth(self, _name: str, _request: web.BaseRequest) -> web.Response:
        return says(200, {"company": "Acme", "version": "v2026-10-21"})

    async def _banners(self, name: str, _request: web.BaseRequest) -> web.Response:
        if name not in self.banners:
            return says(404, {"id": "visual_not_found", "message": "no such visual"})
        return says(200, self.banners[name])

    async def _generation_request(self, name: str, _request: web.BaseRequest) -> web.Response:
        match self.requests.get(name):
            case None:
                return says(404, {"id": "generation_request_not_found", "message": "no such request"})
            case "pending":
                return says(202, {"id": name, "is_finalized": False, "banners": []})
            case "forgotten":
                return says(410, {"id": "generation_request_expired", "message": "too old"})
            case finished:
                return says(200, {"id": name, "is_finalized": True, **finished})

    async def _subscribe(self, _name: str, request: web.BaseRequest) -> web.Response:
        name = f"sub-{next(self._numbers)}"
        self.subscriptions[name] = await request.json()
        return says(200, {"id": name})

    async def _webhook(self, name: str, _request: web.BaseRequest) -> web.Response:
        if name not in self.subscriptions:
            return says(404, {"id": "webhook_not_found", "message": "no such webhook"})
        return says(200, {"id": name, **self.subscriptions[name]})

    async def _unsubscribe(self, name: str, _request: web.BaseRequest) -> web.Response:
        if self.subscriptions.pop(name, None) is None:
            return says(404, {"id": "webhook_not_found", "message": "no such webhook"})
        return says(204, None)

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


def says(status: int, body: Any, **headers: str) -> web.Response:
    """Answer with JSON, or with nothing at all."""
    return web.Response(status=status) if body is None else web.json_response(body, status=status, headers=headers)
