"""Jobs are claimed and fetched here, in two lanes, so that a large export never holds up a banner.

A lane keeps a bounded number of jobs in hand and leaves the rest in the journal. Expected
failures come back from `fetch` as values and return to the journal with their next time; a
disk that can't be written stops the claiming and burns no attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from syncd.config import Retry as Patience
from syncd.door import Door
from syncd.errors import JournalUnavailable, StoreUnavailable
from syncd.journal import Again, GaveUp
from syncd.mirror.fetch import Means, fetch
from syncd.mirror.limits import Bandwidth, Slots
from syncd.mirror.outages import Outages
from syncd.mirror.part import Parts, Shelf, discard
from syncd.model import Asset, Failed, Fetched, Job, Lane, Retry, rfc3339
from syncd.observe.log import seldom
from syncd.pipeline import Works, by_turns, count_finished, facts_of, first_of, rules_of
from syncd.pipeline.exports import publish_export
from syncd.pipeline.publishing import Publisher, in_the_end
from syncd.pipeline.room import Room
from syncd.sources.api import Api

log = logging.getLogger(__name__)

IN_HAND = {"visuals": 1000, "exports": 8}
"""Jobs a lane has claimed at most: those that download, and those that wait a moment between attempts."""
_REFILL = 0.75  # of a full hand; a claim for each job that ends would cost more than the job
EXPORTS_AT_ONCE = 4
LONGEST_PAUSE = 3600.0
_AFTER_TROUBLE = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """One lane with what its jobs share."""

    name: Lane
    works: Works
    room: Room
    publisher: Publisher
    slots: Slots
    bandwidth: Bandwidth
    outages: Outages
    apis: Mapping[str, Api]

    def means(self) -> Means:
        """What downloads of this lane work with."""
        return Means(
            temp=self.temp,
            borrow=self.works.live.borrow,
            slots=self.slots,
            bandwidth=self.bandwidth,
            outages=self.outages,
            look_up=self.look_up,
            doors=self.door,
            sleep=self.pause,
        )

    async def look_up(self, asset: Asset) -> Asset | Retry | Failed:
        """Ask the platform for the URLs an asset has now; as before where there is nothing to ask."""
        config = self.works.live.config
        source = getattr(config.sources, asset.source, None)
        return asset if source is None else await self.apis[asset.source].renew(source, asset, config.download.proxy)

    def door(self, asset: Asset, url: str) -> Door | None:
        """Tell what a server asks of those who fetch a URL of an asset there: its platform knows."""
        source = getattr(self.works.live.config.sources, asset.source, None)
        return None if source is None else self.apis[asset.source].door(source, url)

    def temp(self) -> Path:
        """A path for a download that begins now. Raises StoreUnavailable, and _Stopped where it is too late."""
        if self.works.stopping.is_set():
            raise _Stopped
        return self.room.temp()

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts. Raises _Stopped where there won't be another one."""
        await first_of(seconds, self.works.stopping)
        if self.works.stopping.is_set():
            raise _Stopped


class _Stopped(Exception):
    """A job was waiting to download when the daemon began to stop; the journal still has it."""


def slots_of(works: Works, lane: Lane) -> Slots:
    """The download slots of a lane, as many as the config in force says."""

    def limits() -> tuple[int, int]:
        download = works.live.config.download
        most = EXPORTS_AT_ONCE if lane == "exports" else download.concurrency
        return min(most, download.concurrency), min(most, download.per_host)

    return Slots(limits)


async def run_lane(line: Line) -> None:
    """Fetch what is due until `stopping` is set, then finish what is in hand.

    Cancellation abandons what is in hand; the journal still has it. What jobs have left off for
    their next go is given up once nothing waits for one, when the disk may need the space, and at the end.
    """
    works, held, freed = line.works, set[int](), asyncio.Event()
    queued, most, shelf, means = works.queued[line.name], IN_HAND[line.name], Shelf(), line.means()

    def let_go(row: int, _: object) -> None:
        held.discard(row)
        if len(held) <= most * _REFILL:
            freed.set()

    async with contextlib.AsyncExitStack() as at_the_end, asyncio.TaskGroup() as jobs:
        at_the_end.callback(shelf.clear)
        while True:
            if not line.room.usable.is_set():
                shelf.clear()
            await first_of(None, line.room.usable, works.stopping)
            if works.stopping.is_set():
                return
            queued.clear()
            freed.clear()
            free, now = most - len(held), works.clock()  # one time for both, or what falls due in between is forgotten
            try:
                with works.at_work(f"lane {line.name}"):
                    claimed = await works.journal.claim(line.name, free, now, frozenset(held)) if free else []
                    due = await works.journal.next_due(line.name, now)
            except JournalUnavailable as trouble:
                seldom(log, "jobs wait", trouble)
                await first_of(_AFTER_TROUBLE, works.stopping)
                continue
            async for job in by_turns(claimed):
                held.add(job.row)
                task = jobs.create_task(_work(line, means, job, shelf.take(job.row), shelf), name=f"job {job.row}")
                task.add_done_callback(functools.partial(let_go, job.row))
            if free and len(claimed) == free:
                continue
            if free and due is None:
                shelf.clear()
            wait = None if due is None else max(due - works.clock(), 0.0)
            await first_of(wait, works.stopping, queued if free else freed)


