"""What the admin listener sees of a running daemon, and the one thing that it may ask of it: a reload.

Everything here is the daemon's own state, read on the event loop; what the journal knows is asked
by who shows it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from syncd import __version__
from syncd.errors import Problem
from syncd.journal.reading import SqliteReader
from syncd.mirror.outages import Outages
from syncd.observe.metrics import Metrics
from syncd.pipeline import Works
from syncd.pipeline.room import Room


class Insight:
    """Made at the start, which is what `started_at` says. `reloads` are those under way."""

    def __init__(self, works: Works, room: Room, outages: Outages, reader: SqliteReader, stop: asyncio.Event) -> None:
        self.reader = reader
        self.metrics: Metrics = works.metrics
        self.reloads: set[asyncio.Task[Sequence[Problem]]] = set()
        self._live = works.live
        self._journal = works.journal
        self._room = room
        self._outages = outages
        self._stop = stop
        self._started_at = time.time()

    def reasons(self) -> list[str]:
        """Why no delivery should be sent here now; empty if this daemon is ready."""
        stopping = "stopping" if self._stop.is_set() else None
        return list(filter(None, [stopping, self._room.journal_trouble() or self._journal.trouble]))

    def take_stock(self) -> None:
        """Set those of the numbers that nobody counts, but that can be looked up."""
        metrics, room = self.metrics, self._room
        metrics.able(
            ready=not self.reasons(), mirror_usable=room.mirror_trouble() is None, hosts_paused=self._outages.down()
        )
        metrics.free("mirror", room.mirror_free)
        metrics.free("journal", room.journal_free)
        metrics.least_free(self._live.config.mirror.min_free)

    def live(self) -> dict[str, Any]:
        """The part of the status that only the running daemon knows."""
        generation, error = self._live.current, self._live.error
        return {
            "version": __version__,
            "started_at": self._started_at,
            "config": {
                "path": str(self._live.path),
                "generation": generation.number,
                "loaded_at": generation.loaded_at,
                "error": error and error.told(),
            },
            "disk": {"mirror_free": self._room.mirror_free, "journal_free": self._room.journal_free},
            "waiting": list(filter(None, [self._room.mirror_trouble()])),
        }

    async def reload(self) -> Sequence[Problem]:
        """Put the config on disk in force; what is wrong with it where that can't be. None is begun while stopping."""
        stopping = Problem(str(self._live.path), None, "", "not read: syncd is stopping")
        if self._stop.is_set():
            return [stopping]
        task = asyncio.create_task(self._live.reload(), name="reload")
        self.reloads.add(task)
        task.add_done_callback(self.reloads.discard)
        await asyncio.wait([task])
        return [stopping] if task.cancelled() else task.result()
