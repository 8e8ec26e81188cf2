"""How asking one URL once can go wrong, and for how long that holds.

A setback is raised between the files of a download and ends in `fetch`, which turns it into
the `Retry` or `Failed` that everyone else sees. Bugs and disk errors are not setbacks.
"""

from __future__ import annotations

from enum import IntEnum


class Lasting(IntEnum):
    """How long a setback holds, the most hopeful first."""

    PASSING = 0
    """The network or the server had a bad moment: later goes may mend it."""
    MISSING = 1
    """The file is not there. It may appear within this go, no later one is worth it."""
    FINAL = 2
    """Asking again would be answered the same."""


class Setback(Exception):
    """One URL did not give its file in one attempt.

    `reason` reads well before "from URL". `after` is how long the server asked to be left
    alone, in seconds. `troubled` names the server, or the proxy, that gave no answer or said that
    it can't serve anyone now. `parked`: one is known to be down and is to be left alone for `after`.
    """

    def __init__(
        self,
        reason: str,
        lasting: Lasting = Lasting.PASSING,
        *,
        after: float | None = None,
        troubled: str = "",
        parked: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting
        self.after = after
        self.troubled = troubled
        self.parked = parked
