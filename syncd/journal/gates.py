"""The gates in the journal: which fetched files may not be visible yet, and when that changes.

Functions over an open transaction. A design's status closes or opens the gate for all that was
made from it; a batch is closed until nothing of it has to be fetched any more. What is closed is
`held`, fetched and verified; once open it is a job again, one that needs no download. Where
held files lie, and how they get there and back, is the business of `holding`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from syncd.journal import Rules
from syncd.model import Asset

INCOMPLETE = "its batch is not complete"
LEAVING = "another version is being withdrawn"

# Deliveries that are to be visible as a whole, and share assets that are not; first those that are asked for.
_LINKED = (
    "WITH RECURSIVE linked(seq) AS (SELECT value FROM json_each(?) UNION SELECT whole.seq FROM linked"
    " JOIN announced AS ours USING (seq) JOIN assets USING (asset) JOIN announced AS theirs USING (asset)"
    " JOIN whole ON whole.seq = theirs.seq WHERE state IN ('pending', 'held'))"
)


def design_of(db: sqlite3.Connection, asset: Asset, visual: int, rules: Rules) -> str:
    """The design whose status decides if an asset may be visible; empty where its platform tells of none.

    An announcement that leaves the design out does not open the gate for a visual whose design is known.
    """
    if asset.source not in rules.reviewed:
        return ""
    if asset.template.id:
        return asset.template.id
    known = db.execute(
        "SELECT design FROM assets WHERE visual = ? AND design != '' ORDER BY asset DESC LIMIT 1", (visual,)
    ).fetchone()
    return known["design"] if known else ""


def closed_design(db: sqlite3.Connection, design: str, rules: Rules) -> str:
    """Why nothing of a design may be visible, if so."""
    if rules.approved is None or not design:
        return ""
    row = db.execute("SELECT status FROM templates WHERE id = ?", (design,)).fetchone()
    status = row["status"] if row else ""
    if status.upper() in rules.approved:
        return ""
    return f"its design is {status}" if status else "its design has no status yet"


def closed(db: sqlite3.Connection, row: sqlite3.Row, known: Sequence[sqlite3.Row], rules: Rules) -> str:
    """Why a fetched file may not be visible yet, if so; `known` are the versions of its visual.

    Each of a batch is held first, also the last one, so that all of them come out in one step. A file that
    is being withdrawn may still be named, so that nothing older may take its place before it is gone.
    """
    reason = closed_design(db, row["design"], rules)
    if not reason and any(other["held"] == 2 and other["asset"] != row["asset"] for other in known):  # noqa: PLR2004 - see schema
        return LEAVING
    if not reason and rules.whole_batches and not row["held"] and row["folder"] is None and _whole(db, row["asset"]):
        return INCOMPLETE
    return reason


def look_again(db: sqlite3.Connection, design: str) -> None:
    """Have everything of a design held against the gates."""
    db.execute("INSERT OR IGNORE INTO reviews VALUES (?)", (design,))


def open_whole(db: sqlite3.Connection, visuals: Sequence[int], rules: Rules, now: float) -> None:
    """Let out the batches that announced a version of these visuals and of which nothing is to be fetched any more."""
    if not rules.whole_batches:
        return
    touched = db.execute(
        "SELECT DISTINCT whole.seq FROM assets JOIN announced USING (asset) JOIN whole ON whole.seq = announced.seq"
        " WHERE visual IN (SELECT value FROM json_each(?))",
        (json.dumps(visuals),),
    )
    for (seq,) in touched.fetchall():
        if _waits(db, seq):  # cheaper than to look at what is linked to it, and so most of the time
            continue
        members = _members(db, [seq])
        if not any(map(_is_to_be_fetched, members)):
            let_out(db, members, rules, now)
            _forget_whole(db, [seq])


def open_with(db: sqlite3.Connection, row: sqlite3.Row, rules: Rules, now: float) -> tuple[int, list[int]]:
    """Let out a held file, and what is to be visible with it; returns how many, and all that was looked at."""
    seqs = _whole(db, row["asset"]) if rules.whole_batches else []
    members = _members(db, seqs) if seqs else [row]
    looked_at = [member["asset"] for member in members]
    if any(map(_is_to_be_fetched, members)):
        held = [(INCOMPLETE, member["asset"]) for member in members if member["design"] == row["design"]]
        db.executemany("UPDATE assets SET reason = ? WHERE asset = ? AND state = 'held'", held)
        return 0, looked_at
    count = let_out(db, members, rules, now)
    _forget_whole(db, seqs)
    return count, looked_at


def let_out(db: sqlite3.Connection, rows: Collection[sqlite3.Row], rules: Rules, now: float) -> int:
    """Make jobs of the held files among these whose designs are open; returns how many.

    One of which another version is still to go would only be held again.
    """
    open_ = [row for row in rows if row["state"] == "held" and not closed_design(db, row["design"], rules)]
    waiting = [row["asset"] for row in open_ if _leaves(db, row)]
    db.executemany("UPDATE assets SET reason = ? WHERE asset = ?", [(LEAVING, asset) for asset in waiting])
    out = [row["asset"] for row in open_ if row["asset"] not in waiting]
    make_due(db, out, rules, now)
    return len(out)


def _leaves(db: sqlite3.Connection, row: sqlite3.Row) -> bool:
    query = "SELECT 1 FROM assets WHERE visual = ? AND held = 2 AND asset != ?"
    return db.execute(query, (row["visual"], row["asset"])).fetchone() is not None


def make_due(db: sqlite3.Connection, assets: Sequence[int], rules: Rules, now: float) -> None:
    """Make assets jobs that are due, with all the time that a new one has. Their deliveries stay as they are."""
    db.executemany(
        "UPDATE assets SET state = 'pending', reason = '', goes = 0, next_at = ?, give_up_at = ?,"
        " failing_since = NULL WHERE asset = ?",
        [(now, now + rules.give_up_after, asset) for asset in assets],
    )


def _is_to_be_fetched(row: sqlite3.Row) -> bool:
    return row["state"] == "pending" and not row["held"]


def _waits(db: sqlite3.Connection, seq: int) -> bool:
    query = (
        "SELECT 1 FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = ? AND state = 'pending' AND held = 0 LIMIT 1"
    )
    return db.execute(query, (seq,)).fetchone() is not None


def _whole(db: sqlite3.Connection, asset: int) -> list[int]:
    """The batches that announced an asset and are not visible yet."""
    return [seq for (seq,) in db.execute("SELECT seq FROM announced JOIN whole USING (seq) WHERE asset = ?", (asset,))]


def _members(db: sqlite3.Connection, seqs: Sequence[int]) -> list[sqlite3.Row]:
    """What is not visible yet of these batches, and of those that share some of it."""
    return db.execute(
        f"{_LINKED} SELECT * FROM assets WHERE state IN ('pending', 'held')"  # noqa: S608 - a constant from above
        " AND asset IN (SELECT asset FROM linked JOIN announced USING (seq))",
        (json.dumps(seqs),),
    ).fetchall()


def _forget_whole(db: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Batches that have opened are whole from now on, but for those of which designs still hold something."""
    db.execute(
        f"{_LINKED} DELETE FROM whole WHERE seq IN (SELECT seq FROM linked) AND NOT EXISTS (SELECT 1 FROM announced"  # noqa: S608 - a constant from above
        " JOIN assets USING (asset) WHERE announced.seq = whole.seq AND state = 'held')",
        (json.dumps(seqs),),
    )
