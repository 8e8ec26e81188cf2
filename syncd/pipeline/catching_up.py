"""What was sent while nobody listened is fetched here, where a platform keeps a record of it.

At the start, and now and then, because the journal's disk may have refused deliveries meanwhile. What is
fetched is stored as a delivery like any other, unless its body has come before, and read in its turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from syncd.errors import JournalUnavailable
from syncd.model import Arrival, Failed, Retry
from syncd.observe.log import seldom
from syncd.pipeline import Works
from syncd.sources.api import Api

log = logging.getLogger(__name__)

_EVERY = 3600.0
_AFTER_TROUBLE = 300.0
_LOOK = 30.0


async def catch_up(works: Works, apis: Mapping[str, Api]) -> None:
    """Fetch what was missed, again and again, and soon after each reload. Ends by cancellation."""
    due, generation = 0.0, 0
    while True:
        now, current = time.monotonic(), works.live.current.number
        if now >= due or current != generation:
            well = [await _catch_up_with(works, name, api) for name, api in apis.items()]
            due, generation = now + (_EVERY if all(well) else _AFTER_TROUBLE), current
        await asyncio.sleep(_LOOK)


async def _catch_up_with(works: Works, name: str, api: Api) -> bool:
    """Store what one platform could not deliver within the journal's memory; tell if that went well."""
    try:
        with works.live.borrow() as terms:
            source = getattr(terms.config.sources, name)
            missed = () if source is None else await api.missed(source, terms.client)
            since = works.clock() - terms.config.journal.retention
        if isinstance(missed, Retry | Failed):
            log.warning("missed deliveries can't be fetched", extra={"source": name, "reason": missed.reason})
            return isinstance(missed, Failed)
        receipts = [
            await works.journal.accept(Arrival(name, None, None, None, (), one.body, works.clock(), caught_up=True))
            for one in missed
            if one.at is None or one.at > since
        ]
    except JournalUnavailable as trouble:
        seldom(log, "missed deliveries wait", trouble)
        return False
    except Exception:  # an answer that finds a bug of ours must not end the daemon
        log.exception("a platform's record could not be read", extra={"source": name})
        return True
    for receipt in receipts:
        if not receipt.duplicate:
            works.metrics.delivery(name, "", "accepted")
            log.info("delivery caught up", extra={"delivery": receipt.delivery, "source": name})
    return True
