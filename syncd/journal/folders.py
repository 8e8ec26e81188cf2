"""Folders and exports in the journal: whose manifests are behind, what goes with them, and which are empty.

Functions over an open transaction. A manifest is behind while a folder's `change` is ahead of
what was `written`; files are removed only once a manifest that no longer names them is on disk, and
a folder only once the index doesn't.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from syncd.journal import Manifested, Rules, happenings
from syncd.journal.rows import stale_export_of, stale_folder_of
from syncd.model import HELD, ExportContents, FolderContents


def stale(db: sqlite3.Connection, limit: int) -> tuple[list[FolderContents], list[ExportContents]]:
    """Folders and exports whose manifests are behind what is published."""
    folders = db.execute("SELECT * FROM folders WHERE change > written LIMIT ?", (limit,)).fetchall()
    exports = db.execute(
        "SELECT assets.*, exports.key AS export_key, files, total, archive_key"
        " FROM exports JOIN assets USING (asset) WHERE written = 0 LIMIT ?",
        (limit,),
    )
    return [stale_folder_of(db, row) for row in folders], [stale_export_of(row) for row in exports]


def manifested(
    db: sqlite3.Connection, folders: Sequence[Manifested], exports: Sequence[tuple[int, dict[str, Any]]]
) -> None:
    """Record which manifests are on disk, and what the index says of them; not of folders cleared since."""
    db.executemany(
        "UPDATE folders SET written = ?, template_id = ?, template_name = ?, format_id = ?,"
        " assets = ?, bytes = ?, sequence = ? WHERE folder = ? AND change >= ?",
        [
            (done.change, line.template.id, line.template.name, line.format_id,
             line.assets, line.bytes, line.sequence, line.folder, done.change)
            for done in folders for line in (done.line,)
        ],
    )  # fmt: skip
    db.executemany(
        "UPDATE exports SET written = 1, line = ? WHERE asset = ?", [(json.dumps(line), row) for row, line in exports]
    )


def use_up_sequences(db: sqlite3.Connection) -> None:
    """Pass over the sequence that manifests which are behind may have on disk already, for this is not recorded."""
    db.execute("UPDATE folders SET sequence = sequence + 1 WHERE change > written")


def rewrite_all(db: sqlite3.Connection) -> None:
    """Mark every manifest as behind."""
    db.execute("UPDATE folders SET change = change + 1 WHERE change > 0")  # 0: it is cleared away
    db.execute("UPDATE exports SET written = 0")


def removable(db: sqlite3.Connection, limit: int) -> list[str]:
    """Keys of files that no manifest names any more and nobody claims, also of held ones."""
    query = (
        "SELECT key FROM removals JOIN folders USING (folder) WHERE written >= removals.change AND asset IS NULL"
        " AND key NOT IN (SELECT json_extract(placing, '$[0]') FROM assets WHERE placing IS NOT NULL)"
        " UNION ALL SELECT ? || asset FROM assets WHERE held = 1 AND state != 'held' AND state != 'pending' LIMIT ?"
    )
    return [key for (key,) in db.execute(query, (HELD, limit))]


def removed(db: sqlite3.Connection, keys: Sequence[str], rules: Rules, now: float) -> None:
    """Record that these files are gone."""
    for key in keys:
        if key.startswith(HELD):
            db.execute("UPDATE assets SET held = 0 WHERE asset = ?", (int(key.removeprefix(HELD)),))
            continue
        db.execute("DELETE FROM removals WHERE key = ?", (key,))
        happenings.removed(db, rules, now, key)


def emptied(db: sqlite3.Connection, limit: int) -> list[tuple[str, int]]:
    """Folders of which no manifest names a file any more, each with the change since which it is so."""
    query = (
        "SELECT folder, change FROM folders WHERE assets = 0 AND written > 0 AND change = written"
        " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder) LIMIT ?"
    )
    return [(folder, change) for folder, change in db.execute(query, (limit,))]


def clearing(db: sqlite3.Connection, folders: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Record that these folders' manifests are about to go; returns those that nothing is in any more."""
    query = (
        "UPDATE folders SET written = 0 WHERE folder = ? AND change = ?"
        " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = folders.folder)"
        " AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.folder = folders.folder)"
    )
    return [one for one in folders if db.execute(query, one).rowcount]


def cleared(db: sqlite3.Connection, folders: Sequence[tuple[str, int]]) -> None:
    """Record that these folders are gone, unless something has come there since; their names stay theirs.

    The sequence stays, too: a folder that comes back goes on counting.
    """
    db.executemany(
        "UPDATE folders SET change = 0, template_id = '' WHERE folder = ? AND change = ? AND written = 0", folders
    )
