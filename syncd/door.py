"""What a server asks of those who come: a header to show, and not to come too often.

All who come to the same platform share one `Pace`, whatever they come for. Which server asks for what is
the sources' business; who comes, and what becomes of those who would have to wait long, is not known here.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

MINUTE = 61.0
"""Seconds: one more than a minute has, because what leaves here evenly may arrive closer together."""
LONGEST_REST = 3600.0
LONGEST_WISH = 86400.0
"""Seconds. No server may keep anybody away for longer by one Retry-After."""
_NUMBER = re.compile(r"[0-9]{1,12}")
_POINTS_IN_TIME = 1_000_000_000  # larger numbers are unix seconds, smaller ones seconds from now
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS = re.compile(r"[0-9]{1,15}")
# IMF-fixdate of RFC 9110, section 5.6.7; strptime would depend on the locale.
_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")


class Pace:
    """So many turns a minute, in any minute. `clock` gives seconds from anywhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns: deque[float] = deque()
        self._rest_until = 0.0
        self._later = 0.0

    def wait(self, rate: int, longest: float = inf) -> float:
        """Take the next turn at `rate` a minute; how many seconds from now it is.

        One beyond `longest` is not taken: then that is when to come again, everyone at another time.
        """
        now, turns = self._clock(), self._turns
        while turns and turns[0] <= now - MINUTE:
            turns.popleft()
        due = max(now, self._rest_until, turns[-1] if turns else now)
        if len(turns) >= rate:
            due = max(due, turns[-rate] + MINUTE)
        if due - now <= longest:
            turns.append(due)
            return due - now
        due = max(due, self._later)
        self._later = due + MINUTE / rate
        return due - now

    def rest(self, seconds: float) -> None:
        """Give no turn for so long: the server says so."""
        self._rest_until = max(self._rest_until, self._clock() + min(seconds, LONGEST_REST))


@dataclass(frozen=True, slots=True)
class Door:
    """One server: what to show there, and nowhere a redirect leads to; and the pace that it shares with others."""

    headers: Mapping[str, str] = field(repr=False)  # a token, maybe
    rate: int
    pace: Pace

    def wait(self, longest: float) -> float:
        """Take the next turn, as `Pace.wait` does."""
        return self.pace.wait(self.rate, longest)


def reset_after(text: str, now: float) -> float | None:
    """Read a RateLimit-Reset as seconds from `now`, which are unix seconds; platforms write either."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    seconds = float(text)
    return max(0.0, seconds - now) if seconds > _POINTS_IN_TIME else seconds


def retry_after(value: str, now: float) -> float | None:
    """Read a Retry-After header as seconds from `now` (unix seconds), at most LONGEST_WISH.

    None for anything but plain seconds or an HTTP date (not its two obsolete forms), and for a
    date that has passed.
    """
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WISH)
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        at = datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        ).timestamp()
    except ValueError:
        return None
    return min(at - now, LONGEST_WISH) if at > now else None
