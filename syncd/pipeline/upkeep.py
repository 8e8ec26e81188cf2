"""The small services of the journal: what is old is forgotten, what a command has ordered and a set clock are noticed.

Commands write to the journal while the daemon runs, and nobody tells it; so it looks. What an order
means is in the journal, and is done by those who do such work anyway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from syncd.beat import beat, each_beat
from syncd.errors import JournalUnavailable
from syncd.mirror.outages import Outages
from syncd.observe.log import seldom
from syncd.pipeline import Works

log = logging.getLogger(__name__)

_PRUNE_EVERY = 3600.0
_ORDERS_EVERY = 1.75  # seconds; see `beat`
_CLOCK_EVERY = 28.0
_JUMP = 5.0  # seconds; what is less is how a clock is kept right


async def forget_old(works: Works) -> None:
    """Forget finished deliveries after `journal.retention`. Ends by cancellation."""
    while True:
        before = works.clock() - works.live.config.journal.retention
        try:
            more = await works.journal.prune(before)
        except JournalUnavailable as trouble:
            seldom(log, "old deliveries stay", trouble)
            more = 0
        await asyncio.sleep(0 if more else _PRUNE_EVERY)


async def notice_orders(works: Works, outages: Outages, tell: Callable[[], None]) -> None:
    """Have everybody look for work, those who `tell` too, when a command has changed the journal.

    Ends by cancellation.
    """
    stirred = asyncio.Event()

    def look() -> float:
        if works.journal.stirs():
            stirred.set()
        return _ORDERS_EVERY

    with each_beat(look):
        while True:
            await stirred.wait()
            stirred.clear()
            try:
                disturbed = await works.journal.disturbed()
            except JournalUnavailable as trouble:
                seldom(log, "orders wait", trouble)
                continue
            if disturbed:
                outages.hurry()
                works.journal.arrived.set()
                works.wake_lanes()
                works.gates.set()
                works.changed.set()
                tell()


async def watch_clock(works: Works) -> None:
    """Have nothing wait for a time that the clock has left: at the start, and when it has jumped.

    Ends by cancellation.
    """
    known: float | None = None  # how far it is ahead of one that nobody sets
    while True:
        now = works.clock()
        ahead = now - time.monotonic()
        if known is None or abs(ahead - known) > _JUMP:
            try:
                await works.journal.set_back(now, None if known is None else max(known - ahead, 0.0))
            except JournalUnavailable as trouble:
                seldom(log, "jobs wait", trouble)
            else:
                if known is not None:
                    log.warning("the clock has jumped", extra={"seconds": round(ahead - known, 3)})
                known = ahead
                works.wake_lanes()
                works.journal.puzzled.set()
        await beat(_CLOCK_EVERY)
