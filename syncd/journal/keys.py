"""Keys in the journal: which path a visual has, and that nobody else ever gets it.

Functions over an open transaction. What a key looks like is the naming's, which comes in;
here is held that a path, once given, stays with its visual, that no two differ only in what
some file system merges, and that none is a file to one and a folder to another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from syncd.journal import Naming, Rules
from syncd.journal.writes import Writes
from syncd.model import OWN_NAMES, Asset, fold

BESIDE_EXPORT = (".json", ".SHA256SUMS", ".zip", ".jpeg", ".png", ".webp", ".avif", ".gif", ".pdf", ".mp4")
"""What may lie beside an export's folder under its name: its manifest, its archive, or it as one plain file."""


class Register:
    """Who has which name and which path, as one transaction sees it and under one naming.

    What it has looked up it remembers, so it may not outlive the transaction. What it gives is in the
    journal, with all else in `writes`, after `write`.
    """

    def __init__(self, db: sqlite3.Connection, naming: Naming) -> None:
        self.db = db
        self.naming = naming
        self.writes = Writes(db)
        self._given: dict[str, int] = {}  # paths that are not written yet
        self._above: set[str] = set()  # every folder of these
        self._names: dict[tuple[str, str], str] = {}
        self._folders: dict[str, str] = {}

    def reserve(self, scope: str, owner: str, candidates: Iterable[str]) -> str:
        """The name `owner` has in `scope`, else the first candidate that is free there."""
        known = self._names.get((scope, owner))
        if known is None:
            known = self._names[scope, owner] = self._reserved(scope, owner, candidates)
        return known

    def _reserved(self, scope: str, owner: str, candidates: Iterable[str]) -> str:
        row = self.db.execute("SELECT name FROM names WHERE scope = ? AND owner = ?", (scope, owner)).fetchone()
        if row is not None:
            return str(row[0])
        for name in candidates:
            given = self.db.execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", (scope, fold(name), name, owner))
            if given.rowcount:
                return name
        raise AssertionError(f"no free name for {owner!r} in {scope}: candidates never end")

    def free(self, wanted: str, identity: str, visual: int | None, beside: tuple[str, ...] = ()) -> list[str]:
        """The first form of `wanted` that no other visual owns, and the same path with each of the endings in `beside`.

        Forms differ by an id made of the visual's own `identity`, so that they are the same after
        the journal was lost and everything announced again.
        """
        folder, _, name = wanted.rpartition("/")
        for key in self.naming.candidates(f"{self._clear(folder)}/{name}", identity, folder=bool(beside)):
            paths = [key, *(key + ending for ending in beside)]
            if all(self._may_have(fold(path), visual) for path in paths):
                return paths
        raise AssertionError(f"no free key for {identity}: candidates never end")

    def give(self, paths: Iterable[str], visual: int) -> None:
        """Make free paths a visual's; those that it has stay as they were first spelled."""
        for path in paths:
            folded = above = fold(path)
            self.writes.add("INSERT OR IGNORE INTO keys {}", folded, visual, path)
            self._given[folded] = visual
            while (above := above.rpartition("/")[0]) and above not in self._above:
                self._above.add(above)

    def write(self) -> None:
        """Write what was given and collected, before somebody asks the journal for it."""
        self.writes.write()
        self._given.clear()
        self._above.clear()

    def _clear(self, folder: str) -> str:
        """A folder's path with another name for each part where a file of an earlier layout is."""
        if folder not in self._folders:
            above, slash, part = folder.rpartition("/")
            wanted = f"{self._clear(above)}/{part}" if slash else part
            names = self.naming.candidates(wanted, wanted, folder=True)
            self._folders[folder] = next(name for name in names if self._owner(fold(name)) is None)
        return self._folders[folder]

    def _owner(self, folded: str) -> int | None:
        if folded in self._given:
            return self._given[folded]
        row = self.db.execute("SELECT visual FROM keys WHERE folded = ?", (folded,)).fetchone()
        return None if row is None else row[0]

    def _may_have(self, folded: str, visual: int | None) -> bool:
        """Tell whether this visual may have a path: nobody else's nor syncd's, and no folder of any path given."""
        if folded.rpartition("/")[2] in OWN_NAMES:  # as beside an export called `manifest`
            return False
        if folded in self._given:
            return self._given[folded] == visual
        if folded in self._above:
            return False
        row = self.db.execute(
            "SELECT visual FROM keys WHERE folded = ? UNION ALL"
            " SELECT 0 FROM keys WHERE folded > ? AND folded < ? LIMIT 1",
            (folded, f"{folded}/", f"{folded}0"),  # "0" follows "/": everything below this path
        ).fetchone()
        return row is None or row[0] == visual


