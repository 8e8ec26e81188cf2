"""The conductor: deliveries become jobs, jobs become published files, files become manifests.

One file a step: `reading` decides what deliveries mean, `lanes` fetches what is due,
`publishing` makes files visible, `manifests` says what is visible, and `room` knows if there
is room to do any of it. They share a `Works`; everything durable is the journal's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from syncd.config import Config
from syncd.journal import Finished, Journal, Rules
from syncd.live import Live
from syncd.mirror.guard import shown
from syncd.mirror.names import Names
from syncd.model import Job, Lane
from syncd.observe.metrics import Metrics
from syncd.sources.table import REVIEWED
from syncd.store import Store

Item = TypeVar("Item")

_IN_A_TURN = 8
_ARCHIVES_AT_ONCE = 2  # each uses several processors by itself


@dataclass(frozen=True, slots=True)
class Works:
    """What every step works with.

    `changed` is set when manifests are behind, `grown` when they only lack what was not there before;
    `queued`, for each lane, when a job may be due; `gates`, when something held may be visible, or
    something visible no more. Who moves files in the tree holds `moving`, who writes or removes manifests of
    folders `listing`, and whoever unpacks an archive `unpacking`: that takes a thread for long, and there are
    few for everything else. From `stopping` on nothing is claimed, from `finished` on nothing is published any
    more. `busy` are the steps at work, each with the monotonic time since when.
    """

    journal: Journal
    store: Store
    live: Live
    metrics: Metrics
    clock: Callable[[], float]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    gates: asyncio.Event = field(default_factory=asyncio.Event)
    queued: Mapping[Lane, asyncio.Event] = field(
        default_factory=lambda: {"visuals": asyncio.Event(), "exports": asyncio.Event()}
    )
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)
    listing: asyncio.Lock = field(default_factory=asyncio.Lock)
    unpacking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_ARCHIVES_AT_ONCE))
    busy: dict[str, float] = field(default_factory=dict)

    def wake_lanes(self) -> None:
        """Have the lanes look for jobs that are due."""
        for queued in self.queued.values():
            queued.set()

    @contextlib.contextmanager
    def at_work(self, step: str) -> Iterator[None]:
        """Note that a step is at work, for who wants to know if it hangs."""
        self.busy[step] = time.monotonic()
        try:
            yield
        finally:
            del self.busy[step]


async def by_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Go through items, and after each few let everybody else have a turn.

    Where each item wakes a task, a thousand at once would hold up the loop, however little each of them does.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number % _IN_A_TURN == 0:
            await asyncio.sleep(0)


async def first_of(seconds: float | None, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, or for so long (None: for ever)."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def rules_of(config: Config) -> Rules:
    """What the journal must know of a config."""
    naming = Names(config.mirror, config.sources.layouts)
    return Rules(
        naming,
        config.mirror.keep_versions,
        config.retry.give_up_after,
        config.wanted,
        reviewed=REVIEWED,
        approved=frozenset(config.approval.publish) or None,
        whole_batches=config.manifest.atomic_batches,
    )


def facts_of(job: Job) -> dict[str, object]:
    """What the log says of a job, whatever becomes of it; `delivery` leads back to its receipt."""
    return {
        "delivery": job.delivery,
        "source": job.asset.source,
        "asset": job.asset.id,
        "path": job.key,
        "url": shown(job.asset.url),
    }


def count_finished(works: Works, finished: Iterable[Finished]) -> None:
    """Count deliveries of which nothing waits any more."""
    for delivery in finished:
        works.metrics.delivery(delivery.source, delivery.event, "processed")
