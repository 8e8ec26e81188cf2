"""A stand-in for Abstract on loopback: its API, its previews and its objects, each on a port of its own.

Answers as the facts of the platform's SDK have it: a token and a version for each question, a budget a minute
shared by all three, previews that are rendered a while after they were told of.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "the-token"
PROJECT = "c2d4e6f8-0a1b-4c2d-8e3f-4a5b6c7d8e9f"
BRANCH = "71aa20b4-93c1-4d0e-8f6b-2c9d5e4f3a10"
FILE = "A1B2C3D4-0000-4AAA-8BBB-CCCCDDDDEEEE"
LAYER = "F00DBABE-1111-4222-8333-444455556666"

_VERSIONS = {"project": "22", "branch": "17", "changeset": "19"}


@dataclass
class Asked:
    """One request as it came."""

    role: str
    path: str
    token: str | None


@dataclass
class Abstract:
    """What the platform knows. `answer` is (status, headers) for everything the API is asked, where it is set.

    `changes` are by commit, `names` of layers and files by id; `previews` are by (commit, layer): bytes, or a URL that
    is redirected to; those in `unrendered` are not there for so many requests. `exported` are by commit, None where the
    plan has none. `deliveries` are by webhook, its URL and the record of what was sent there.
    `budget` requests are answered in `window` seconds.
    """

    changes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=lambda: {PROJECT: "Checkout v2", FILE: "Icons", LAYER: "icon/cart"})
    previews: dict[tuple[str, str], bytes | str] = field(default_factory=dict)
    unrendered: dict[tuple[str, str], int] = field(default_factory=dict)
    exported: dict[str, list[dict[str, Any]]] | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    deliveries: dict[str, tuple[str, list[dict[str, Any]]]] = field(default_factory=dict)
    answer: tuple[int, dict[str, str]] | None = None
    budget: int = 120
    window: float = 60.0
    delta: bool = False
    asked: list[Asked] = field(default_factory=list)
    refused: int = 0
    urls: dict[str, str] = field(default_factory=dict)
    _ports: dict[int, str] = field(default_factory=dict)
    _times: deque[float] = field(default_factory=deque)

    def config(self) -> str:
        """The keys of `[sources.abstract]` that lead here."""
        return "\n".join(f'{role}_url = "{url}"' for role, url in self.urls.items())

    def commit(self, sha: str, *layers: str, content: bytes, **change: Any) -> None:
        """Let a commit change these layers, whose previews have a content each."""
        for layer in layers or (LAYER,):
            self.changes.setdefault(sha, []).append(changed(layer, **change))
            self.previews[sha, layer] = content

    def paths(self, role: str) -> list[str]:
        """What one of the three was asked, in order."""
        return [asked.path for asked in self.asked if asked.role == role]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        role = self._ports[request.transport.get_extra_info("sockname")[1]]
        token = request.headers.get("Authorization")
        self.asked.append(Asked(role, request.path_qs, token))
        if token != f"Bearer {TOKEN}":
            return web.json_response({"message": "who are you?"}, status=401)
        if late := self._over_budget():
            self.refused += 1
            return web.json_response({"message": "slow down"}, status=429, headers={"ratelimit-reset": late})
        parts = request.path.strip("/").split("/")
        if role == "api" and self.answer is not None:
            return web.json_response({"message": "no"}, status=self.answer[0], headers=self.answer[1])
        return getattr(self, f"_{role}")(parts, request)

    def _over_budget(self) -> str:
        now = time.time()
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        if len(self._times) < self.budget:
            self._times.append(now)
            return ""
        left = self._times[0] + self.window - now
        return f"{int(left) + 1}" if self.delta else f"{int(now + left) + 1}"

    def _api(self, parts: list[str], request: web.BaseRequest) -> web.Response:
        version = request.headers.get("Abstract-Api-Version")
        match parts:
            case ["projects", project]:
                subject, said = "project", {"data": {"id": project, "name": self.names[project]}}
            case ["projects", _, "branches", _, "commits", sha, "changeset"] if sha in self.changes:
                subject, said = "changeset", {"changeset": {"sha": "its-parent", "changes": self.changes[sha]}}
            case ["projects", _, "branches", _, "commits", sha, "files"] if sha in self.changes:
                files = {change["fileId"] for change in self.changes[sha]}
                listed = [{"id": file, "name": self.names[file]} for file in files if file in self.names]
                subject, said = "files", {"files": listed}
            case ["projects", _, "branches", _, "commits", _, "files", _, "layers", layer]:
                if layer not in self.names:
                    return web.json_response({"message": "no such layer"}, status=404)
                subject, said = "layer", {"layer": {"id": layer, "name": self.names[layer], "type": "artboard"}}
            case ["projects", _, "assets"] if self.exported is not None:
                subject, said = "assets", {"data": {"assets": self.exported.get(request.query["sha"], [])}}
            case ["projects", _, "assets"]:
                return web.json_response({"message": "not in your plan"}, status=403)
            case ["organizations", _, "webhooks"]:
                listed = [{"id": name, "url": url, "active": True} for name, (url, _) in self.deliveries.items()]
                subject, said = "webhooks", listed
            case ["organizations", _, "webhooks", name, "deliveries"]:
                subject, said = "deliveries", self.deliveries[name][1]
            case _:
                return web.json_response({"message": "no such thing"}, status=404)
        assert version == _VERSIONS.get(subject, "8"), f"{subject} asked with version {version}"
        return web.json_response(said)

    def _previews(self, parts: list[str], _request: web.BaseRequest) -> web.Response:
        match parts:
            case ["projects", _, "commits", sha, "files", _, "layers", layer]:
                preview = self.previews.get((sha, layer))
            case _:
                preview = None
        if preview is None:
            return web.Response(status=404)
        if self.unrendered.get((sha, layer), 0):
            self.unrendered[sha, layer] -= 1
            return web.Response(status=404)
        if isinstance(preview, str):
            return web.Response(status=302, headers={"Location": preview})
        return web.Response(body=preview, content_type="image/png")

    def _objects(self, parts: list[str], _request: web.BaseRequest) -> web.Response:
        body = self.objects.get("/".join(parts))
        return web.Response(status=404) if body is None else web.Response(body=body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Abstract]:
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await runner.setup()
        try:
            for role in ("api", "previews", "objects"):
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                port = runner.addresses[-1][1]
                self._ports[port] = role
                self.urls[role] = f"http://127.0.0.1:{port}"
            yield self
        finally:
            await runner.cleanup()


def changed(layer: str = LAYER, *, file: str = FILE, status: str = "edited", **fields: Any) -> dict[str, Any]:
    """One entry of a changeset."""
    entry = {"type": "artboard", "status": status, "hasPreview": True, "meta": {}}
    return {**entry, "fileId": file, "pageId": "0BADCAFE-1111-4222-8333-444455556666", "layerId": layer, **fields}


def push(*commits: tuple[str, str], branch: str = BRANCH, name: str = "cart-icons", project: str = PROJECT) -> bytes:
    """A delivery that tells of commits, each with its sha and its time."""
    told = [
        {"sha": sha, "time": at, "title": "Redraw cart icon", "userName": "Mia Lindt", "fileIds": [FILE],
         "type": "NORMAL", "parents": [], "objectType": "commit"}
        for sha, at in commits
    ]  # fmt: skip
    within = {"id": branch, "name": name, "projectId": project, "status": "wip", "objectType": "branch"}
    return event("commits.created", branch=within, commits=told, objectType="commits")


def event(name: str, /, **thing: Any) -> bytes:
    """A delivery of any event, in the platform's compact JSON."""
    said = {"createdAt": "2021-03-04T09:15:02Z", "event": name, "data": {"object": thing}}
    return json.dumps(said, separators=(",", ":")).encode()


def tried(body: bytes, *, error: bool = True, at: str = "2026-11-22T03:00:00Z") -> dict[str, Any]:
    """One entry of the platform's record of deliveries."""
    asked = {"body": json.loads(body), "headers": {"User-Agent": "Abstract-Webhooks"}}
    return {"id": "d1", "error": error, "pushedAt": at, "request": asked, "response": {"code": 502, "body": {}}}
