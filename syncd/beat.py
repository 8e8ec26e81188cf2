"""When those look who look again and again: at the same moments, all of them.

To wake an idle process costs more than most of what is done once it is awake, so that what need not
happen at a time of its own happens together. What is looked at, and how often, is the business of who looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator


def next_beat(every: float, now: float) -> float:
    """The next time that is a multiple of `every` seconds: periods that are multiples of each other meet."""
    return (now // every + 1) * every


@contextlib.contextmanager
def each_beat(look: Callable[[], float]) -> Iterator[None]:
    """Call `look` now, and then when the loop's clock is at a multiple of the seconds that it has returned.

    It is not called any more after the end of the block.
    """
    loop = asyncio.get_running_loop()
    alarm: asyncio.TimerHandle

    def call() -> None:
        nonlocal alarm
        alarm = loop.call_at(next_beat(look(), loop.time()), call)

    call()
    try:
        yield
    finally:
        alarm.cancel()


async def beat(every: float) -> None:
    """Sleep until the next one."""
    loop = asyncio.get_running_loop()
    due = asyncio.Event()
    alarm = loop.call_at(next_beat(every, loop.time()), due.set)  # not a time to sleep for: that ends a moment later
    try:
        await due.wait()
    finally:
        alarm.cancel()
