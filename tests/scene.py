"""A stage with the platform, the daemon and a watcher on it: what a scenario is played on."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running import PATIENCE, Running, running
from truth import Truth, is_json

from syncd.demo.stage import Stage


@dataclass(frozen=True, slots=True)
class Scene:
    """A platform, a daemon and somebody who watches the mirror all the time."""

    stage: Stage
    daemon: Running
    truth: Truth

    def put(self, path: str, content: bytes, **headers: str) -> str:
        """Serve a content, which may be visible from now on; returns its URL."""
        self.truth.serves(content)
        return self.stage.put(path, content, **headers)

    async def send(self, *payloads: Any, path: str = "") -> None:
        """Deliver these in order, each under an id of its own, as the platform does; all must be accepted."""
        for payload in payloads:
            name = uuid.uuid4().hex
            status, answer = await self.daemon.send(payload, delivery_id=name, path=f"/webhooks/abyssale{path}")
            assert (status, answer["status"]) == (200, "accepted"), answer

    async def settle(self) -> None:
        """Wait until nothing is left to do, and everything is as it should be then."""
        await self.daemon.idle()
        await self.tidy()

    async def tidy(self) -> None:
        """Wait until everything published is named and counted, and nothing else is there."""
        found: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE / 3):
                while found := await asyncio.to_thread(self.truth.untidy):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError("\n".join(found)) from None

    def files(self) -> dict[str, bytes]:
        """Every visible file that is neither manifest nor list of checksums, by its path."""
        return {path: content for path, content in self.daemon.files().items() if not is_json(path)}

    def manifest(self, folder: str) -> Any:
        """Read a folder's manifest."""
        return json.loads((self.daemon.root / folder / "manifest.json").read_bytes())

    def entries(self) -> dict[str, dict[str, Any]]:
        """Every entry of every folder's manifest, by its path."""
        folders = [self.manifest(line["path"]) for line in self.daemon.index()["folders"]]
        return {entry["path"]: entry for folder in folders for entry in folder["assets"]}

    async def deliveries(self) -> list[dict[str, Any]]:
        """Ask for the inbox, oldest first."""
        answer = await self.daemon.api("/api/deliveries?limit=1000")
        return list(reversed(answer["deliveries"]))

    async def failures(self) -> list[dict[str, Any]]:
        """Ask for what waits after a failed go, and what was given up."""
        return list((await self.daemon.api("/api/status"))["failures"])


@asynccontextmanager
async def watched(folder: Path, **sections: str) -> AsyncIterator[Scene]:
    """A daemon between a stage and a watcher; all promises about files must hold from start to stop."""
    truth = Truth(folder / "mirror")
    async with Stage() as stage, truth.watching():
        async with running(folder, **sections) as daemon:
            yield Scene(stage, daemon, truth)
        assert not any((folder / "mirror" / ".syncd" / "tmp").iterdir())
