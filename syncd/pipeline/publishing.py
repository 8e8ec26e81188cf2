"""Fetched files become visible here: one batch at a time takes all that wait.

A batch is placed by the journal, moved by the store behind one barrier, and recorded by the
journal. Being the only one who moves and removes, this loop decides the order of things, so
that an older version can't come after a newer one, nor a removal after a publication.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from syncd.errors import JournalUnavailable, StoreUnavailable
from syncd.journal import Again, Dropped, Ending, GaveUp, Placement, Published
from syncd.mirror.manifest import CHECKSUMS, INDEX
from syncd.mirror.waste import throw_away
from syncd.model import ExportFile, Failed, Fetched, Job, Retry, held_key
from syncd.observe.log import seldom
from syncd.pipeline import Works, by_turns, count_finished, facts_of, rules_of
from syncd.store import Move

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_AT_ONCE = 256
_AFTER_TROUBLE = 1.0


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An export as it is to be published: `temp` under the job's key plus `ending`, with its listing.

    `temp` is a folder, or the file itself where `ending` is an extension. `archive` is kept as
    KEY.zip where it is given.
    """

    temp: Path
    ending: str
    files: tuple[ExportFile, ...]
    archive: Path | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: Job
    fetched: Fetched
    unpacked: Unpacked | None
    answer: asyncio.Future[Failed | None]

    def throw_away(self) -> None:
        """Remove the file, unless it is a held one: the journal knows if that is still of use."""
        if not self.job.held:
            throw_away(self.fetched.path)


