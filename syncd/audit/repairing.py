"""What a check has found, put right: first a plan in words, then the steps of it, in the order that keeps promises.

What nothing names moves into the quarantine at once. What is to be fetched again goes out of its
manifest, its job held back; once manifests without it are on disk, it moves, too; then the jobs begin.
Somebody must run the pipeline meanwhile: a daemon, or one that this process has started for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from syncd.audit import ClearUp, Fetch, Finding, Rewrite, Seek, SetAside
from syncd.errors import SyncdError
from syncd.journal import Rules, auditing, awaiting, repairing
from syncd.journal.auditing import Named
from syncd.journal.orders import order
from syncd.mirror.manifest import CHECKSUMS
from syncd.store.inspecting import kind_of, set_aside

Item = TypeVar("Item")

_AT_ONCE = 100
_HELD = 3600.0  # seconds; should this process be killed, the jobs begin by themselves, or by the next repair
_POLL = 0.1
_STALLED = 900.0


@dataclass(slots=True)
class Repair:
    """One round of repairs. `aside` says where things were moved, `failed` which could not be, and why."""

    journal: Path
    db: sqlite3.Connection
    root: int
    rules: Rules
    runs: Callable[[], bool]
    report: Callable[[int, int], None] = lambda _done, _all: None
    aside: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def apply(self, findings: Sequence[Finding]) -> None:
        """Do all that is planned, and wait until it has ended; raises SyncdError where nobody is at work any more.

        A download that fails is waited for once: after that the daemon goes on trying without us.
        """
        batch = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        for finding in findings:
            if self._is_in_the_way(finding):
                self._set_aside(finding.path, batch)
        orders = _Orders()
        try:
            self._order(findings, orders)
            self._until(lambda: not awaiting.unwritten(self.db), "the manifests are written")
            for path, asset in orders.damaged.items():
                if auditing.export_of(self.db, asset) is None:  # else a replay or a retry has brought it back by now
                    self._set_aside(path, batch)
        finally:  # also by ^C: what was begun goes on without us
            for assets in _batches(orders.held):
                with order(self.journal) as db:
                    repairing.release(db, assets, self.rules, time.time())
        self._until(lambda: not awaiting.unwritten(self.db), "the manifests are written")
        self._until_fetched()

    def _is_in_the_way(self, finding: Finding) -> bool:
        """Tell if nothing names it, or if it is where a manifest has to be written."""
        if isinstance(finding.cure, Rewrite):
            return kind_of(self.root, finding.path) not in (None, "file")
        return isinstance(finding.cure, SetAside)

    def _order(self, findings: Sequence[Finding], given: _Orders) -> None:
        """Say in the journal what is to be done; when this returns, folders' manifests on disk say so, too."""
        for some in _batches(findings):
            with order(self.journal) as db:
                for finding in some:
                    given.give(db, finding, self.rules)
        waiting = set(given.changes)

        def written() -> bool:
            waiting.difference_update([one for one in waiting if awaiting.is_written(self.db, one, given.changes[one])])
            return not waiting

        self._until(written, "the manifests are written")

    def _set_aside(self, path: str, batch: str) -> None:
        """Move away what was found there, unless the pipeline has put a file in its place since then."""
        if auditing.is_taken(self.db, path):
            return
        try:
            if (kept := set_aside(self.root, path, batch)) is not None:
                self.aside[path] = kept
        except OSError as error:
            self.failed[path] = f"it can't be moved away: {error.strerror}"

    def _until_fetched(self) -> None:
        most = awaiting.under_way(self.db)
        left, since = most, time.monotonic()
        while left:
            self._still_runs("the downloads have ended")
            self.report(most - left, most)
            time.sleep(_POLL)
            now = awaiting.under_way(self.db)
            if now != left:
                left, since = now, time.monotonic()
            elif time.monotonic() - since > _STALLED:
                return  # too little room, say: what is not back is listed by the next look
        self.report(most, most)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        since = time.monotonic()
        while not true():
            self._still_runs(what)
            if time.monotonic() - since > _STALLED:
                raise SyncdError(f"gave up waiting until {what}", hint="`syncd status` says what the daemon waits for")
            time.sleep(_POLL)

    def _still_runs(self, what: str) -> None:
        if not self.runs():
            raise SyncdError(
                f"the daemon has stopped before {what}",
                hint="what was begun goes on at its next start; then run this again",
            )


@dataclass(slots=True)
class _Orders:
    """What was ordered: jobs `held` back, the `damaged` to move away by asset, and how far manifests must come."""

    held: dict[int, None] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)

    def give(self, db: sqlite3.Connection, finding: Finding, rules: Rules) -> None:
        """Give the order that cures a finding."""
        now = time.time()
        match finding.cure:
            case Fetch(named) if named.asset not in self.held:
                paths = moved_with(db, named)
                if repairing.again(db, named, rules, now, now + _HELD):
                    self.held[named.asset] = None
                    self.damaged |= dict.fromkeys(paths, named.asset)
                    if not named.part:
                        self._follow(db, named.path.rpartition("/")[0])
            case Seek(asset):
                if repairing.seek(db, asset, rules, now + _HELD):
                    self.held[asset] = None
            case Rewrite(folder, export):
                repairing.rewrite(db, folder=folder, export=export)
                if folder is not None:
                    self._follow(db, folder)
            case _:
                pass  # it is set aside, or done already

    def _follow(self, db: sqlite3.Connection, folder: str) -> None:
        self.changes[folder] = awaiting.change_of(db, folder)


def plan(findings: Iterable[Finding]) -> Iterator[str]:
    """Say in a line each what a repair will do."""
    for finding in findings:
        match finding.cure:
            case Fetch(named) if named.part:
                does = "fetch the whole export again, set the damaged one aside"
            case Fetch() if finding.what == "changed":
                does = "set it aside, fetch it again"
            case Fetch() | Seek():
                does = "fetch it again"
            case Rewrite():
                does = "write it anew"
            case SetAside():
                does = "set it aside"
            case ClearUp():
                does = "remove it"
        yield f"{finding.path}: {does} ({finding.reason})"


def moved_with(db: sqlite3.Connection, named: Named) -> list[str]:
    """What moves away when a file is fetched again: the file, or the export with all that lies beside."""
    if not named.part:
        return [named.path]
    export = auditing.export_of(db, named.asset)
    if export is None:
        return []
    beside = [export.key, f"{export.stem}.json", f"{export.stem}.{CHECKSUMS}"]
    return [*beside, export.archive.path] if export.archive else beside


def _batches(some: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(some)
    while batch := list(islice(rest, _AT_ONCE)):
        yield batch