def add_visual(
    register: Register, asset: Asset, identities: Sequence[str], received_at: float, rules: Rules
) -> tuple[int, str | None]:
    """Make a visual, known by these identities, of its first version; with the key, None while its content decides."""
    wanted, writes = rules.naming.wanted(asset, received_at, register.reserve, None), register.writes
    paths = [] if wanted is None else register.free(wanted, max(identities), None, _beside(asset))
    key = paths[0] if paths else None
    visual = writes.number("visuals")
    writes.add("INSERT INTO visuals {}", visual, key if _is_shared(asset, rules) else None)
    for identity in identities:
        writes.add("INSERT INTO identities {}", identity, visual)
    register.give(paths, visual)
    return visual, key


def key_of(
    register: Register, asset: Asset, visual: int, received_at: float, rules: Rules, sha256: str | None = None
) -> str | None:
    """The key of a version of this visual; None while the layout has to know its content's `sha256`.

    Versions share the key that their visual got first, but for the extension of their type,
    unless the layout gives each its own.
    """
    db, naming, shared = register.db, rules.naming, _is_shared(asset, rules)
    (known,) = db.execute("SELECT key FROM visuals WHERE visual = ?", (visual,)).fetchone()
    if shared and known is not None:
        wanted = naming.retyped(known, asset)
        return str(known) if wanted == known else _take(register, wanted, visual)
    wanted_first = naming.wanted(asset, received_at, register.reserve, sha256)
    if wanted_first is None:
        return None
    key = _take(register, wanted_first, visual, _beside(asset))
    if shared:
        db.execute("UPDATE visuals SET key = ? WHERE visual = ?", (key, visual))
    return key


def _is_shared(asset: Asset, rules: Rules) -> bool:
    return asset.kind == "export" or not rules.naming.per_version(asset)


def _beside(asset: Asset) -> tuple[str, ...]:
    return BESIDE_EXPORT if asset.kind == "export" else ()


def versioned_key(register: Register, key: str, row: sqlite3.Row, rules: Rules) -> str:
    """NAME.vN.EXT for a version that stays beside the newest; without a version, N is its order of receipt.

    Two visuals that turned out to be one can both have a version N: the row's number tells
    the second apart.
    """
    label = str(row["seq"] if row["version"] is None else row["version"])
    wanted = _take(register, rules.naming.versioned(key, label), row["visual"])
    in_use = register.db.execute(
        "SELECT 1 FROM assets WHERE visual = ? AND folder IS NOT NULL AND key = ? AND asset != ?"
        " UNION ALL SELECT 1 FROM removals WHERE key = ?",
        (row["visual"], wanted, row["asset"], wanted),
    ).fetchone()
    if in_use is None:
        return wanted
    return _take(register, rules.naming.versioned(key, f"{label}-{row['asset']}"), row["visual"])


def _take(register: Register, wanted: str, visual: int, beside: tuple[str, ...] = ()) -> str:
    """The first free form of `wanted`, now owned by this visual, as it was first spelled."""
    db = register.db
    (identity,) = db.execute("SELECT max(identity) FROM identities WHERE visual = ?", (visual,)).fetchone()
    paths = register.free(wanted, identity, visual, beside)
    register.give(paths, visual)
    register.write()
    (spelled,) = db.execute("SELECT key FROM keys WHERE folded = ?", (fold(paths[0]),)).fetchone()
    return str(spelled)
