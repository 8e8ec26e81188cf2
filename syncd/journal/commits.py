"""One connection and the one thread that works on it: group commit, and reading between commits.

Whatever asks for a change while a commit is under way waits for the next one, and all of that
shares one transaction and one sync to the disk. Who only looks waits for no transaction but the
one that is under way. What is asked is the caller's: nothing here knows a table.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from syncd.errors import JournalUnavailable

Result = TypeVar("Result")
Item = TypeVar("Item")

_IN_A_TURN = 16


class _Asked(NamedTuple):
    """A piece of work, and what it is to be done to: it gives a result for each of the items that it is handed."""

    work: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
    item: Any


class Commits:
    """The thread and its connection, which it closes. `committed` is told how many seconds each commit took."""

    def __init__(
        self, db: sqlite3.Connection, loop: asyncio.AbstractEventLoop, committed: Callable[[float], None]
    ) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.trouble: str | None = None
        self._db = db
        self._loop = loop
        self._committed = committed
        self._waiting: list[tuple[_Asked, asyncio.Future[Any]]] = []
        self._committing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Commit what still waits, then close."""
        if self._committing is not None:
            await self._committing
        await self._loop.run_in_executor(self.thread, self._db.close)
        self.thread.shutdown()

    async def look(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work`, which only reads, on what is committed by then, all of it as of one moment."""
        return await self._loop.run_in_executor(self.thread, self._read, work)

    def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            self._db.execute("BEGIN")
            try:
                return work(self._db)
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.trouble = f"the journal can't be read: {error}"
            raise JournalUnavailable(self.trouble) from error

    def ask(self, work: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run `work` inside the next transaction; the result comes after its commit."""
        return self._ask(_Asked(lambda db, _: [work(db)], None))

    def ask_all(
        self, work: Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result]], item: Item
    ) -> asyncio.Future[Result]:
        """Run `work` as `ask` does, at once on this item and those for which it was asked right after that."""
        return self._ask(_Asked(work, item))

    def _ask(self, asked: _Asked) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((asked, answer))
        if self._committing is None:
            self._committing = self._loop.create_task(self._commit_waiting(), name="journal commit")
        return answer

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting, began = self._waiting, [], self._loop.time()
            try:
                results = await self._loop.run_in_executor(self.thread, self._commit, [asked for asked, _ in batch])
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

    def _commit(self, batch: list[_Asked]) -> list[Any]:
        changes = self._db.total_changes
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                results: list[Any] = []
                for work, some in groupby(batch, key=itemgetter(0)):
                    results += work(self._db, [item for _, item in some])
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
