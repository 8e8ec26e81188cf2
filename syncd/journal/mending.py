"""What an operator mends: assets are tried again, deliveries are read again.

Functions over the open transaction of an `order`. They only turn states back; the daemon then
finds the work as if it had just come, under the config in force, and newer still wins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from syncd.journal import Decision, Rules
from syncd.journal.finding import assets_at, assets_of
from syncd.journal.inbox import decide
from syncd.journal.placing import has_file
from syncd.journal.rows import delivery_of
from syncd.journal.visuals import order_of, rerank, revive, versions
from syncd.model import AssetState, Delivery, Outcome

_UNPUBLISHED = ("pending", "failed")


@dataclass(frozen=True, slots=True)
class Mended:
    """What becomes of one asset. `due`: it is fetched now; else `reason` says why not. `shown`: it has a file."""

    id: str
    path: str | None
    version: int | None
    state: AssetState
    due: bool
    shown: bool
    reason: str


def named(db: sqlite3.Connection, name: str, paths: Sequence[str]) -> list[sqlite3.Row]:
    """Assets by the beginning of an id, else by the first of these paths that is one: what waits of them, or failed.

    Where nothing does, what they are by now. Raises Ambiguous.
    """
    rows = ended = assets_of(db, name)
    if not rows:
        rows = sorted(next(filter(None, (assets_at(db, path) for path in paths)), []), key=order_of)
        ended = rows[-1:]  # the others are its history
    return [row for row in rows if row["state"] in _UNPUBLISHED] or ended


def failing(db: sqlite3.Connection, before: float, limit: int) -> list[sqlite3.Row]:
    """Assets that have failed since a time before this one and wait, or were given up; the oldest first."""
    query = (
        "SELECT * FROM assets WHERE failing_since <= ? AND state IN ('pending', 'failed')"
        " ORDER BY failing_since LIMIT ?"
    )
    return db.execute(query, (before, limit)).fetchall()


def retry(db: sqlite3.Connection, rows: Sequence[sqlite3.Row], rules: Rules, now: float) -> list[Mended]:
    """Make assets that failed due now, with all the time that a new one has; says what becomes of each."""
    for row in rows:
        if row["state"] in _UNPUBLISHED:
            revive(db, row["asset"], rules, now)
    for visual in {row["visual"] for row in rows}:
        rerank(db, visual, rules, now)
    return [_mended(db, row["asset"]) for row in rows]


def replay(db: sqlite3.Connection, delivery: str, now: float) -> Outcome | None:
    """Have a delivery read again; returns how it had ended, None where it is forgotten.

    Its rank and its time of receipt stay, so that nothing older becomes newer by it.
    """
    row = db.execute("SELECT outcome FROM deliveries WHERE id = ?", (delivery,)).fetchone()
    db.execute(
        "UPDATE deliveries SET read = 0, ask_at = NULL, outcome = 'accepted', reason = '', replayed_at = ?"
        " WHERE id = ?",
        (now, delivery),
    )
    return None if row is None else row["outcome"]


def stored(db: sqlite3.Connection, delivery: str) -> Delivery | None:
    """A delivery as it was received, unless it is forgotten."""
    row = db.execute("SELECT * FROM deliveries WHERE id = ?", (delivery,)).fetchone()
    return None if row is None else delivery_of(row)


def rehearse(db: sqlite3.Connection, decision: Decision, rules: Rules, now: float) -> list[Mended]:
    """Say what a replay would make of a delivery, by doing it and taking everything back."""
    delivery = replace(decision.delivery, replayed_at=now)
    db.execute("SAVEPOINT rehearsal")
    try:
        db.execute("DELETE FROM announced WHERE seq = ?", (delivery.seq,))  # what an earlier reading made of it
        decide(db, [replace(decision, delivery=delivery)], rules, now)
        announced = db.execute("SELECT asset FROM announced WHERE seq = ? ORDER BY asset", (delivery.seq,)).fetchall()
        return [_mended(db, asset) for (asset,) in announced]
    finally:
        db.execute("ROLLBACK TO rehearsal")
        db.execute("RELEASE rehearsal")


def _mended(db: sqlite3.Connection, asset: int) -> Mended:
    row = db.execute("SELECT * FROM assets WHERE asset = ?", (asset,)).fetchone()
    shown = has_file(db, row)
    match row["state"]:
        case "pending":
            reason = ""
        case "published":
            reason = "is published"
        case "held":
            reason = f"is fetched, and held: {row['reason']}"
        case "superseded" if row["folder"] is not None:
            reason = "is kept as an older version"
        case _:
            reason = row["reason"] + _newer(db, row)
    due = row["state"] == "pending"
    return Mended(row["platform_id"], row["key"], row["version"], row["state"], due, shown, reason)


def _newer(db: sqlite3.Connection, row: sqlite3.Row) -> str:
    """Name the version that a superseded one gave way to, where it has a number."""
    newest = versions(db, row["visual"])[0]
    return f" (version {newest['version']})" if order_of(newest) > order_of(row) and newest["version"] else ""