async def _work(line: Line, means: Means, job: Job, parts: Parts, shelf: Shelf) -> None:
    """One go at one job, to the end that the journal records; `parts` go back to the shelf if there will be another."""
    works = line.works
    try:
        result = await fetch(job.asset, parts, means)
        if isinstance(result, Fetched):
            works.metrics.downloaded(result.bytes, result.seconds)
            trouble = await _publish(line, job, result)
            if trouble is None:
                return
            result = trouble
        end = ending(job, result, works.live.config.retry, works.clock())
        await _settle(works, job, end)
        if isinstance(end, Again):
            shelf.leave(job.row, parts)
    except _Stopped:
        return
    except StoreUnavailable as trouble:
        if await line.room.is_well():
            # Room is made at any time, and to look for it costs little: this pause doesn't double.
            again = ending(replace(job, goes=0), Retry(str(trouble), 1), works.live.config.retry, works.clock())
            await _settle(works, job, again)
        works.wake_lanes()  # else it is due again as soon as there is room
    finally:
        discard(parts)


async def _publish(line: Line, job: Job, fetched: Fetched) -> Retry | Failed | None:
    if job.asset.kind == "export":
        return await publish_export(line.works, line.publisher, job, fetched)
    return await line.publisher.publish(job, fetched)


def ending(job: Job, result: Retry | Failed, patience: Patience, now: float) -> Again | GaveUp:
    """Whether a job gets another go, and when: pauses double, and the last go is at `give_up_at`.

    A server that asks for more than `longest` gets just the time it asks for, and so does one that is down. Who
    only waits for a turn is not given up.
    """
    if isinstance(result, Failed):
        return GaveUp(job, result)
    reason, attempts = result.reason, result.attempts
    if reason and now >= job.give_up_at:
        return GaveUp(job, Failed(f"{reason}; given up after retry.give_up_after", attempts))
    if result.parked:
        return Again(job, result, min(now + (result.after or 0.0), job.give_up_at if reason else inf))
    if result.after is not None and result.after > patience.longest:
        if now + result.after > job.give_up_at:
            return GaveUp(job, Failed(f"{reason}; the server asks to wait beyond retry.give_up_after", attempts))
        return Again(job, result, now + result.after)
    pause = pause_after(job.goes, patience)
    return Again(job, result, min(now + max(pause, result.after or 0.0), job.give_up_at))


def pause_after(goes: int, patience: Patience) -> float:
    """Seconds between one go and the next: they double up to LONGEST_PAUSE."""
    pause = min(patience.pause * 2.0 ** min(goes, 32), LONGEST_PAUSE)
    return pause * random.uniform(0.9, 1.0)  # noqa: S311 - spreads what failed together, no secret


async def _settle(works: Works, job: Job, end: Again | GaveUp) -> None:
    rules = rules_of(works.live.config)
    count_finished(
        works, await in_the_end(lambda: works.journal.settle([end], rules, works.clock()), "an outcome waits")
    )
    facts = {**facts_of(job), "attempts": job.attempts + end.why.attempts, "reason": end.why.reason}
    match end:
        case Again() if end.why.parked:  # told once, of the host
            log.debug("asset waits for its host", extra=facts)
        case Again():
            works.metrics.asset(job.asset.source, "retried")
            log.warning("asset waits for its next go", extra={**facts, "next_attempt_at": rfc3339(end.next_at)})
        case GaveUp():
            works.metrics.asset(job.asset.source, "failed")
            log.error("asset failed", extra=facts)
    works.gates.set()  # it may have been the last one of a batch
    works.wake_lanes()  # its next time may be the earliest
