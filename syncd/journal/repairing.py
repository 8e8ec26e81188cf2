"""What an operator's command has put right: files fetched again, manifests written anew, surplus versions gone.

Functions over the transaction of an `order`. They only say what is to be done; the one who runs
the pipeline does it, in the order that keeps the manifests true.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from syncd.journal import INDEX_ASKED, Rules
from syncd.journal.auditing import Named, still, surplus
from syncd.journal.visuals import retire, revive, touch


def again(db: sqlite3.Connection, named: Named, rules: Rules, now: float, due: float) -> bool:
    """Have a published file, or the export it is part of, fetched again; out of its manifest until it is there.

    It keeps key and rank. Nothing is done, and False returned, where something else is published by now.
    """
    row = db.execute("SELECT * FROM assets WHERE asset = ? AND placing IS NULL", (named.asset,)).fetchone()
    if row is None or still(db, named) != named:
        return False
    if row["lane"] == "exports":
        db.execute("DELETE FROM exports WHERE asset = ?", (named.asset,))
        _ask_for_index(db)
    else:
        touch(db, row["folder"])
    revive(db, named.asset, rules, due)
    db.execute("UPDATE assets SET folder = NULL, lost_at = ? WHERE asset = ?", (now, named.asset))
    return True


def seek(db: sqlite3.Connection, asset: int, rules: Rules, due: float) -> bool:
    """Have a file that could not be brought back so far fetched once more."""
    found = db.execute(
        "SELECT 1 FROM assets WHERE asset = ? AND lost_at IS NOT NULL AND state != 'superseded'", (asset,)
    )
    if found.fetchone() is None:
        return False
    revive(db, asset, rules, due)
    return True


def release(db: sqlite3.Connection, assets: Collection[int], rules: Rules, now: float) -> None:
    """Let jobs that were held back begin."""
    db.execute(
        "UPDATE assets SET next_at = ?, give_up_at = ? WHERE state = 'pending' AND lost_at IS NOT NULL"
        " AND asset IN (SELECT value FROM json_each(?))",
        (now, now + rules.give_up_after, json.dumps(list(assets))),
    )


def rewrite(db: sqlite3.Connection, *, folder: str | None = None, export: int | None = None) -> None:
    """Have a manifest written anew: that of a folder, of an export, or the index."""
    if folder is not None:
        db.execute("UPDATE folders SET change = change + 1 WHERE folder = ?", (folder,))
    elif export is not None:
        db.execute("UPDATE exports SET written = 0 WHERE asset = ?", (export,))
    else:
        _ask_for_index(db)


def thin(db: sqlite3.Connection, visual: int, keep: int) -> None:
    """Take these out of their manifests, and then out of the tree."""
    for row in surplus(db, visual, keep):
        if row["placing"] is None:
            retire(db, row["asset"], row["key"], row["folder"])


def _ask_for_index(db: sqlite3.Connection) -> None:
    """Have the index written, though no folder's manifest is behind."""
    db.execute(
        "INSERT INTO facts VALUES (?, '1') ON CONFLICT DO UPDATE SET value = CAST(value + 1 AS TEXT)", (INDEX_ASKED,)
    )
