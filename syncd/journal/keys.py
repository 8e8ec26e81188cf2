"""Keys in the journal: which path a visual has, and that nobody else ever gets it.

Functions over an open transaction. What a key looks like is the naming's, which comes in;
here is held that a path, once given, stays with its visual, that no two differ only in what
some file system merges, and that none is a file to one and a folder to another.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable

from syncd.journal import Naming, Reserve, Rules
from syncd.model import Asset, fold

BESIDE_EXPORT = (".json", ".SHA256SUMS", ".zip", ".jpeg", ".png", ".webp", ".avif", ".gif", ".pdf", ".mp4")
"""What may lie beside an export's folder under its name: its manifest, its archive, or it as one plain file."""


def key_of(
    db: sqlite3.Connection, asset: Asset, visual: int, received_at: float, rules: Rules, sha256: str | None = None
) -> str | None:
    """The key of a version of this visual; None while the layout has to know its content's `sha256`.

    Versions share the key that their visual got first, but for the extension of their type,
    unless the layout gives each its own.
    """
    naming = rules.naming
    shared = asset.kind == "export" or not naming.per_version(asset)
    (known,) = db.execute("SELECT key FROM visuals WHERE visual = ?", (visual,)).fetchone()
    if shared and known is not None:
        wanted = naming.retyped(known, asset)
        return str(known) if wanted == known else take_key(db, naming, wanted, visual)
    wanted_first = naming.wanted(asset, received_at, reserver(db), sha256)
    if wanted_first is None:
        return None
    key = take_key(db, naming, wanted_first, visual, beside=BESIDE_EXPORT if asset.kind == "export" else ())
    if shared:
        db.execute("UPDATE visuals SET key = ? WHERE visual = ?", (key, visual))
    return key


def versioned_key(db: sqlite3.Connection, key: str, row: sqlite3.Row, rules: Rules) -> str:
    """NAME.vN.EXT for a version that stays beside the newest; without a version, N is its order of receipt.

    Two visuals that turned out to be one can both have a version N: the row's number tells
    the second apart.
    """
    label = str(row["seq"] if row["version"] is None else row["version"])
    wanted = take_key(db, rules.naming, rules.naming.versioned(key, label), row["visual"])
    in_use = db.execute(
        "SELECT 1 FROM assets WHERE visual = ? AND folder IS NOT NULL AND key = ? AND asset != ?"
        " UNION ALL SELECT 1 FROM removals WHERE key = ?",
        (row["visual"], wanted, row["asset"], wanted),
    ).fetchone()
    if in_use is None:
        return wanted
    return take_key(db, rules.naming, rules.naming.versioned(key, f"{label}-{row['asset']}"), row["visual"])


def reserver(db: sqlite3.Connection) -> Reserve:
    """`reserve` in this transaction, as the naming asks for it."""
    return functools.partial(reserve, db)


def reserve(db: sqlite3.Connection, scope: str, owner: str, candidates: Iterable[str]) -> str:
    """The name `owner` has in `scope`, else the first candidate that is free there."""
    row = db.execute("SELECT name FROM names WHERE scope = ? AND owner = ?", (scope, owner)).fetchone()
    if row is not None:
        return str(row[0])
    for name in candidates:
        if db.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", (scope, fold(name), name, owner)).rowcount:
            return name
    raise AssertionError(f"no free name for {owner!r} in {scope}: candidates never end")


def take_key(db: sqlite3.Connection, naming: Naming, wanted: str, visual: int, beside: tuple[str, ...] = ()) -> str:
    """The first form of `wanted` that no other visual owns, now owned by this one, as it was first spelled.

    With it come the same path with each of the endings in `beside`. Forms differ by an id
    made of the visual's own identity, so that they are the same after the journal was lost
    and everything announced again.
    """
    (identity,) = db.execute("SELECT max(identity) FROM identities WHERE visual = ?", (visual,)).fetchone()
    folder, _, name = wanted.rpartition("/")
    for key in naming.candidates(f"{_clear_folder(db, naming, folder)}/{name}", identity, folder=bool(beside)):
        paths = [(fold(path), visual, path) for path in (key, *(key + ending for ending in beside))]
        if all(_free(db, folded, visual) for folded, *_ in paths):
            db.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", paths)
            (spelled,) = db.execute("SELECT key FROM keys WHERE folded = ?", (fold(key),)).fetchone()
            return str(spelled)
    raise AssertionError(f"no free key for visual {visual}: candidates never end")


def _clear_folder(db: sqlite3.Connection, naming: Naming, folder: str) -> str:
    """A folder's path with another name for each part where a file of an earlier layout is."""
    path = ""
    for part in folder.split("/"):
        wanted = f"{path}/{part}" if path else part
        path = next(name for name in naming.candidates(wanted, wanted, folder=True) if _owner(db, fold(name)) is None)
    return path


def _owner(db: sqlite3.Connection, folded: str) -> int | None:
    row = db.execute("SELECT visual FROM keys WHERE folded = ?", (folded,)).fetchone()
    return None if row is None else row[0]


def _free(db: sqlite3.Connection, folded: str, visual: int) -> bool:
    """Tell whether this visual may have a path: nobody else's, and no folder of any path that was given."""
    owner = _owner(db, folded)
    if owner is not None:
        return owner == visual
    below = (f"{folded}/", f"{folded}0")  # "0" follows "/": everything below this path
    return db.execute("SELECT 1 FROM keys WHERE folded > ? AND folded < ? LIMIT 1", below).fetchone() is None
