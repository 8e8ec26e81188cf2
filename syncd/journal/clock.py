"""What waits for a time, when the clock that has told it was ahead.

Functions over an open transaction. How far an earlier process's clock was ahead nobody knows, but what came or
failed later than now tells of one that was, and what nobody has gone for yet waits for nothing but the clock.
"""

from __future__ import annotations

import sqlite3

_JOBS = "state = 'pending' AND lane IN ('visuals', 'exports') AND next_at > :now"  # as the index of what is due has it
_EARLIER_JOBS = (
    "lost_at IS NULL AND (goes = 0 OR received_at > :now OR failing_since > :now)"  # a repair holds some back
)


def set_back(db: sqlite3.Connection, now: float, back: float) -> None:
    """Let what waits go on waiting for as long as it had to: the clock says `back` seconds less than it would have."""
    times = {"now": now, "back": back}
    db.execute(f"UPDATE assets SET next_at = max(next_at - :back, :now) WHERE {_JOBS}", times)  # noqa: S608 - from above
    db.execute("UPDATE deliveries SET ask_at = max(ask_at - :back, :now) WHERE ask_at > :now", times)


def begin(db: sqlite3.Connection, now: float) -> None:
    """Make due what an earlier process has left waiting for a clock that was ahead."""
    times = {"now": now}
    db.execute(f"UPDATE assets SET next_at = :now WHERE {_JOBS} AND {_EARLIER_JOBS}", times)  # noqa: S608 - from above
    db.execute("UPDATE deliveries SET ask_at = :now WHERE ask_at > :now AND (asked = 0 OR received_at > :now)", times)
