"""Deliveries are read here: decoded, filtered, and handed back to the journal as decisions.

One reader takes them in the order of their receipt. What can't be understood is set aside
with the reason; nothing that a payload says may stop the reading of the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from syncd.config import Config
from syncd.errors import JournalUnavailable
from syncd.journal import Decision, Finished
from syncd.mirror.plan import Filters, select
from syncd.model import Delivery, Event, Malformed, Unknown
from syncd.observe.log import seldom
from syncd.pipeline import Works, count_finished, rules_of
from syncd.sources.table import SOURCES

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Deliveries in one transaction: acknowledgements wait behind it for some milliseconds at most."""
_POUR = 300
"""So many deliveries a second pour in: to be acknowledged is what each is waited for, to be read is not."""
_LULL = 0.05  # seconds; what waits for one commit is answered at one time
_PATIENCE = 10.0
"""Seconds for which reading gives way to a pour. What lasts longer is the usual here, and has to share."""
_AFTER_TROUBLE = 1.0


async def read_deliveries(works: Works) -> None:
    """Decide deliveries as they arrive. Ends by cancellation."""
    pour = Pour(lambda: works.metrics.deliveries["accepted"])
    while True:
        await pour.let_through()
        works.journal.arrived.clear()
        try:
            with works.at_work("reader"):
                more = await _read_some(works)
        except JournalUnavailable as trouble:
            seldom(log, "deliveries wait", trouble)
            await asyncio.sleep(_AFTER_TROUBLE)
            continue
        if not more:
            await works.journal.arrived.wait()


class Pour:
    """Tells by their count so far if deliveries pour in, and for how long they have."""

    def __init__(self, accepted: Callable[[], int]) -> None:
        self._accepted = accepted
        self._clock = asyncio.get_running_loop().time
        self._looked_at = self._began = self._clock()
        self._seen = 0

    async def let_through(self) -> None:
        """Wait until no pour goes on, or one that has gone on for too long to be waited for."""
        while self._goes_on() and self._looked_at - self._began < _PATIENCE:  # noqa: ASYNC110 - nothing tells of its end
            await asyncio.sleep(_LULL)

    def _goes_on(self) -> bool:
        before, seen = self._looked_at, self._seen
        self._looked_at, self._seen = self._clock(), self._accepted()
        goes_on = self._seen - seen >= _POUR * max(self._looked_at - before, _LULL)
        if not goes_on:
            self._began = self._looked_at
        return goes_on


async def _read_some(works: Works) -> bool:
    deliveries = await works.journal.inbox(_AT_ONCE)
    config = works.live.config
    # In a thread: a payload as large as is accepted takes its time, and answers must not wait for it.
    decisions = await asyncio.to_thread(lambda: [decide(delivery, config) for delivery in deliveries])
    if decisions:
        finished = await works.journal.decide(decisions, rules_of(config), works.clock())
        pass_on(works, decisions, finished)
    return len(deliveries) == _AT_ONCE


def decide(delivery: Delivery, config: Config) -> Decision:
    """Read one delivery against the source's filters."""
    source = getattr(config.sources, delivery.source, None)
    if source is None:
        return Decision(delivery, "", "ignored", f"the source {delivery.source} is no longer configured")
    try:
        event = SOURCES[delivery.source].decode(delivery.body, delivery.hint)
        match event:
            case Malformed():
                return Decision(delivery, event.name, "quarantined", event.reason)
            case Unknown():
                return Decision(delivery, event.name, "ignored", event.reason)
        return judge(delivery, event, source)
    except Exception as error:  # a payload that finds a bug of ours must not stop the ones behind it
        log.exception("a delivery could not be read", extra={"delivery": delivery.id})
        return Decision(delivery, "", "quarantined", f"a bug of syncd: {error!r}")


def judge(delivery: Delivery, event: Event, filters: Filters) -> Decision:
    """Say what becomes of an event; of one whose files only the platform knows, that it is to be asked."""
    chosen = select(event, filters)
    if chosen.ignored:
        return Decision(delivery, event.name, "ignored", chosen.ignored)
    if event.commits:
        reason = "its platform is asked what it announces"
        return Decision(delivery, event.name, "accepted", reason, news=event.news, ask_at=delivery.asked_at)
    return Decision(
        delivery,
        event.name,
        "quarantined" if event.unclear else "accepted",
        "; ".join((*event.unclear, *event.notes)),
        chosen.assets,
        chosen.status,
        event.news,
        event.batch,
        (*event.unclear, *event.notes),
    )


def pass_on(works: Works, decisions: Sequence[Decision], finished: Iterable[Finished]) -> None:
    """Log, count and see to what follows from decisions that the journal has."""
    for decision in decisions:
        _log(decision)
        if decision.outcome != "accepted":
            works.metrics.delivery(decision.delivery.source, decision.event, decision.outcome)
    count_finished(works, finished)
    works.wake_lanes()
    # What a manifest says may have another status, or name, of a template now.
    (works.changed if any(decision.status for decision in decisions) else works.grown).set()
    works.gates.set()


def _log(decision: Decision) -> None:
    facts = {
        "delivery": decision.delivery.id,
        "source": decision.delivery.source,
        "event": decision.event,
        "outcome": decision.outcome,
        "assets": len(decision.assets),
    }
    if decision.reason:
        facts["reason"] = decision.reason
    log.log(logging.WARNING if decision.outcome == "quarantined" else logging.INFO, "delivery read", extra=facts)
