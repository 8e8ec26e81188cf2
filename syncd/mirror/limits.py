"""How much is downloaded at a time: slots for attempts, and bytes per second.

Both read their limits anew whenever they matter, so that an edited config is in force for
what is waiting already. They know nothing of URLs or files.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

BURST = 0.25
"""Seconds of unused bandwidth that may be caught up on."""
LOOK_AGAIN = 0.25
"""Seconds after which a waiting download reads the limit anew."""


class Slots:
    """Who may download now: so many at once, and so many of them from one host.

    First come, first served, except that a host without room lets the others pass. `limits`
    gives (in all, per host). Where they rose, `refill` lets the waiting ones in at once;
    without it they come in when the next one arrives or leaves.
    """

    def __init__(self, limits: Callable[[], tuple[int, int]]) -> None:
        self._limits = limits
        self._tickets = count()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._held: Counter[str] = Counter()

    async def take(self, host: str) -> Slot:
        """Wait for a slot; it is kept until its block ends."""
        total, per_host = self._limits()
        if not self._waiting and self._held.total() < total and self._held[host] < per_host:
            self._held[host] += 1
            return Slot(self, host)
        entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append((next(self._tickets), entry))
        self.refill()
        try:
            await entry
        except asyncio.CancelledError:
            # Who is cancelled at the very moment of being let in holds a slot as well.
            if entry.done() and not entry.cancelled():
                self.give_back(host)
            raise
        return Slot(self, host)

    def give_back(self, host: str) -> None:
        """Make room for the next one."""
        self._held[host] -= 1
        if not self._held[host]:
            del self._held[host]
        if self._waiting:
            self.refill()

    def refill(self) -> None:
        """Let in everyone there is room for."""
        total, per_host = self._limits()
        while self._held.total() < total and (host := self._next(per_host)) is not None:
            _, entry = self._waiting[host].popleft()
            self._held[host] += 1
            entry.set_result(None)

    def _next(self, per_host: int) -> str | None:
        """Find the host whose turn it is: of those with room, the one that has waited longest."""
        for host, queue in list(self._waiting.items()):
            while queue and queue[0][1].done():  # cancelled while waiting
                queue.popleft()
            if not queue:
                del self._waiting[host]
        ready = ((queue[0][0], host) for host, queue in self._waiting.items() if self._held[host] < per_host)
        return min(ready, default=(0, None))[1]


class Slot:
    """One place at one host, to be used as a block."""

    __slots__ = ("_host", "_slots")

    def __init__(self, slots: Slots, host: str) -> None:
        self._slots = slots
        self._host = host

    def __enter__(self) -> None:
        """It is taken already."""

    def __exit__(self, *_: object) -> None:
        self._slots.give_back(self._host)


class Bandwidth:
    """One allowance of bytes per second for all downloads. `limit` gives it, 0 for none.

    A token bucket that may run into debt: who has received bytes takes them and waits until
    the debt is paid, the others queue behind in the order of their coming.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._turn = asyncio.Lock()
        self._debt = 0.0
        self._paid_at = time.monotonic()

    async def take(self, size: int) -> None:
        """Account for `size` received bytes; returns when the next ones may be read."""
        if not self._limit():
            self._debt = 0.0  # a new limit doesn't begin with old debts
            return
        async with self._turn:
            self._pay()
            self._debt += size
            while self._debt > 0 and (rate := self._limit()):
                await asyncio.sleep(min(self._debt / rate, LOOK_AGAIN))
                self._pay()

    def _pay(self) -> None:
        now, rate = time.monotonic(), self._limit()
        self._debt = max(self._debt - (now - self._paid_at) * rate, -BURST * rate) if rate else 0.0
        self._paid_at = now
