"""The embedded journal: the protocol's verbs over one SQLite file.

What changes something goes through `commits`, which share a sync to the disk; what only reads does
not wait for them. What the verbs mean is in `inbox`, `visuals`, `keys`, `placing`, `folders`, `holding`
and `outbox`. Nothing here reads the config.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from syncd.barrier import make_folder
from syncd.errors import JournalUnavailable
from syncd.journal import (
    Decision,
    Ending,
    Finished,
    Manifested,
    Placement,
    Question,
    Rules,
    clock,
    folders,
    inbox,
    lock_path,
    outbox,
    placing,
)
from syncd.journal.commits import Commits
from syncd.journal.holding import SqliteHolding
from syncd.journal.outbox import Outbox
from syncd.journal.rows import DELIVERY, JOB, delivery_of, index_of, job_of
from syncd.journal.schema import connect
from syncd.model import Arrival, Delivery, ExportContents, Fetched, FolderContents, FolderLine, Job, Lane, Receipt
from syncd.owner import sole_owner

_LOOK_ANYWAY = 10
"""How often at least `stirs` says yes: a clock may be too coarse to tell two writes apart."""

Result = TypeVar("Result")


class SqliteJournal:
    """The journal in one SQLite file. Open it with `open_journal`."""

    def __init__(self, db: sqlite3.Connection, path: Path, commits: Commits) -> None:
        self.arrived = asyncio.Event()
        self.puzzled = asyncio.Event()
        self._commits = commits
        self._ask, self._look = commits.ask, commits.look
        self.outbox = Outbox(self._ask, self._look)
        self.holding = SqliteHolding(self._ask, self._look, self._tell)
        self._db = db
        (self._version,) = db.execute("PRAGMA data_version").fetchone()  # it counts what other connections commit
        self._log = f"{path}-wal"  # where every commit goes first
        self._files: dict[str, tuple[int, int]] = {}  # as they were found first
        self._path = str(path)
        self._log_mark: tuple[int, int] | None = None
        self._looks = 0

    @property
    def trouble(self) -> str | None:
        """Why the last transaction failed; None once one that wrote something has succeeded."""
        return self._commits.trouble

    def misplaced(self) -> str | None:
        """Why nobody would find after a restart what is stored now: its files are no longer where they were."""
        for path in (self._path, self._log):
            here = (found := _found(path)) and (found.st_dev, found.st_ino)
            known = self._files.get(path)
            if known is None and here is not None:
                self._files[path] = here
            elif here != known:
                return f"{path} was {'replaced' if here else 'removed'} while it is in use: put it back, or restart"
        return None

    # Deliveries

    def accept(self, arrival: Arrival) -> asyncio.Future[Receipt]:
        """Store a delivery, or find that it is here already."""
        stored = self._commits.ask_all(inbox.accept, arrival)
        stored.add_done_callback(self._say_if_new)
        return stored

    def _say_if_new(self, stored: asyncio.Future[Receipt]) -> None:
        if stored.cancelled() or (stored.exception() is None and not stored.result().duplicate):
            self.arrived.set()  # nobody waits for a cancelled one, but it may be stored all the same

    async def inbox(self, limit: int) -> Sequence[Delivery]:
        """Deliveries that nobody has read yet, oldest first."""
        query = f"SELECT {DELIVERY} FROM deliveries WHERE read = 0 AND ask_at IS NULL ORDER BY seq LIMIT ?"  # noqa: S608 - columns
        return await self._look(lambda db: [delivery_of(row) for row in db.execute(query, (limit,))])

    async def decide(self, decisions: Sequence[Decision], rules: Rules, now: float) -> Sequence[Finished]:
        """Record what deliveries say: names, jobs and their new states, all in one transaction."""

        def work(db: sqlite3.Connection) -> list[Finished]:
            return inbox.decide(db, decisions, rules, now)

        finished = await self._tell(rules, work)
        if any(decision.ask_at is not None for decision in decisions):
            self.puzzled.set()
        return finished

    async def questions(self, limit: int, held: frozenset[int]) -> Sequence[Question]:
        """Deliveries that wait for the platform's answer and are not `held`, by when it is to be asked."""
        return await self._look(lambda db: inbox.questions(db, limit, held))

    async def prune(self, before: float) -> int:
        """Forget some finished deliveries received before, and what they left without a file; 0 when none is left."""
        return await self._ask(lambda db: inbox.prune(db, before) + outbox.prune(db, before))

    async def _tell(self, rules: Rules, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Ask for something of which somebody may want to be told."""
        result = await self._ask(work)
        if rules.wanted:
            self.outbox.heard.set()
        return result

    # Jobs

    async def claim(self, lane: Lane, limit: int, now: float, held: frozenset[int]) -> Sequence[Job]:
        """Jobs that are due and not `held`, those that wait longest first."""
        query = (
            f"SELECT {JOB} FROM assets WHERE state = 'pending' AND held = 0 AND lane = ? AND next_at <= ?"  # noqa: S608 - columns
            " AND asset NOT IN (SELECT value FROM json_each(?)) ORDER BY next_at, asset LIMIT ?"
        )
        values = (lane, now, json.dumps(list(held)), limit)
        return await self._look(lambda db: [job_of(row) for row in db.execute(query, values)])

    async def next_due(self, lane: Lane, after: float) -> float | None:
        """When the next waiting job becomes due, None where there is none."""
        query = "SELECT min(next_at) FROM assets WHERE state = 'pending' AND held = 0 AND lane = ? AND next_at > ?"

        def work(db: sqlite3.Connection) -> float | None:
            due: float | None = db.execute(query, (lane, after)).fetchone()[0]
            return due

        return await self._look(work)

    async def set_back(self, now: float, back: float | None) -> None:
        """Let nothing wait for a clock that was ahead, by so many seconds; None: before the start, if it was."""
        await self._ask(lambda db: clock.begin(db, now) if back is None else clock.set_back(db, now, back))

    async def place(self, fetched: Sequence[tuple[Job, Fetched]], rules: Rules) -> Sequence[Placement | str]:
        """For each fetched file its place in the tree, or why it is no longer wanted."""
        return await self._ask(lambda db: placing.place(db, fetched, rules))

    async def interrupted(self) -> Sequence[tuple[Job, Fetched, Placement]]:
        """Placements that a crash left open: their files may have moved or not."""
        return await self._look(placing.interrupted)

    async def forget_placing(self) -> None:
        """Answer the open placements that are left: their files never moved."""
        await self._ask(placing.forget_placing)

    async def settle(self, endings: Sequence[Ending], rules: Rules, now: float) -> Sequence[Finished]:
        """Record how jobs ended, and what that means for their visuals and deliveries."""

        def work(db: sqlite3.Connection) -> list[Finished]:
            return placing.settle(db, endings, rules, now)

        return await self._tell(rules, work)

    # Manifests and removals

    async def stale(self, limit: int) -> tuple[Sequence[FolderContents], Sequence[ExportContents]]:
        """Folders and exports whose manifests are behind what is published."""
        return await self._look(lambda db: folders.stale(db, limit))

    async def manifested(self, done: Sequence[Manifested], exports: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Record which manifests are on disk, and what the index says of them."""
        await self._ask(lambda db: folders.manifested(db, done, exports))

    async def use_up_sequences(self) -> None:
        """Pass over the sequence that manifests which are behind may have on disk already, unrecorded."""
        await self._ask(folders.use_up_sequences)

    async def rewrite_all(self) -> None:
        """Mark every manifest as behind, for when the way they are written has changed."""
        await self._ask(folders.rewrite_all)

    async def index(self, use: Callable[[Iterator[FolderLine], Iterator[dict[str, Any]]], Result]) -> Result:
        """What `use` makes of all that the index names: folders in order of path, exports in order of publication."""
        return await self._look(lambda db: use(*index_of(db)))

    async def removable(self, limit: int) -> Sequence[str]:
        """Keys of files that no manifest names any more and nobody claims, also of held ones."""
        return await self._look(lambda db: folders.removable(db, limit))

    async def removed(self, keys: Sequence[str], rules: Rules, now: float) -> None:
        """Record that these files are gone."""
        await self._tell(rules, lambda db: folders.removed(db, keys, rules, now))

    async def emptied(self, limit: int) -> Sequence[tuple[str, int]]:
        """Folders of which no manifest names a file any more, each with the change since which it is so."""
        return await self._look(lambda db: folders.emptied(db, limit))

    async def clearing(self, empty: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
        """Record that these folders' manifests are about to go; returns those that nothing is in any more."""
        return await self._ask(lambda db: folders.clearing(db, empty))

    async def cleared(self, empty: Sequence[tuple[str, int]]) -> None:
        """Record that these folders are gone, unless something has come there since; their names stay theirs."""
        await self._ask(lambda db: folders.cleared(db, empty))

    # Others

    def stirs(self) -> bool:
        """Tell, at no cost, if anything may have been committed since `disturbed` was asked last."""
        self._looks += 1
        return _mark(self._log) != self._log_mark or self._looks % _LOOK_ANYWAY == 0

    async def disturbed(self) -> bool:
        """Tell if somebody else has committed something since this was asked last, an operator's command."""
        mark = _mark(self._log)

        def look(db: sqlite3.Connection) -> bool:
            (version,) = db.execute("PRAGMA data_version").fetchone()
            before, self._version = self._version, version
            return bool(before != version)

        disturbed = await self._look(look)
        self._log_mark = mark  # only now: where the look fails, the next one is not spared
        return disturbed

    async def standing(self) -> tuple[int, int]:
        """Count what waits, unread deliveries and jobs, and the assets that have failed."""
        query = (
            "SELECT (SELECT count(*) FROM deliveries WHERE read = 0)"
            " + (SELECT count(*) FROM assets WHERE state = 'pending'),"
            " (SELECT count(*) FROM assets WHERE state = 'failed')"
        )

        def work(db: sqlite3.Connection) -> tuple[int, int]:
            waiting, failed = db.execute(query).fetchone()
            return waiting, failed

        return await self._ask(work)

    # Facts

    async def recall(self, name: str) -> str | None:
        """A fact noted about this installation, such as the id of its mirror root."""

        def work(db: sqlite3.Connection) -> str | None:
            row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            return None if row is None else row[0]

        return await self._look(work)

    async def note(self, name: str, value: str) -> None:
        """Keep such a fact."""
        await self._ask(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value)))


def _mark(path: str) -> tuple[int, int] | None:
    """What changes of a file when it is written; None where it is not there."""
    return (found := _found(path)) and (found.st_mtime_ns, found.st_size)


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - every other second, for ever
    except OSError:
        return None


@asynccontextmanager
async def open_journal(path: Path, committed: Callable[[float], None] = lambda _: None) -> AsyncIterator[SqliteJournal]:
    """Own the journal at `path` for the duration; it is made where there is none.

    `committed` is told how many seconds each commit took, from the loop's point of view.
    Raises InUse where another daemon has it, JournalUnavailable where it can't be opened.
    """
    with ExitStack() as owned:
        try:
            make_folder(path.parent)
            owned.enter_context(sole_owner(lock_path(path), f"the journal {path}"))
        except OSError as error:
            raise JournalUnavailable(f"the journal {path} can't be opened: {error}") from error
        db = connect(path, "make")
        commits = Commits(db, asyncio.get_running_loop(), committed)
        try:
            yield SqliteJournal(db, path, commits)
        finally:
            await commits.close()
