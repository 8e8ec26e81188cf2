"""Where the daemon is that has a journal, as it notes there itself.

The config on disk may have been edited since, and refused: what it says is not where the daemon
is. What is noted counts as long as the process that has noted it holds the journal.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from syncd.errors import JournalUnavailable
from syncd.journal import lock_path
from syncd.owner import holder

WHEREABOUTS = "whereabouts"
"""What the fact is called."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a daemon really listens, as addresses are written in the config, and where its tree is."""

    pid: str
    server: str
    admin: str
    root: str

    def __str__(self) -> str:
        """As it is noted."""
        return json.dumps(asdict(self))


def whereabouts(journal: Path) -> Whereabouts | None:
    """Where the daemon is that has the journal; None where none has it, or that can't be told."""
    from syncd.journal.auditing import fact, looking  # noqa: PLC0415 - the daemon, which never asks, does without it

    try:
        owner = holder(lock_path(journal))
        if owner is None:
            return None
        with looking(journal) as db:
            noted = Whereabouts(**json.loads(fact(db, WHEREABOUTS) or "{}"))
    except (OSError, JournalUnavailable, ValueError, TypeError):
        return None
    return noted if noted.pid == owner.pid else None


def process(journal: Path) -> int | None:
    """Return the process that has the journal, None where none does."""
    try:
        found = holder(lock_path(journal))
    except OSError:  # a lock that only the daemon may open
        return None
    return int(found.pid) if found is not None and found.pid.isdecimal() else None
