"""The conductor: deliveries become jobs, jobs become published files, files become manifests.

One file a step: `reading` decides what deliveries mean, `lanes` fetches what is due,
`publishing` makes files visible, `manifests` says what is visible, and `room` knows if there
is room to do any of it. They share a `Works`; everything durable is the journal's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from syncd.config import Config
from syncd.journal import Finished, Journal, Rules
from syncd.live import Live
from syncd.mirror.names import Names
from syncd.model import Lane
from syncd.observe.metrics import Metrics
from syncd.store import Store


@dataclass(frozen=True, slots=True)
class Works:
    """What every step works with.

    `changed` is set when something was published or withdrawn; `queued`, for each lane, when a
    job may be due. Who moves files in the tree holds `moving`. From `stopping` on nothing is
    claimed, from `finished` on nothing is published any more.
    """

    journal: Journal
    store: Store
    live: Live
    metrics: Metrics
    clock: Callable[[], float]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    queued: Mapping[Lane, asyncio.Event] = field(
        default_factory=lambda: {"visuals": asyncio.Event(), "exports": asyncio.Event()}
    )
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)

    def wake_lanes(self) -> None:
        """Have the lanes look for jobs that are due."""
        for queued in self.queued.values():
            queued.set()


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
    return Rules(Names(config.mirror), config.mirror.keep_versions, config.retry.give_up_after)


def count_finished(works: Works, finished: Iterable[Finished]) -> None:
    """Count deliveries of which nothing waits any more."""
    for delivery in finished:
        works.metrics.delivery(delivery.source, delivery.event, "processed")
