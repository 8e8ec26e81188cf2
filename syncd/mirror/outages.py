"""Which servers, or proxies, are down, so that they are asked now and then instead of by everyone.

A server is down once several assets in a row could not get an answer from it, or were told that
it can't serve. Then one attempt at a time probes it, after pauses that double, and all others
are put off without having asked. One good answer ends it. Nothing here waits or asks.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from syncd.mirror.setback import Lasting, Setback

log = logging.getLogger(__name__)

FAILURES = 8
"""Attempts in a row that have to fail, so that what one asset or a hiccup meets is left to `[retry]`."""
ASSETS = 3
"""Different assets that have to be among them."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
SOONEST = 0.5
"""Seconds that whoever is put off stays away at least: a probe may be on its way."""
EACH = 0.01
"""Seconds between the returns of those put off: however many they are, they come back as a trickle."""
MOST = 1000
"""Servers remembered; any host may be named to us."""


@dataclass(slots=True)
class _Outage:
    """What went wrong with one server since its last good answer. `pause` is 0 until it is down.

    `due` is when the next probe may begin, `put_off` how many have been since the last one.
    """

    reason: str = ""
    failures: int = 0
    assets: set[str] = field(default_factory=set)
    pause: float = 0.0
    due: float = 0.0
    probing: bool = False
    put_off: int = 0


class Outages:
    """The servers that fail, for all downloads of a daemon. A server is a host with its port.

    `clock` gives seconds from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Outage] = {}

    def check(self, server: str) -> None:
        """Raise a parked Setback where a server is down and nobody has to probe it now."""
        outage = self._known.get(server)
        if outage is not None and outage.pause and (outage.probing or self._clock() < outage.due):
            raise self._put_off(server, outage)

    def down(self) -> int:
        """Count the servers that are down."""
        return sum(outage.pause > 0 for outage in self._known.values())

    def hurry(self) -> None:
        """Let each server that is down be probed by the next attempt, whatever its pause: somebody asks for it."""
        for outage in self._known.values():
            outage.due = min(outage.due, self._clock())

    def attempt(self, server: str, asset: str) -> AbstractContextManager[None]:
        """Check, and learn from what comes of the block, which asks this server for an asset, or through this proxy.

        Where it is down after a failure, the Setback is raised as a parked one. What troubles
        another is passed on; nothing is ever known to trouble "".
        """
        return self._attempt(server, asset) if server else nullcontext()

    @contextmanager
    def _attempt(self, server: str, asset: str) -> Iterator[None]:
        self.check(server)
        outage = self._known.get(server)
        probed = outage if outage is not None and outage.pause else None
        if probed is not None:
            probed.probing = True
        try:
            yield
        except Setback as setback:
            if setback.troubled == server:
                outage = self._failed(server, asset, setback, probed)
                if outage.pause:
                    raise self._put_off(server, outage) from setback
            elif not (setback.troubled or setback.parked or setback.lasting is Lasting.FINAL):
                self._answered(server)  # which a refusal, maybe ours, and another's trouble don't tell
            raise
        else:
            self._answered(server)
        finally:
            if probed is not None:
                probed.probing = False

    def _failed(self, server: str, asset: str, setback: Setback, probed: _Outage | None) -> _Outage:
        outage = self._known.get(server)
        if outage is None:
            if len(self._known) == MOST:
                del self._known[next(iter(self._known))]
            outage = self._known[server] = _Outage()
        outage.reason = setback.reason
        outage.failures += 1
        if len(outage.assets) < ASSETS:
            outage.assets.add(asset)
        now, worn = self._clock(), outage.failures >= FAILURES and len(outage.assets) >= ASSETS
        if outage is probed or (worn and not outage.pause):
            if not outage.pause:
                log.warning("host is down", extra={"host": server, "reason": outage.reason})
            outage.pause = min(max(2 * outage.pause, FIRST_PAUSE), LONGEST_PAUSE)
            outage.due = now + outage.pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
            outage.put_off = 0
        outage.due = max(outage.due, now + (setback.after or 0.0))
        return outage

    def _answered(self, server: str) -> None:
        outage = self._known.pop(server, None)
        if outage is not None and outage.pause:
            log.info("host is up again", extra={"host": server})

    def _put_off(self, server: str, outage: _Outage) -> Setback:
        until = max(outage.due - self._clock(), SOONEST)
        after = until + outage.put_off * EACH
        outage.put_off += 1
        reason = f"host {server} is down ({outage.reason}), next probe in {math.ceil(until)} s"
        return Setback(reason, after=after, parked=True)
