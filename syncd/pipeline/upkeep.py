"""The two small services of the journal: what is old is forgotten, and what a command has ordered is noticed.

Commands write to the journal while the daemon runs, and nobody tells it; so it looks. What an order
means is in the journal, and is done by those who do such work anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from syncd.beat import each_beat
from syncd.errors import JournalUnavailable
from syncd.mirror.outages import Outages
from syncd.observe.log import seldom
from syncd.pipeline import Works

log = logging.getLogger(__name__)

_PRUNE_EVERY = 3600.0
_ORDERS_EVERY = 1.75  # seconds; see `beat`


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
