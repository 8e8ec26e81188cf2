"""How long the event loop is kept from its work, measured in the loop's own step from one wait to the next.

A selector sees everything: what runs between two waits is a hold-up for whoever comes meanwhile,
be it one slow callback or many quick ones, and a wait that ends late was one, too. It costs two
looks at the clock a step, now and then one at the thread's times, and nothing while the loop sleeps.
What is made of a hold-up, a number in `metrics`, is not decided here; that it is logged, is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

NOTABLE = 0.02
"""Seconds from which on a hold-up is told."""
LONGEST = 0.1
"""Seconds that none may take (docs/reliability.md, "The event loop"); a longer one is logged."""
_QUIET = 60.0  # seconds between two lines of the log
_RECENT = 0.002  # seconds that the thread's times may be old: to look at them costs more than to look at the clock
_TIMES = "/proc/thread-self/schedstat"


class LoopWatch(selectors.DefaultSelector):
    """The selector of one event loop, made in that loop's thread, which tells of the loop's hold-ups.

    `told` gets (held, starved) of each, in seconds: `held` is our own doing, `starved` the part in
    which the thread could have run and the machine gave it no CPU. Only Linux tells the two apart;
    elsewhere `starved` is 0. A C call in another thread that keeps the interpreter to itself is
    noticed when a timer was due.
    """

    def __init__(self, told: Callable[[float, float], None]) -> None:
        super().__init__()
        self._told = told
        self._times: int | None = None
        with contextlib.suppress(OSError):
            self._times = os.open(_TIMES, os.O_RDONLY | os.O_CLOEXEC)
        self._since = time.monotonic()
        self._starved_before, self._looked_at = self._starved(), self._since
        self._silent_until = 0.0
        self._unlogged = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as any selector does."""
        began = time.monotonic()
        if began - self._since >= NOTABLE:
            self._tell(began - self._since, began)
        ready = super().select(timeout)
        self._since = ended = time.monotonic()
        if timeout is not None and ended - began - max(timeout, 0.0) >= NOTABLE:
            self._tell(ended - began - max(timeout, 0.0), ended)
        if ended - self._looked_at >= _RECENT:
            self._starved_before, self._looked_at = self._starved(), ended
        return ready

    def close(self) -> None:
        """Close it; the loop does."""
        super().close()
        if self._times is not None:
            os.close(self._times)
            self._times = None

    def _starved(self) -> bytes:
        """The thread's times as the kernel writes them: run, starved, number of turns; nanoseconds."""
        return b"0 0 0" if self._times is None else os.pread(self._times, 64, 0)

    def _tell(self, lasted: float, now: float) -> None:
        times, self._looked_at = self._starved(), now
        before, after = (int(of.split()[1]) for of in (self._starved_before, times))
        self._starved_before, starved = times, min((after - before) / 1e9, lasted)
        self._told(lasted - starved, starved)
        if lasted < LONGEST:
            return
        if now < self._silent_until:
            self._unlogged += 1
            return
        facts = {"seconds": round(lasted, 3), "starved": round(starved, 3), "unlogged_before": self._unlogged}
        self._silent_until, self._unlogged = now + _QUIET, 0
        log.warning("the event loop was held up", extra=facts)


class Recent:
    """The largest of the values that came in the last `seconds` or somewhat longer, at most twice as long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0
        self._largest = self._before = 0.0

    def note(self, value: float, at: float) -> None:
        """Take a value; `at` never goes back."""
        self._turn(at)
        self._largest = max(self._largest, value)

    def largest(self, at: float) -> float:
        """Tell the largest, 0 where none came."""
        self._turn(at)
        return max(self._largest, self._before)

    def _turn(self, at: float) -> None:
        age = at - self._began
        if age >= self._seconds:
            self._before = self._largest if age < 2 * self._seconds else 0.0
            self._largest, self._began = 0.0, at
