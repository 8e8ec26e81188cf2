"""What the rules no longer keep, let go: old deliveries, surplus versions, leftovers, empty folders, old quarantine.

Published files go through the journal, manifest first, and it is the pipeline that removes them.
What is removed here directly is syncd's own, or a folder with nothing in it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from syncd.journal import auditing, inbox, repairing
from syncd.journal.orders import order
from syncd.owner import Holder
from syncd.store.folders import parent_of, remove_empty
from syncd.store.inspecting import Leftover, entries, quarantined, remove_own, temps

_AT_ONCE = 100
_HOUR = 3600.0
_MINUTE = 60.0


@dataclass(slots=True)
class Pruned:
    """What went, or would go: numbers of each kind, and the bytes of all of it."""

    deliveries: int = 0
    versions: list[str] = field(default_factory=list)
    temps: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    quarantine: list[str] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Prune:
    """The rules at `now`: versions of a visual to `keep`, `retention` in seconds; and the `daemon` that runs."""

    journal: Path
    db: sqlite3.Connection
    root: int
    keep: int
    retention: float
    now: float
    daemon: Holder | None

    def deliveries(self, pruned: Pruned, *, dry: bool) -> None:
        """Forget finished deliveries that are older than the retention."""
        before = self.now - self.retention
        pruned.deliveries = auditing.forgettable(self.db, before)
        more = not dry
        while more:
            with order(self.journal) as db:
                more = inbox.prune(db, before) > 0

    def versions(self, pruned: Pruned, *, dry: bool) -> None:
        """Take versions beyond `keep` out of their manifests; the pipeline removes their files then."""
        visuals = auditing.crowded(self.db, self.keep)
        while some := list(islice(visuals, _AT_ONCE)):
            for visual in some:
                for row in auditing.surplus(self.db, visual, self.keep):
                    pruned.versions.append(row["key"])
                    pruned.bytes += row["bytes"]
            if not dry:
                with order(self.journal) as db:
                    for visual in some:
                        repairing.thin(db, visual, self.keep)

    def temps(self, pruned: Pruned, *, dry: bool) -> None:
        """Remove temp files that nobody owns. Without a daemon, whoever asks must own the journal meanwhile."""
        for temp in filter(self._is_abandoned, temps(self.root)):
            if not dry:
                remove_own(self.root, "tmp", temp.name)
            pruned.temps.append(temp.name)
            pruned.bytes += temp.bytes

    def _is_abandoned(self, temp: Leftover) -> bool:
        if self.daemon is None or temp.since < self.daemon.since:
            return True
        return temp.name.partition("-")[0] != self.daemon.pid and temp.since < self.now - _HOUR

    def quarantine(self, pruned: Pruned, *, dry: bool) -> None:
        """Remove what was set aside longer ago than the retention."""
        for batch in quarantined(self.root):
            if batch.since < self.now - self.retention:
                if not dry:
                    remove_own(self.root, "quarantine", batch.name)
                pruned.quarantine.append(batch.name)
                pruned.bytes += batch.bytes

    def folders(self, pruned: Pruned, *, dry: bool) -> None:
        """Remove folders that hold nothing; beside a daemon not those of the last minute, which it may be filling."""
        for folder in list(self._empty()):
            pruned.folders += [folder] if dry else remove_empty(self.root, folder)

    def _empty(self) -> Iterator[str]:
        waiting = [""]
        while waiting:
            folder, inside = waiting.pop(), 0
            for entry in entries(self.root, folder):
                inside += 1
                if entry.kind == "folder" and not entry.path.rpartition("/")[2].startswith("."):
                    waiting.append(entry.path)
            if folder and not inside and not self._is_young(folder):
                yield folder

    def _is_young(self, folder: str) -> bool:
        if self.daemon is None:
            return False
        with parent_of(self.root, folder) as (above, name):
            return os.stat(name, dir_fd=above, follow_symlinks=False).st_mtime > self.now - _MINUTE
