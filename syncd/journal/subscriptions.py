"""Which subscriptions were made from here: the platform has no call that lists them.

They lie among the journal's facts, one each, named after the platform's id. Whether one still
exists only the platform knows.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from syncd.errors import JournalUnavailable
from syncd.journal.schema import connect, exists

_FACT = "subscription:"
_AFTER = "subscription;"  # sorts behind every such fact


@dataclass(frozen=True, slots=True)
class Subscription:
    """One event that the platform was asked to send to a URL. `made_at` is in unix seconds."""

    id: str
    event: str
    url: str
    made_at: float


def remember(db: sqlite3.Connection, subscription: Subscription) -> None:
    """Note a subscription, in an open transaction."""
    values = (_FACT + subscription.id, json.dumps(asdict(subscription)))
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", values)


def forget(db: sqlite3.Connection, name: str) -> None:
    """Drop one, in an open transaction; one that is not there is dropped already."""
    db.execute("DELETE FROM facts WHERE name = ?", (_FACT + name,))


def remembered(path: Path) -> list[Subscription]:
    """List them all, the oldest first. Raises JournalUnavailable where the journal at `path` can't be read."""
    exists(path)
    with closing(connect(path, "read")) as db:
        try:
            rows = db.execute("SELECT value FROM facts WHERE name > ? AND name < ?", (_FACT, _AFTER)).fetchall()
        except sqlite3.Error as error:
            raise JournalUnavailable(f"the journal can't be read: {error}") from error
    return sorted((Subscription(**json.loads(value)) for (value,) in rows), key=lambda one: (one.made_at, one.event))
