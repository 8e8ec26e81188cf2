"""How far what a command has ordered has come, asked of the journal until it is there.

Functions over a connection that only reads. The orders are in `repairing`; it is the pipeline
that follows them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from syncd.journal import INDEX_ANSWERED, INDEX_ASKED
from syncd.journal.auditing import fact


def change_of(db: sqlite3.Connection, folder: str) -> int:
    """Up to where the folder's manifest has to come to say what is so now."""
    row = db.execute("SELECT change FROM folders WHERE folder = ?", (folder,)).fetchone()
    return 0 if row is None else row[0]


def is_written(db: sqlite3.Connection, folder: str, change: int) -> bool:
    """Tell if a folder's manifest on disk has come that far, or has gone since: then changes are counted anew."""
    row = db.execute("SELECT written, change FROM folders WHERE folder = ?", (folder,)).fetchone()
    return row is None or row["written"] >= change or row["change"] < change


def unwritten(db: sqlite3.Connection) -> bool:
    """Tell if the index or an export's manifest is behind."""
    waits = db.execute("SELECT 1 FROM exports WHERE written = 0 LIMIT 1").fetchone()
    return waits is not None or fact(db, INDEX_ASKED) != fact(db, INDEX_ANSWERED)


def under_way(db: sqlite3.Connection) -> int:
    """Count the lost files that are being fetched; those that have failed once are not waited for."""
    (count,) = db.execute(
        "SELECT count(*) FROM assets WHERE lost_at IS NOT NULL AND state = 'pending' AND failing_since IS NULL"
    ).fetchone()
    return int(count)


def removing(db: sqlite3.Connection) -> bool:
    """Tell if files or folders wait for their removal."""
    waits = db.execute(
        "SELECT 1 FROM removals UNION ALL SELECT 1 FROM folders WHERE assets = 0 AND written > 0"
        " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder) LIMIT 1"
    )
    return waits.fetchone() is not None


def being_removed(db: sqlite3.Connection, keys: Collection[str]) -> int:
    """Count those of these files that wait for their removal."""
    query = "SELECT count(*) FROM removals WHERE key IN (SELECT value FROM json_each(?))"
    (count,) = db.execute(query, (json.dumps(list(keys)),)).fetchone()
    return int(count)
