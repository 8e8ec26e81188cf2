"""What systemd hears of a running daemon: a line on how things are, and signs of life.

A sign is given while the loop runs, the journal's thread answers and the pipeline does not hang.
What only lacks something from outside, a disk with room or a mirror that answers, is alive: a
restart would mend nothing, and deliveries are accepted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time

from syncd.errors import JournalUnavailable
from syncd.pipeline import Works
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.room import Room
from syncd.supervisor import listens, patience, tell

log = logging.getLogger(__name__)

_EVERY = 5.0  # seconds, or half of what the watchdog allows
_LONGEST_STEP = 60.0  # of reading some deliveries or claiming some jobs: those that have no outside to wait for
_SILENCE = 30.0  # after which a mirror that is asked every few seconds is taken to hang


async def report(works: Works, publisher: Publisher, room: Room) -> None:
    """Say how things are when that has changed, and that they go on. Ends by cancellation."""
    if not listens():
        return
    every = min(_EVERY, (patience() or _EVERY * 2) / 2)
    said = ""
    while True:
        now = time.monotonic()
        line = await _line(works, room, now)  # a journal that hangs is not waited for by systemd
        if line != said:
            tell(STATUS=line)
            said = line
        if hanging := stuck(works, publisher, room, now):
            log.error("no sign of life for systemd", extra={"reason": hanging})
        else:
            tell(WATCHDOG=1)
        await asyncio.sleep(every)


async def _line(works: Works, room: Room, now: float) -> str:
    try:
        waiting, failed = await works.journal.standing()
    except JournalUnavailable as trouble:
        return f"not ready: {trouble}"
    if refusing := room.journal_trouble():
        return f"not ready: {refusing}"
    notes = [f"{waiting} waiting", f"{failed} failed"]
    if lacking := _silence(room, now) or room.mirror_trouble():
        notes.append(lacking)
    if works.live.error:
        notes.append(f"config refused: {works.live.error}")
    return f"ready: {', '.join(notes)}"


def _silence(room: Room, now: float) -> str | None:
    silent = now - room.looked_at
    return f"the mirror has not answered for {silent:.0f} s" if silent > _SILENCE else None


def stuck(works: Works, publisher: Publisher, room: Room, now: float) -> str | None:
    """Say which step hangs, if one does; `now` is monotonic.

    While the mirror does not answer, no step is blamed: the threads that it holds are missing elsewhere.
    """
    if _silence(room, now):
        return None
    for step, since in works.busy.items():
        if now - since > _LONGEST_STEP:
            return f"the {step} has been at the same step for {now - since:.0f} s"
    return "files wait, and the publisher sleeps" if publisher.overslept() else None
