"""Those who are told: a server on loopback that takes notifications, and hooks as the library verifies them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Asked:
    """One request: `said` is its JSON, None where it has no body."""

    method: str
    target: str
    headers: dict[str, str]
    said: Any


@dataclass
class Audience:
    """`answer` gives the status of the n-th request, counted from 1; only what got a 2xx is `heard`."""

    answer: Callable[[int], int] = lambda _: 204
    headers: dict[str, str] = field(default_factory=dict)
    base: str = ""
    asked: list[Asked] = field(default_factory=list)
    heard: list[Asked] = field(default_factory=list)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if "webhook-signature" in request.headers:
            Webhook(SECRET).verify(body, dict(request.headers))  # raises, and so answers 500
        asked = Asked(request.method, request.raw_path, dict(request.headers), json.loads(body) if body else None)
        self.asked.append(asked)
        status = self.answer(len(self.asked))
        if status < 300:
            self.heard.append(asked)
        return web.Response(status=status, headers=self.headers)

    def changes(self) -> list[dict[str, Any]]:
        """Every change that was heard, in order, repeated messages once."""
        by_id = {asked.headers["webhook-id"]: asked.said for asked in self.heard}
        return [change for said in by_id.values() for change in said["data"]["changes"]]

    def paths(self, event: str = "asset.published") -> Counter[str]:
        """How often each path was told of."""
        return Counter(change["path"] for change in self.changes() if change["event"] == event)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Audience]:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{tail:.*}", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base = runner.addresses[0] and f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
