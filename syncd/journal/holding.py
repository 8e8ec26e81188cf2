"""Held files in the journal: what has to be taken out of the tree, what may go back, and if all are still there.

`review` works through designs whose status has changed, or all of them when the rules have, some
at a time, so that acknowledgements never wait for a large design. A visible file is held in two
steps: it goes out of its manifest first, and moves once a manifest without it is on disk.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syncd.journal import Reviewed, Rules, happenings
from syncd.journal.gates import LEAVING, closed_design, make_due, open_with
from syncd.journal.rows import job_of
from syncd.journal.visuals import order_of, withdraw
from syncd.model import Fetched, Job, held_key

Ask = Callable[[Callable[[sqlite3.Connection], Any]], asyncio.Future[Any]]
Look = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
Tell = Callable[[Rules, Callable[[sqlite3.Connection], Any]], Any]

_RULES = "gates"  # the fact by which a change of them is noticed, be it made while nobody ran
_OPEN = json.dumps([None, False])
_PAGE = 256
_DESIGNS = 1000


def review(db: sqlite3.Connection, rules: Rules, limit: int, now: float) -> Reviewed:
    """Hold designs that have to be looked at again against the gates, until about `limit` assets have changed."""
    _follow(db, rules)
    withdrawn, left = 0, limit
    for (design,) in db.execute("SELECT design FROM reviews LIMIT ?", (_DESIGNS,)).fetchall():
        if reason := closed_design(db, design, rules):
            taken = _take_back(db, design, reason, left)
            withdrawn += taken
            left -= taken
        else:
            left -= _open(db, design, rules, left, now)
        if left <= 0:
            return Reviewed(withdrawn, more=True)
        db.execute("DELETE FROM reviews WHERE design = ?", (design,))
    return Reviewed(withdrawn, more=db.execute("SELECT 1 FROM reviews LIMIT 1").fetchone() is not None)


def _follow(db: sqlite3.Connection, rules: Rules) -> None:
    """Have everything reviewed where the rules are others than last time."""
    said = json.dumps([None if rules.approved is None else sorted(rules.approved), rules.whole_batches])
    known = db.execute("SELECT value FROM facts WHERE name = ?", (_RULES,)).fetchone()
    if said == (known["value"] if known else _OPEN):
        return
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_RULES, said))
    db.execute("INSERT OR IGNORE INTO reviews SELECT id FROM templates UNION SELECT ''")
    if not rules.whole_batches:
        db.execute("DELETE FROM whole")


def _take_back(db: sqlite3.Connection, design: str, reason: str, limit: int) -> int:
    """Have visible files of a design held; returns how many. All that it holds then says why."""
    rows = db.execute("SELECT * FROM assets WHERE design = ? AND folder IS NOT NULL LIMIT ?", (design, limit))
    taken = rows.fetchall()
    for row in taken:
        stays = withdraw(db, row["asset"], row["key"], row["folder"], held=True)
        db.execute(
            "UPDATE assets SET state = 'held', reason = ?, folder = NULL, held = ?, failing_since = NULL"
            " WHERE asset = ?",
            (reason, 2 if stays else 0, row["asset"]),
        )
    if len(taken) < limit:
        db.execute(
            "UPDATE assets SET reason = ? WHERE design = ? AND state = 'held' AND reason != ?", (reason, design, reason)
        )
    return len(taken)


def _open(db: sqlite3.Connection, design: str, rules: Rules, limit: int, now: float) -> int:
    """Let out what a design holds, but for batches that are not complete; returns how many."""
    query = "SELECT * FROM assets WHERE design = ? AND state = 'held' AND asset > ? ORDER BY asset LIMIT ?"
    opened, after, seen = 0, 0, set[int]()
    while opened < limit and (page := db.execute(query, (design, after, _PAGE)).fetchall()):
        for row in page:
            if row["asset"] not in seen:
                count, looked_at = open_with(db, row, rules, now)
                opened += count
                seen.update(looked_at)
        after = page[-1]["asset"]
    return opened


def opened(db: sqlite3.Connection) -> list[tuple[Job, Fetched]]:
    """Held files that may be visible now, of each visual the newest first. Their paths are below the root."""
    rows = db.execute("SELECT * FROM assets WHERE held = 1 AND state != 'held' AND +state = 'pending'").fetchall()
    return [(job_of(row), _fetched(row)) for row in sorted(rows, key=order_of, reverse=True)]


def _fetched(row: sqlite3.Row) -> Fetched:
    path = Path(held_key(row["asset"]))
    return Fetched(path, row["bytes"], row["sha256"], row["type"], row["source_url"], attempts=0, seconds=0.0)


def withdrawn(db: sqlite3.Connection, limit: int) -> list[tuple[str, int]]:
    """Keys of files that are to be held and that no manifest names any more, each with its asset."""
    rows = db.execute(
        "SELECT key, asset FROM removals JOIN folders USING (folder) WHERE asset IS NOT NULL"
        " AND written >= removals.change"
        " AND key NOT IN (SELECT json_extract(placing, '$[0]') FROM assets WHERE placing IS NOT NULL) LIMIT ?",
        (limit,),
    )
    return [(row["key"], row["asset"]) for row in rows]


def set_aside(db: sqlite3.Connection, files: Sequence[tuple[str, int]], rules: Rules, now: float) -> None:
    """Record that these files are held now."""
    for key, asset in files:
        db.execute("DELETE FROM removals WHERE key = ? AND asset = ?", (key, asset))
        db.execute("UPDATE assets SET held = 1 WHERE asset = ? AND held = 2", (asset,))
        db.execute(  # others may have waited for this
            "INSERT OR IGNORE INTO reviews SELECT design FROM assets WHERE state = 'held' AND reason = ?"
            " AND visual = (SELECT visual FROM assets WHERE asset = ?)",
            (LEAVING, asset),
        )
        happenings.removed(db, rules, now, key)


def match(db: sqlite3.Connection, there: Mapping[int, int], rules: Rules, now: float) -> list[int]:
    """Have held files fetched again that are not there, with all their bytes; names those that nobody claims.

    `there` are the numbers of the files that are, with their bytes.
    """
    rows = db.execute(
        "SELECT asset, state, bytes, held FROM assets WHERE state = 'held'"
        " UNION ALL SELECT asset, state, bytes, held FROM assets WHERE held = 1 AND state != 'held'"
    ).fetchall()
    lost = [row for row in rows if row["held"] == 0 or (row["held"] == 1 and there.get(row["asset"]) != row["bytes"])]
    db.executemany("UPDATE assets SET held = 0 WHERE asset = ?", [(row["asset"],) for row in lost])
    make_due(db, [row["asset"] for row in lost if row["state"] in ("held", "pending")], rules, now)
    claimed = {row["asset"] for row in rows} - {row["asset"] for row in lost}
    return [number for number in there if number not in claimed]


class SqliteHolding:
    """These verbs as the daemon asks them: each returns once it is on stable storage, or raises JournalUnavailable."""

    def __init__(self, ask: Ask, look: Look, tell: Tell) -> None:
        self._ask = ask
        self._look = look
        self._tell = tell

    async def review(self, rules: Rules, limit: int, now: float) -> Reviewed:
        """Hold some of the designs that have to be looked at again against the gates."""
        found: Reviewed = await self._ask(lambda db: review(db, rules, limit, now))
        return found

    async def opened(self) -> list[tuple[Job, Fetched]]:
        """Held files that may be visible now; of a batch all or none."""
        found: list[tuple[Job, Fetched]] = await self._look(opened)
        return found

    async def withdrawn(self, limit: int) -> list[tuple[str, int]]:
        """Keys of files to be held that no manifest names any more, each with its asset."""
        found: list[tuple[str, int]] = await self._look(lambda db: withdrawn(db, limit))
        return found

    async def set_aside(self, files: Sequence[tuple[str, int]], rules: Rules, now: float) -> None:
        """Record that these files are held now."""
        await self._tell(rules, lambda db: set_aside(db, files, rules, now))

    async def match(self, there: Mapping[int, int], rules: Rules, now: float) -> list[int]:
        """Have held files fetched again that are not there; names those that nobody claims."""
        found: list[int] = await self._ask(lambda db: match(db, there, rules, now))
        return found
