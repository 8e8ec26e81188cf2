"""The embedded journal: one SQLite file, one writing thread, group commit.

Whatever asks for a change while a commit is under way waits for the next one, and all of
that shares one transaction and one sync to the disk. The verbs are the protocol's; what they
mean is in `inbox`, `visuals`, `keys`, `placing`, `holding` and `outbox`. Nothing here reads the config.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from syncd.errors import JournalUnavailable
from syncd.journal import (
    Decision,
    Ending,
    Finished,
    Manifested,
    Placement,
    Question,
    Rules,
    happenings,
    inbox,
    lock_path,
    outbox,
    placing,
)
from syncd.journal.holding import SqliteHolding
from syncd.journal.outbox import Outbox
from syncd.journal.rows import delivery_of, index_of, job_of, stale_export_of, stale_folder_of
from syncd.journal.schema import connect
from syncd.model import HELD, Arrival, Delivery, ExportContents, Fetched, FolderContents, FolderLine, Job, Lane, Receipt
from syncd.owner import sole_owner

_LOOK_ANYWAY = 10
"""How often at least `disturbed` asks SQLite itself: a clock may be too coarse to tell two writes apart."""

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Any]

_IN_A_TURN = 16


class SqliteJournal:
    """The journal in one SQLite file. Open it with `open_journal`."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        committed: Callable[[float], None],
    ) -> None:
        self.arrived = asyncio.Event()
        self.trouble: str | None = None
        self.puzzled = asyncio.Event()
        self.outbox = Outbox(self._ask)
        self.holding = SqliteHolding(self._ask, self._tell)
        self._db = db
        self._loop = loop
        self._committed = committed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None
        (self._version,) = db.execute("PRAGMA data_version").fetchone()  # it counts what other connections commit
        self._log = f"{path}-wal"  # where every commit goes first
        self._log_mark: tuple[int, int] | None = None
        self._looks = 0

    async def close(self) -> None:
        """Commit what still waits, then close."""
        if self._committing is not None:
            await self._committing
        await self._loop.run_in_executor(self._thread, self._db.close)
        self._thread.shutdown()

    def _ask(self, work: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run `work` inside the next transaction; the result comes after its commit."""
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((work, answer))
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit_waiting(), name="journal commit")
        return answer

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting, began = self._waiting, [], self._loop.time()
            try:
                results = await self._loop.run_in_executor(self._thread, self._commit, [work for work, _ in batch])
            except Exception as error:  # noqa: BLE001 - it goes to everyone who waits for this commit
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            self._committed(self._loop.time() - began)
            for number, ((_, answer), result) in enumerate(zip(batch, results, strict=True), start=1):
                if not answer.done():  # the one who asked may have been cancelled; the work is done all the same
                    answer.set_result(result)
                if number % _IN_A_TURN == 0:  # all those who wake now would hold up the loop
                    await asyncio.sleep(0)
        self._committing = None

    def _commit(self, batch: list[Work]) -> list[Any]:
        changes = self._db.total_changes
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                results = [work(self._db) for work in batch]
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise  # a bug of ours, not of the disk
        except sqlite3.Error as error:
            self.trouble = f"the journal can't be written: {error}"
            raise JournalUnavailable(self.trouble) from error
        if self._db.total_changes > changes:  # on a full disk, reading goes on
            self.trouble = None
        return results

    # Deliveries

    async def accept(self, arrival: Arrival) -> Receipt:
        """Store a delivery, or find that it is here already."""
        digests = inbox.digests(arrival)
        receipt = await self._ask(lambda db: inbox.accept(db, arrival, *digests))
        if not receipt.duplicate:
            self.arrived.set()
        return receipt

    async def inbox(self, limit: int) -> Sequence[Delivery]:
        """Deliveries that nobody has read yet, oldest first."""
        query = "SELECT * FROM deliveries WHERE read = 0 AND ask_at IS NULL ORDER BY seq LIMIT ?"
        return await self._ask(lambda db: [delivery_of(row) for row in db.execute(query, (limit,))])

    async def decide(self, decisions: Sequence[Decision], rules: Rules, now: float) -> Sequence[Finished]:
        """Record what deliveries say: names, jobs and their new states, all in one transaction."""

        def work(db: sqlite3.Connection) -> list[Finished]:
            return [done for decision in decisions for done in inbox.decide(db, decision, rules, now)]

        finished = await self._tell(rules, work)
        if any(decision.ask_at is not None for decision in decisions):
            self.puzzled.set()
        return finished

    async def questions(self, limit: int, held: frozenset[int]) -> Sequence[Question]:
        """Deliveries that wait for the platform's answer and are not `held`, by when it is to be asked."""
        return await self._ask(lambda db: inbox.questions(db, limit, held))

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
            "SELECT * FROM assets WHERE state = 'pending' AND held = 0 AND lane = ? AND next_at <= ?"
            " AND asset NOT IN (SELECT value FROM json_each(?)) ORDER BY next_at, asset LIMIT ?"
        )
        values = (lane, now, json.dumps(list(held)), limit)
        return await self._ask(lambda db: [job_of(row) for row in db.execute(query, values)])

    async def next_due(self, lane: Lane, after: float) -> float | None:
        """When the next waiting job becomes due, None where there is none."""
        query = "SELECT min(next_at) FROM assets WHERE state = 'pending' AND held = 0 AND lane = ? AND next_at > ?"

        def work(db: sqlite3.Connection) -> float | None:
            due: float | None = db.execute(query, (lane, after)).fetchone()[0]
            return due

        return await self._ask(work)

    async def place(self, fetched: Sequence[tuple[Job, Fetched]], rules: Rules) -> Sequence[Placement | str]:
        """For each fetched file its place in the tree, or why it is no longer wanted."""
        return await self._ask(lambda db: [placing.place(db, job, file, rules) for job, file in fetched])

    async def interrupted(self) -> Sequence[tuple[Job, Fetched, Placement]]:
        """Placements that a crash left open: their files may have moved or not."""
        return await self._ask(placing.interrupted)

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

        def work(db: sqlite3.Connection) -> tuple[list[FolderContents], list[ExportContents]]:
            folders = db.execute("SELECT * FROM folders WHERE change > written LIMIT ?", (limit,)).fetchall()
            exports = db.execute(
                "SELECT assets.*, exports.key AS export_key, files, total, archive_key"
                " FROM exports JOIN assets USING (asset) WHERE written = 0 LIMIT ?",
                (limit,),
            )
            return [stale_folder_of(db, row) for row in folders], [stale_export_of(row) for row in exports]

        return await self._ask(work)

    async def manifested(self, folders: Sequence[Manifested], exports: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Record which manifests are on disk, and what the index says of them."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE folders SET written = ?, template_id = ?, template_name = ?, format_id = ?,"
                " assets = ?, bytes = ?, sequence = ? WHERE folder = ?",
                [
                    (done.change, line.template.id, line.template.name, line.format_id,
                     line.assets, line.bytes, line.sequence, line.folder)
                    for done in folders for line in (done.line,)
                ],
            )  # fmt: skip
            db.executemany(
                "UPDATE exports SET written = 1, line = ? WHERE asset = ?",
                [(json.dumps(line), row) for row, line in exports],
            )

        await self._ask(work)

    async def rewrite_all(self) -> None:
        """Mark every manifest as behind, for when the way they are written has changed."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE folders SET change = change + 1 WHERE change > 0")  # 0: it is cleared away
            db.execute("UPDATE exports SET written = 0")

        await self._ask(work)

    async def index(self) -> tuple[Sequence[FolderLine], Sequence[dict[str, Any]]]:
        """What the index names: folders that hold files in order of path, exports in order of publication."""
        return await self._ask(index_of)

    async def removable(self, limit: int) -> Sequence[str]:
        """Keys of files that no manifest names any more and nobody claims, also of held ones."""
        query = (
            "SELECT key FROM removals JOIN folders USING (folder) WHERE written >= removals.change AND asset IS NULL"
            " AND key NOT IN (SELECT json_extract(placing, '$[0]') FROM assets WHERE placing IS NOT NULL)"
            " UNION ALL SELECT ? || asset FROM assets WHERE held = 1 AND state != 'held' AND state != 'pending' LIMIT ?"
        )
        return await self._ask(lambda db: [key for (key,) in db.execute(query, (HELD, limit))])

    async def removed(self, keys: Sequence[str], rules: Rules, now: float) -> None:
        """Record that these files are gone."""

        def work(db: sqlite3.Connection) -> None:
            for key in keys:
                if key.startswith(HELD):
                    db.execute("UPDATE assets SET held = 0 WHERE asset = ?", (int(key.removeprefix(HELD)),))
                    continue
                db.execute("DELETE FROM removals WHERE key = ?", (key,))
                happenings.removed(db, rules, now, key)

        await self._tell(rules, work)

    async def emptied(self, limit: int) -> Sequence[tuple[str, int]]:
        """Folders of which no manifest names a file any more, each with the change since which it is so."""
        query = (
            "SELECT folder, change FROM folders WHERE assets = 0 AND written > 0 AND change = written"
            " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder) LIMIT ?"
        )
        return await self._ask(lambda db: [(row["folder"], row["change"]) for row in db.execute(query, (limit,))])

    async def clearing(self, folders: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
        """Record that these folders' manifests are about to go; returns those that nothing is in any more."""
        query = (
            "UPDATE folders SET written = 0 WHERE folder = ? AND change = ?"
            " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder)"
            " AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.folder = folders.folder)"
        )
        return await self._ask(lambda db: [one for one in folders if db.execute(query, one).rowcount])

    async def cleared(self, folders: Sequence[tuple[str, int]]) -> None:
        """Record that these folders are gone, unless something has come there since; their names stay theirs.

        The sequence stays, too: a folder that comes back goes on counting.
        """
        query = "UPDATE folders SET change = 0, template_id = '' WHERE folder = ? AND change = ? AND written = 0"
        await self._ask(lambda db: db.executemany(query, folders))

    # Others

    async def disturbed(self) -> bool:
        """Tell if somebody else has committed something since this was asked last, an operator's command."""
        before, self._log_mark = self._log_mark, _mark(self._log)
        self._looks += 1
        if before == self._log_mark and self._looks % _LOOK_ANYWAY:
            return False

        def look() -> bool:
            try:
                (version,) = self._db.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error as error:
                raise JournalUnavailable(f"the journal can't be read: {error}") from error
            before, self._version = self._version, version
            return bool(before != version)

        return await self._loop.run_in_executor(self._thread, look)

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

        return await self._ask(work)

    async def note(self, name: str, value: str) -> None:
        """Keep such a fact."""
        await self._ask(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value)))


def _mark(path: str) -> tuple[int, int] | None:
    """What changes of a file when it is written; None where it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - twice a second, for ever
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@asynccontextmanager
async def open_journal(path: Path, committed: Callable[[float], None] = lambda _: None) -> AsyncIterator[SqliteJournal]:
    """Own the journal at `path` for the duration; it is made where there is none.

    `committed` is told how many seconds each commit took, from the loop's point of view.
    Raises InUse where another daemon has it, JournalUnavailable where it can't be opened.
    """
    with ExitStack() as owned:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            owned.enter_context(sole_owner(lock_path(path), f"the journal {path}"))
        except OSError as error:
            raise JournalUnavailable(f"the journal {path} can't be opened: {error}") from error
        journal = SqliteJournal(connect(path, "make"), path, asyncio.get_running_loop(), committed)
        try:
            yield journal
        finally:
            await journal.close()
