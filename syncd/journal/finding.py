"""How what people name is found in the journal: deliveries and assets by their ids, files by their paths.

Functions over an open transaction. An id may be shortened to any beginning that only one has;
a path is compared as file systems may compare it.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

from syncd.errors import Ambiguous
from syncd.model import fold

_NAMED = 5  # matches of an ambiguous id that the error names
_AFTER_ALL = "\U0010ffff"  # sorts behind every other character


def delivery_id(db: sqlite3.Connection, prefix: str) -> str | None:
    """The id of the one delivery that is called so or begins like this. Raises Ambiguous where several begin so."""
    return _only(db, "id", "deliveries", prefix)


def message_id(db: sqlite3.Connection, prefix: str) -> str | None:
    """The same of a message."""
    return _only(db, "id", "messages", prefix)


def assets_of(db: sqlite3.Connection, prefix: str) -> list[sqlite3.Row]:
    """What goes by the one id of the platform that begins like this: a visual, with its fallback image, or an export.

    Raises Ambiguous where several ids begin so.
    """
    found = _only(db, "platform_id", "assets", prefix)
    return db.execute("SELECT * FROM assets WHERE platform_id = ? ORDER BY asset", (found,)).fetchall()


def assets_at(db: sqlite3.Connection, path: str) -> list[sqlite3.Row]:
    """Whatever has or had its file at a path below the root, or is to have it there."""
    if not path.isprintable():  # no key is like this; a broken text can't even be asked for
        return []
    rows = db.execute(
        "SELECT assets.* FROM keys JOIN assets USING (visual) WHERE folded = ? ORDER BY asset", (fold(path),)
    )
    return [row for row in rows if row["key"] is not None and fold(row["key"]) == fold(path)]


def _only(
    db: sqlite3.Connection,
    column: Literal["id", "platform_id"],
    table: Literal["deliveries", "assets", "messages"],
    prefix: str,
) -> str | None:
    if not prefix or not prefix.isprintable():  # no id is like this; a broken text can't even be asked for
        return None
    found = [
        str(name)
        for (name,) in db.execute(
            f"SELECT DISTINCT {column} FROM {table} WHERE {column} >= ? AND {column} < ? ORDER BY {column} LIMIT ?",  # noqa: S608 - names from the types above
            (prefix, prefix + _AFTER_ALL, _NAMED + 1),
        )
    ]
    if len(found) > 1 and found[0] != prefix:  # the id itself would come first
        raise Ambiguous(prefix, found[:_NAMED], more=len(found) > _NAMED)
    return found[0] if found else None
