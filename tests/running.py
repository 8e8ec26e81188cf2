"""The daemon as users have it: a process with a config file, two listeners and a tree."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from nursery import Child, born

from syncd.demo.ports import free_port
from syncd.demo.send import deliver

SECRET = "whsec_" + "5" * 64
PATIENCE = 30.0

CONFIG = """\
[server]
listen = "127.0.0.1:{port}"
{server}
[admin]
listen = "127.0.0.1:{admin}"
[sources.abyssale]
secret = {{ env = "TEST_SECRET" }}
{abyssale}
[mirror]
root = "../mirror"
min_free = "0"
{mirror}
[journal]
url = "sqlite:///../state/journal.db"
[download]
allowed_hosts = ["127.0.0.1"]
allow_http = true
allow_private = true
{download}
[retry]
attempts = 3
first = "10ms"
longest = "100ms"
pause = "200ms"
give_up_after = "3s"
{retry}
[manifest]
delay = "100ms"
{manifest}
[approval]
{approval}
[exports]
{exports}
[log]
format = "json"
"""


class Running:
    """One daemon process below `folder`, and the questions that tests ask of it.

    A `fresh` one has an interpreter of its own, as users start it; others come from the nursery, through `entry`.
    """

    def __init__(self, folder: Path, *, fresh: bool = False, entry: str = "syncd.cli:main") -> None:
        self.folder = folder
        self.fresh = fresh
        self.entry = entry
        self.root = folder / "mirror"
        self.config = folder / "config" / "sync.toml"
        self.port = free_port()
        self.admin = free_port()
        self.log = folder / "log"
        self.process: Child | asyncio.subprocess.Process
        self.session: aiohttp.ClientSession

    def write_config(self, text: str | None = None, **sections: str) -> None:
        """Write the config; each section takes more lines of its own."""
        tables = "server", "abyssale", "mirror", "download", "retry", "manifest", "approval", "exports"
        known = dict.fromkeys(tables, "")
        text = text or CONFIG.format(port=self.port, admin=self.admin, **{**known, **sections})
        self.config.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    async def start(self) -> None:
        """Start the process and wait until it accepts."""
        await self.begin()
        await self.until(self.answers, "the daemon answers")

    async def begin(self) -> None:
        """Start the process."""
        command, env = ("run", "--config", str(self.config)), {**os.environ, "TEST_SECRET": SECRET}
        with self.log.open("ab") as log:
            if self.fresh:
                syncd = sys.executable, "-m", "syncd"
                self.process = await asyncio.create_subprocess_exec(*syncd, *command, env=env, stderr=log)
            else:
                self.process = await born(self.entry, *command, env=env, stderr=log)

    async def answers(self) -> bool:
        """Tell if the admin listener says ready; fails if the process has ended."""
        assert self.process.returncode is None, f"the daemon ended:\n{self.log.read_text()[-4000:]}"
        try:
            async with self.session.get(f"http://127.0.0.1:{self.admin}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def send(self, payload: Any, *, delivery_id: str | None = None, path: str = "/webhooks/abyssale") -> Any:
        """Deliver a signed payload; returns (status, answer)."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return await deliver(
            f"http://127.0.0.1:{self.port}{path}", body, secret=SECRET, delivery_id=delivery_id, session=self.session
        )

    async def api(self, path: str) -> Any:
        """Ask the admin API."""
        async with self.session.get(f"http://127.0.0.1:{self.admin}{path}") as answer:
            return await answer.json()

    async def until(self, true: Callable[[], Any], what: str) -> Any:
        """Poll a condition of another process, sync or async, until it holds; returns its value."""
        async with asyncio.timeout(PATIENCE):
            while True:
                value = true()
                value = await value if asyncio.iscoroutine(value) else value
                if value:
                    return value
                await asyncio.sleep(0.02)
        raise AssertionError(what)

    async def idle(self) -> dict[str, Any]:
        """Wait until nothing is left to do and the manifests are written; returns the index."""

        async def settled() -> bool:
            status = await self.api("/api/status")
            return status["queue"]["depth"] == 0 and self.is_indexed(status["assets"]["published"])

        await self.until(settled, "the queue empties")
        return self.index()

    def is_indexed(self, published: int) -> bool:
        """Tell if the index counts as many assets and exports as are published."""
        if not (self.root / "manifest.json").exists():
            return False
        totals = self.index()["totals"]
        return bool(totals["assets"] + totals["exports"] == published)

    def index(self) -> Any:
        """The index of the tree."""
        return json.loads((self.root / "manifest.json").read_bytes())

    def files(self) -> dict[str, bytes]:
        """Every visible file that is no manifest, by its path below the root."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".syncd" not in path.parts and path.name != "manifest.json"
        }


@asynccontextmanager
async def running(
    folder: Path, *, fresh: bool = False, entry: str = "syncd.cli:main", **sections: str
) -> AsyncIterator[Running]:
    """A daemon that is stopped at the end, and must have stopped well."""
    daemon = Running(folder, fresh=fresh, entry=entry)
    async with aiohttp.ClientSession() as daemon.session:
        daemon.write_config(**sections)
        await daemon.start()
        try:
            yield daemon
        finally:
            if daemon.process.returncode is None:
                await daemon.session.close()  # or the stop waits a moment for what else it may ask
                code = await daemon.stop()
                assert code == 0, daemon.log.read_text()[-4000:]
