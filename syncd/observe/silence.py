"""Sources that have fallen silent: nothing came for as long as `silent_after` says, which is told once a silence.

Counted from the last delivery, or from the start where there never was one. That a silence has been
told stands in the journal, so that a restart does not tell it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from syncd.config import Config
from syncd.errors import JournalUnavailable
from syncd.journal import Journal, Rules
from syncd.journal.outbox import Outbox
from syncd.model import rfc3339
from syncd.observe.log import seldom
from syncd.observe.text import span

log = logging.getLogger(__name__)

_SHORTEST = 0.5  # seconds between two looks
_AFTER_TROUBLE = 10.0


@dataclass(frozen=True, slots=True)
class Silence:
    """What is needed to notice one. `changed` is set when the config may ask for something else."""

    journal: Journal
    outbox: Outbox
    current: Callable[[], Config]
    rules: Callable[[Config], Rules]
    clock: Callable[[], float]
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Tell of every silence. Ends by cancellation."""
        began = self.clock()
        while True:
            self.changed.clear()
            config = self.current()
            patience = {name: source.silent_after for name, source in config.sources if source and source.silent_after}
            try:
                waits = [await self._look(name, seconds, began) for name, seconds in patience.items()]
            except JournalUnavailable as trouble:
                seldom(log, "silences go unnoticed", trouble)
                waits = [_AFTER_TROUBLE]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(min(waits), _SHORTEST) if waits else None):
                    await self.changed.wait()

    async def _look(self, source: str, patience: float, began: float) -> float:
        """Tell of a silence that is too long and was not told yet; returns the seconds until there may be one."""
        last = await self.outbox.heard_from(source)
        now = self.clock()
        left = (began if last is None else last) + patience - now
        fact, since = f"silence of {source}", str(last or 0.0)
        if left > 0:
            return left
        if await self.journal.recall(fact) != since:
            reason = f"nothing came for {span(patience)}" + (f", since {rfc3339(last)}" if last else "")
            log.warning("source silent", extra={"source": source, "last_delivery_at": rfc3339(last)})
            facts = {"source": source, "reason": reason, "last_delivery_at": rfc3339(last)}
            await self.outbox.happened(self.rules(self.current()), [(now, "source.silent", source, facts)])
            await self.journal.note(fact, since)
        return patience
