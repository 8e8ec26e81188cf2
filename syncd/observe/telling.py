"""The loop that tells: each target in the config gets what it wants, one message after the other, until it took it.

What is told stands in the journal, so that nothing is lost by a crash and nothing of a download
waits for it. A target that is down delays itself alone. What a message says, and how it travels, is
in `notify` and `hooks`; here is when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from syncd.config import Config
from syncd.errors import JournalUnavailable
from syncd.journal import Rules
from syncd.journal.happenings import Happening
from syncd.journal.outbox import Message, Outbox
from syncd.model import rfc3339
from syncd.observe.hooks import HookTarget
from syncd.observe.log import seldom
from syncd.observe.notify import NotifyTarget
from syncd.observe.target import Target

log = logging.getLogger(__name__)

PATIENCE = 24 * 3600.0
"""Seconds since something happened after which the attempts to tell of it end."""
FIRST, LONGEST = 5.0, 3600.0
"""Seconds between two attempts at a message: the first wait, which doubles, up to the longest."""

_BREATH = 0.05  # seconds, so that a burst costs some looks and not one for each file
_AFTER_TROUBLE = 1.0
_AFTER_BUG = 60.0
_NOTED = 1000  # of the daemon's own, while the journal can't take them


def targets_of(config: Config) -> Mapping[str, Target]:
    """Everybody who is told, by id."""
    base = config.mirror.public_url
    people = [NotifyTarget(table, base) for table in config.notify]
    programs = [HookTarget(table, base) for table in config.hooks]
    targets: list[Target] = [*people, *programs]
    return {target.table.id: target for target in targets}


def new_message(target: Target, happened: Sequence[Happening], now: float) -> Message:
    """Make a message of what happened; it is tried once at least, however old that is."""
    title, body = target.compose(happened)
    return Message(
        id=f"msg_{secrets.token_hex(12)}",
        listener=target.table.id,
        kind=target.table.KIND,
        target=target.table.shown,
        events=len(happened),
        title=title,
        body=body,
        made_at=now,
        next_at=now,
        give_up_at=max(now, happened[0].at + PATIENCE),
    )


@dataclass(frozen=True, slots=True)
class _Served:
    target: Target
    task: asyncio.Task[None]
    stirred: asyncio.Event


class Telling:
    """Tells all targets. `run` works, `note` takes what happened to the daemon itself, `stir` has it look again."""

    def __init__(
        self,
        outbox: Outbox,
        current: Callable[[], Config],
        rules: Callable[[Config], Rules],
        counted: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._current = current
        self._rules = rules
        self._counted = counted
        self._clock = clock
        self._noted: list[tuple[float, str, str, Mapping[str, Any]]] = []
        self._served: dict[str, _Served] = {}

    def note(self, event: str, subject: str, **facts: Any) -> None:
        """Take what happened to the daemon; it is in the journal a moment later."""
        if len(self._noted) < _NOTED:
            self._noted.append((self._clock(), event, subject, facts))
        self.stir()

    def stir(self) -> None:
        """Look again: the config has changed, or a command has given an order."""
        self._outbox.heard.set()

    async def run(self) -> None:
        """Tell. Ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            enlisted: Mapping[str, Target] | None = None
            while True:
                self._outbox.heard.clear()
                config = self._current()
                targets = targets_of(config)
                try:
                    if targets != enlisted:
                        await self._outbox.enlist(list(targets), self._clock())
                        self._serve(targets, group)
                        enlisted = targets
                    await self._write_down(config)
                except JournalUnavailable as trouble:
                    seldom(log, "what happened waits to be told", trouble)
                    await asyncio.sleep(_AFTER_TROUBLE)
                    self.stir()
                for served in self._served.values():
                    served.stirred.set()
                await asyncio.sleep(_BREATH)
                await self._outbox.heard.wait()

    async def _write_down(self, config: Config) -> None:
        if taken := len(self._noted):
            await self._outbox.happened(self._rules(config), self._noted[:taken])
            del self._noted[:taken]

    def _serve(self, targets: Mapping[str, Target], group: asyncio.TaskGroup) -> None:
        """Have a task for each target, and a new one for each that has changed."""
        for name, served in list(self._served.items()):
            if targets.get(name) != served.target:
                served.task.cancel()
                del self._served[name]
        for name, target in targets.items():
            if name not in self._served:
                stirred = asyncio.Event()
                task = group.create_task(self._keep_telling(target, stirred), name=f"telling {target.table.shown}")
                self._served[name] = _Served(target, task, stirred)

    async def _keep_telling(self, target: Target, stirred: asyncio.Event) -> None:
        while True:
            stirred.clear()
            try:
                wait = await self._tell(target)
            except JournalUnavailable as trouble:
                seldom(log, "messages wait", trouble)
                wait = _AFTER_TROUBLE
            except Exception:  # nothing that is told may stop what it tells of
                log.exception("a bug in telling", extra={"target": target.table.shown})
                wait = _AFTER_BUG
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stirred.wait()

    async def _tell(self, target: Target) -> float | None:
        """Send what is due, or say in how many seconds something will be; None: not before something happens."""
        table = target.table
        message = await self._outbox.waiting(table.id)
        if message is None:
            count, since = await self._outbox.pile(table.id, table.on, table.max_items)
            if not count:
                return None
            now = self._clock()
            wait = since + table.max_delay - now
            if count < table.max_items and 0 < wait <= table.max_delay:  # more: the clock went back
                return wait
            happened = await self._outbox.untold(table.id, table.on, table.max_items)
            message = new_message(target, happened, now)
            await self._outbox.compose(message, happened[-1].seq)
        if 0 < (wait := message.next_at - self._clock()) <= LONGEST * 24:
            return wait
        await self._send(target, message)
        return 0.0

    async def _send(self, target: Target, message: Message) -> None:
        setback = await target.send(message)
        now = self._clock()
        tried = replace(message, attempts=message.attempts + 1, ended_at=now)
        facts = {"id": message.id, "target": target.table.shown, "events": message.events}
        if setback is None:
            await self._outbox.settle(replace(tried, state="sent", reason=""))
            self._counted(message.kind, "sent")
            log.info("message sent", extra={**facts, "attempts": tried.attempts})
            return
        facts |= {"attempts": tried.attempts, "reason": setback.reason}
        next_at = now + max(_pause(message.attempts), setback.after or 0.0)
        if setback.final or now >= message.give_up_at:
            await self._outbox.settle(replace(tried, state="failed", reason=setback.reason))
            self._counted(message.kind, "failed")
            log.error("message failed", extra=facts)
            return
        next_at = min(next_at, message.give_up_at)
        await self._outbox.settle(replace(tried, next_at=next_at, reason=setback.reason, ended_at=None))
        self._counted(message.kind, "retried")
        log.warning("message waits", extra={**facts, "next_attempt_at": rfc3339(next_at)})


def _pause(attempts: int) -> float:
    pause = min(FIRST * 2.0 ** min(attempts, 32), LONGEST)
    return pause * random.uniform(0.8, 1.0)  # noqa: S311 - spreads what failed together, no secret
