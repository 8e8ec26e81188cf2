"""Platforms are asked here what a delivery announces, where it does not say so itself.

Such a delivery stays unread in the journal until there is an answer, with the time of the next question, so
that it holds up no other and is not forgotten. The questions are the business of each source's API.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping
from dataclasses import replace

from syncd.config import Config
from syncd.errors import JournalUnavailable
from syncd.journal import Decision, Question
from syncd.model import Event, Failed, Retry, rfc3339
from syncd.observe.log import seldom
from syncd.pipeline import Works, first_of, rules_of
from syncd.pipeline.lanes import pause_after
from syncd.pipeline.reading import judge, pass_on
from syncd.sources.api import Api
from syncd.sources.table import SOURCES

log = logging.getLogger(__name__)

_AT_ONCE = 4
_AFTER_TROUBLE = 1.0


async def ask_platforms(works: Works, apis: Mapping[str, Api]) -> None:
    """Ask what is due until `stopping` is set. Ends by cancellation, which abandons the questions in hand."""
    held, done = set[int](), asyncio.Event()

    def let_go(seq: int, _: object) -> None:
        held.discard(seq)
        done.set()

    async with asyncio.TaskGroup() as tasks:
        while not works.stopping.is_set():
            works.journal.puzzled.clear()
            done.clear()
            wait, now = None, works.clock()
            try:
                questions = await works.journal.questions(_AT_ONCE - len(held), frozenset(held))
            except JournalUnavailable as trouble:
                seldom(log, "questions wait", trouble)
                await first_of(_AFTER_TROUBLE, works.stopping)
                continue
            for question in questions:
                if question.ask_at > now:
                    wait = question.ask_at - now
                    break
                seq = question.delivery.seq
                held.add(seq)
                task = tasks.create_task(_settle(works, apis, question), name=f"question {seq}")
                task.add_done_callback(functools.partial(let_go, seq))
            await first_of(wait, works.stopping, done, works.journal.puzzled)


async def _settle(works: Works, apis: Mapping[str, Api], question: Question) -> None:
    """Ask about one delivery, and have the journal know the answer, however long that is out of order."""
    decision = await _ask(works, apis, question)
    while True:
        try:
            finished = await works.journal.decide([decision], rules_of(works.live.config), works.clock())
            break
        except JournalUnavailable as trouble:
            seldom(log, "an answer waits", trouble)
            await asyncio.sleep(_AFTER_TROUBLE)
    if decision.ask_at is not None:
        facts = {"delivery": decision.delivery.id, "source": decision.delivery.source, "reason": decision.reason}
        log.warning("delivery waits for its platform", extra={**facts, "next_attempt_at": rfc3339(decision.ask_at)})
        return
    pass_on(works, [decision], finished)


async def _ask(works: Works, apis: Mapping[str, Api], question: Question) -> Decision:
    delivery = question.delivery
    with works.live.borrow() as terms:
        config = terms.config
        source = getattr(config.sources, delivery.source, None)
        if source is None:
            return Decision(delivery, "", "ignored", f"the source {delivery.source} is no longer configured")
        try:
            event = SOURCES[delivery.source].decode(delivery.body, delivery.hint)
            assert isinstance(event, Event)  # noqa: S101 - it was one when it was read
            answer = await apis[delivery.source].expand(source, event, terms.client)
            if isinstance(answer, Event):
                # People were told when it was read. In a thread: it may have thousands of assets.
                return await asyncio.to_thread(judge, delivery, replace(answer, news=()), source)
        except Exception as error:  # an answer that finds a bug of ours must not end the daemon
            log.exception("a platform's answer could not be read", extra={"delivery": delivery.id})
            return Decision(delivery, "", "quarantined", f"a bug of syncd: {error!r}")
    return _later(question, event.name, answer, config, works.clock())


def _later(question: Question, name: str, why: Retry | Failed, config: Config, now: float) -> Decision:
    """Put a question off, with pauses that double, unless it is in vain or too old."""
    delivery, patience = question.delivery, config.retry
    give_up_at = delivery.asked_at + patience.give_up_after
    if isinstance(why, Failed):
        return Decision(delivery, name, "quarantined", why.reason)
    if now >= give_up_at:
        return Decision(delivery, name, "quarantined", f"{why.reason}; given up after retry.give_up_after")
    pause = max(pause_after(question.asked, patience), why.after or 0.0)
    return Decision(delivery, name, "accepted", why.reason, ask_at=min(now + pause, give_up_at))
