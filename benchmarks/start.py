"""Start and idleness: from exec until ready, then memory and CPU while nothing happens.

With an empty journal, and with one of a million assets; beside `webhook` and beside a process with aiohttp and
watchfiles alone. What a start still has to do once it is ready has some seconds before idleness is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import Contender, Contest, Figures, Goal, Setting
from benchmarks.daemon import syncd
from benchmarks.history import fill
from benchmarks.origin import until_open
from benchmarks.peers import webhook
from benchmarks.processes import fine_cpu_seconds, memory, serving
from syncd.demo.ports import free_port

ABOUT = "start and idleness, with an empty and with a full journal"
PEERS = ("webhook",)

_SETTLING = 5.0  # seconds


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Fill the journal."""
    assets, watched = setting.size(1_000_000, 10_000), setting.size(30, 5)
    full = setting.folder / "full"
    fill(full / "state" / "journal.db", assets)

    def idle(pid: int) -> Figures:
        time.sleep(_SETTLING)
        cpu, clock = fine_cpu_seconds(pid), time.monotonic()
        time.sleep(watched)
        used = (fine_cpu_seconds(pid) - cpu) / (time.monotonic() - clock)
        return {"rss": memory(pid), "idle": used * 1e3}

    def daemon(where: Path | None) -> Contender:
        def started(folder: Path) -> Figures:
            began = time.time()
            with syncd(where or folder) as running:
                return {"ready": running.ready_at - began, **idle(running.pid)}

        return started

    def started_webhook(folder: Path) -> Figures:
        began = time.time()
        with webhook(folder, "/bin/true") as (_, pid):
            return {"ready": time.time() - began, **idle(pid)}

    def bare(folder: Path) -> Figures:
        port, began = free_port(), time.time()
        command = (sys.executable, "-m", "benchmarks.bare", str(port), folder)
        with serving(command, log=folder.with_name("bare.log")) as process:
            until_open(port)
            return {"ready": time.time() - began, **idle(process.pid)}

    label = f"syncd, {assets:,} assets"
    yield Contest(
        {"syncd, empty": daemon(None), label: daemon(full), "webhook": started_webhook, "aiohttp + watchfiles": bare},
        {"ready": "s", "rss": "MB", "idle": "ms CPU/s"},
        [
            Goal(f"{who}: {text}", of, who, "at most", limit)
            for who in ("syncd, empty", label)
            for text, of, limit in (
                ("seconds until ready", "ready", 2),
                ("MB when idle", "rss", 50),
                ("ms CPU a second when idle", "idle", 1),
            )
        ],
        [f"idle for {watched} s, from {_SETTLING:.0f} s after ready on"],
    )
