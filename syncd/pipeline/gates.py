"""The gates are kept here: what may be visible goes out, what may not any more is taken back.

Statuses, batches that end and a changed config open and close them; the journal knows what that
means for which file. This loop works it off some at a time and has the publisher move the files.
"""

from __future__ import annotations

import asyncio
import logging

from syncd.errors import JournalUnavailable, StoreUnavailable
from syncd.observe.log import seldom
from syncd.pipeline import Works, first_of, rules_of
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.room import Room

log = logging.getLogger(__name__)

_AT_ONCE = 256
_AFTER_TROUBLE = 1.0


async def keep_gates(works: Works, publisher: Publisher, room: Room) -> None:
    """Let out and take back, first what changed while nobody ran. Ends once `stopping` is set, or by cancellation."""
    known = None
    while not works.stopping.is_set():
        works.gates.clear()
        rules = rules_of(works.live.config)
        gates = rules.approved, rules.whole_batches
        try:
            if any(gates) or gates != known:  # without any there is nothing to do, once all has been let out
                await first_of(None, room.usable, works.stopping)
                await _work_off(works, publisher)
                known = gates
        except (JournalUnavailable, StoreUnavailable) as trouble:
            seldom(log, "held files wait", trouble)
            if isinstance(trouble, StoreUnavailable):
                await room.is_well()
            await first_of(_AFTER_TROUBLE, works.stopping)
            works.gates.set()
        await first_of(None, works.gates, works.stopping)


async def _work_off(works: Works, publisher: Publisher) -> None:
    """Do all that there is to do now."""
    more = True
    while more and not works.stopping.is_set():
        reviewed = await works.journal.holding.review(rules_of(works.live.config), _AT_ONCE, works.clock())
        if reviewed.withdrawn:
            log.warning("files are withdrawn, their designs are not approved", extra={"assets": reviewed.withdrawn})
            works.changed.set()
        opened = await works.journal.holding.opened()
        if opened:
            await publisher.publish_held(opened)
        works.wake_lanes()  # what was lost meanwhile is to be fetched
        more = reviewed.more or bool(opened)
        await asyncio.sleep(0)