class Publisher:
    """The one who moves files in the tree. `run` works, `publish` asks for it."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._waiting: list[_Waiting] = []
        self._stir = asyncio.Event()
        self._asleep = False
        self._emptied: Sequence[tuple[str, int]] = ()

    async def publish(self, job: Job, fetched: Fetched, unpacked: Unpacked | None = None) -> Failed | None:
        """Make a fetched file visible; returns once that is recorded, or with why it can't be.

        A file that is no longer wanted is dropped, which is fine too. Raises StoreUnavailable
        where the tree can't be written now; the job is as if it had not been fetched.
        """
        answer: asyncio.Future[Failed | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(job, fetched, unpacked, answer))
        self._stir.set()
        return await answer

    async def publish_held(self, files: Sequence[tuple[Job, Fetched]]) -> None:
        """Make held files visible, all in one step but for older versions; returns once that is recorded.

        What is not whole any more is fetched again. Raises StoreUnavailable where the tree can't be written now.
        """
        new_answer = asyncio.get_running_loop().create_future
        items = [
            _Waiting(job, replace(fetched, path=self._works.store.held(job.row)), None, new_answer())
            for job, fetched in files
        ]
        self._waiting += items
        self._stir.set()
        await asyncio.gather(*(item.answer for item in items))

    def sweep(self, emptied: Sequence[tuple[str, int]] = ()) -> None:
        """Have files removed that no manifest names any more, and `emptied` folders that the index does not."""
        self._emptied = emptied or self._emptied
        self._stir.set()

    def overslept(self) -> bool:
        """Tell if files wait and nothing will wake the one who publishes them: a bug."""
        return bool(self._waiting) and self._asleep and not self._stir.is_set()

    async def run(self) -> None:
        """Publish and remove as asked. Ends by cancellation."""
        while True:
            self._asleep = True
            await self._stir.wait()
            self._asleep = False
            self._stir.clear()
            while batch := self._next_batch():
                async with self._works.moving:
                    await self._publish(batch)
            try:
                await self._remove_dropped()
            except (JournalUnavailable, StoreUnavailable) as trouble:
                seldom(log, "removals wait", trouble)
                asyncio.get_running_loop().call_later(_AFTER_TROUBLE, self.sweep)

    def _next_batch(self) -> list[_Waiting]:
        """Those who waited longest, and of each visual only one: the next depends on its outcome.

        Held files are all in one batch, however many they are.
        """
        batch: dict[int, _Waiting] = {}
        later = []
        for waiting in self._waiting:
            if waiting.answer.cancelled():
                waiting.throw_away()
            elif waiting.job.visual in batch or (len(batch) >= _AT_ONCE and not waiting.job.held):
                later.append(waiting)
            else:
                batch[waiting.job.visual] = waiting
        self._waiting = later
        return list(batch.values())

    async def _publish(self, batch: list[_Waiting]) -> None:
        works = self._works
        rules = rules_of(works.live.config)
        fetched = [(item.job, item.fetched) for item in batch]
        placements = await in_the_end(lambda: works.journal.place(fetched, rules), "fetched files wait for their place")
        placed = list(zip(batch, placements, strict=True))
        moves = [move for item, place in placed if isinstance(place, Placement) for move in _moves(item, place)]
        try:
            moved = await works.store.publish(moves)
        except StoreUnavailable as trouble:
            for item in batch:
                item.throw_away()
                if not item.answer.done():
                    item.answer.set_exception(trouble)
            return
        faults = iter(moved)
        endings = [self._ending(item, placement, faults) for item, placement in placed]
        finished = await in_the_end(
            lambda: works.journal.settle(endings, rules, works.clock()), "published files wait for their record"
        )
        count_finished(works, finished)
        (works.grown if all(map(_is_first, endings)) else works.changed).set()
        works.gates.set()  # a batch may be complete
        async for item, end in by_turns(zip(batch, endings, strict=True)):
            self._answer(item, end)

    def _ending(self, item: _Waiting, placement: Placement | str, faults: Iterator[str | None]) -> Ending:
        if isinstance(placement, str):
            return Dropped(item.job, placement)
        fault = next(filter(None, [next(faults) for _ in _moves(item, placement)]), None)
        if fault is not None and item.job.held:
            return Again(item.job, Retry(fault, attempts=0), self._works.clock())
        if fault is not None:
            return GaveUp(item.job, Failed(fault, item.fetched.attempts))
        unpacked = item.unpacked
        return Published(
            placement=placement,
            job=item.job,
            fetched=item.fetched,
            at=self._works.clock(),
            key=placement.key + (unpacked.ending if unpacked else ""),
            files=unpacked.files if unpacked else None,
            archive_key=f"{placement.key}.zip" if unpacked and unpacked.archive else None,
        )

    def _answer(self, item: _Waiting, end: Ending) -> None:
        metrics, source, lag = self._works.metrics, item.job.asset.source, self._works.clock() - item.job.received_at
        facts = {
            **facts_of(item.job),
            "url": item.fetched.url,
            "attempts": item.job.attempts + item.fetched.attempts,
            "bytes": item.fetched.bytes,
            "seconds": round(lag, 3),
        }
        match end:
            case Published() if end.placement.closed:
                metrics.asset(source, "held")
                log.info("asset held", extra={**facts, "reason": end.placement.closed})
            case Published():
                metrics.asset(source, "published")
                if not item.job.held:  # what people take for their approval is no lag of ours
                    metrics.published(lag)
                log.info("asset published", extra={**facts, "path": end.key})
            case Dropped():
                metrics.asset(source, "superseded")
                log.info("asset superseded", extra={**facts, "reason": end.why})
                item.throw_away()
            case GaveUp():
                metrics.asset(source, "failed")
                log.error("asset failed", extra={**facts, "reason": end.why.reason})
                item.throw_away()
            case Again():
                log.warning("asset is fetched again", extra={**facts, "reason": end.why.reason})
                self._works.wake_lanes()
        if not item.answer.done():
            item.answer.set_result(None)

    async def _remove_dropped(self) -> None:
        works = self._works
        while files := await works.journal.holding.withdrawn(_AT_ONCE):
            async with works.moving:
                await works.store.set_aside(files)
                await works.journal.holding.set_aside(files, rules_of(works.live.config), works.clock())
            works.gates.set()  # some may have been approved again
            log.info("files withdrawn", extra={"files": len(files)})
        while keys := await works.journal.removable(_AT_ONCE):
            await works.store.remove(keys)
            await works.journal.removed(keys, rules_of(works.live.config), works.clock())
            log.info("older versions removed", extra={"files": len(keys)})
        handed, self._emptied = self._emptied, ()
        if handed:
            await self._clear(handed)

    async def _clear(self, emptied: Sequence[tuple[str, int]]) -> None:
        """Remove folders that the index no longer names, first what they say of themselves."""
        works = self._works
        async with works.listing:
            gone = await works.journal.clearing(emptied)  # something may have come back meanwhile
            await works.store.remove([f"{folder}/{name}" for folder, _ in gone for name in (INDEX, CHECKSUMS)])
            await works.store.clear([folder for folder, _ in gone])
            await works.journal.cleared(gone)


async def recover(works: Works) -> None:
    """Answer what a crash or a lost mirror left open: what had moved is recorded, the rest fetched again.

    Raises StoreUnavailable where the tree can't be looked at.
    """
    async with works.moving:
        found = [
            Published(placement, job, fetched, works.clock(), placement.key)
            for job, fetched, placement in await works.journal.interrupted()
            if await works.store.holds(placement.key, fetched.bytes, fetched.sha256)
        ]
        if found:
            count_finished(works, await works.journal.settle(found, rules_of(works.live.config), works.clock()))
            works.changed.set()
            log.info("publications recorded that had been cut off", extra={"assets": len(found)})
        await works.journal.forget_placing()
        rules, there = rules_of(works.live.config), await works.store.all_held()
        surplus = await works.journal.holding.match(there, rules, works.clock())
        await works.store.remove([held_key(number) for number in surplus])
    works.gates.set()


async def in_the_end(ask: Callable[[], Awaitable[Sequence[Answer]]], waiting: str) -> Sequence[Answer]:
    """Ask the journal until it answers: what happened has happened, and must be recorded."""
    while True:
        try:
            return await ask()
        except JournalUnavailable as trouble:
            seldom(log, waiting, trouble)
            await asyncio.sleep(_AFTER_TROUBLE)


def _is_first(end: Ending) -> bool:
    return isinstance(end, Published) and end.placement.first


def _moves(item: _Waiting, placement: Placement) -> list[Move]:
    if item.unpacked is None:
        size = item.fetched.bytes if item.job.held else None
        return [Move(item.fetched.path, placement.key, placement.keep_as, placement.former, size)]
    ending = item.unpacked.ending
    moves = [Move(item.unpacked.temp, placement.key + ending, folder=not ending)]
    if item.unpacked.archive is not None:
        moves.append(Move(item.unpacked.archive, f"{placement.key}.zip"))
    return moves
