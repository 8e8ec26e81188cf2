"""What should be in the tree, asked of the journal file by file.

Functions over a connection that only reads. Listings are read in pages, so that a tree of any
size is gone through in constant memory and without holding up the journal's log; what changes
meanwhile is for the caller to ask about again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from syncd.errors import JournalUnavailable
from syncd.journal.rows import files_of
from syncd.journal.schema import connect, exists
from syncd.journal.visuals import versions
from syncd.model import ExportFile, fold

_PAGE = 500
_EXPORT = "SELECT exports.*, assets.state, assets.bytes, assets.sha256 FROM exports JOIN assets USING (asset)"


@dataclass(frozen=True, slots=True)
class Named:
    """A file that is published: what a reader finds at `path`. `part`: it is one file of an export."""

    path: str
    bytes: int
    sha256: str
    asset: int
    part: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that was published once, was found missing or damaged, and has not come back.

    `waits`: it was not tried yet, and is from `due` on, in unix seconds.
    """

    path: str
    asset: int
    reason: str
    waits: bool
    due: float


@dataclass(frozen=True, slots=True)
class NamedExport:
    """A published export: its folder, or the plain file that it is, and what lies beside."""

    asset: int
    key: str
    files: tuple[ExportFile, ...]
    archive: Named | None
    written: bool
    published: bool

    @property
    def is_folder(self) -> bool:
        """False where it is published as one plain file."""
        return not any(file.path == "" for file in self.files)

    @property
    def stem(self) -> str:
        """Its path without an extension: what lies beside it is called like this."""
        return self.key if self.is_folder else self.key.rpartition(".")[0]

    def parts(self) -> Iterator[Named]:
        """Go through the files that it consists of."""
        for file in self.files:
            path = f"{self.key}/{file.path}" if file.path else self.key
            yield Named(path, file.bytes, file.sha256, self.asset, part=True)

    def named(self) -> Iterator[Named]:
        """Go through its files, and its archive if that was kept."""
        yield from self.parts()
        if self.archive:
            yield self.archive


@dataclass(frozen=True, slots=True)
class NamedFolder:
    """A folder of visuals. `sequence` is that of its manifest on disk, or, where that is `behind`, may be."""

    folder: str
    sequence: int
    behind: bool
    files: frozenset[tuple[str, int, str, bool]]
    """Path, bytes, SHA-256 and if it is superseded."""


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal to look into it. Raises JournalUnavailable where it can't be read."""
    exists(path)
    with closing(connect(path, "read")) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise JournalUnavailable(f"the journal {path} can't be read: {error}") from error


def fact(db: sqlite3.Connection, name: str) -> str | None:
    """A fact noted about this installation."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def has_checksums(db: sqlite3.Connection) -> bool:
    """Tell if a list of checksums lies beside each manifest, as whoever writes them has noted."""
    return fact(db, "manifest form") == "with checksums"


# What is published


def total_bytes(db: sqlite3.Connection) -> int:
    """Bytes of everything that is published."""
    (visuals,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM assets WHERE folder IS NOT NULL").fetchone()
    (exports,) = db.execute("SELECT coalesce(sum(total), 0) FROM exports").fetchone()
    return int(visuals + exports)


def visuals(db: sqlite3.Connection) -> Iterator[Named]:
    """Go through the files of visuals, in order of folder and path."""
    query = (
        "SELECT asset, folder, key, bytes, sha256 FROM assets WHERE folder IS NOT NULL AND (folder, key) > (?, ?)"
        " ORDER BY folder, key LIMIT ?"
    )
    after = ("", "")
    while page := db.execute(query, (*after, _PAGE)).fetchall():
        for row in page:
            yield _named(row)
        after = (page[-1]["folder"], page[-1]["key"])


def exports(db: sqlite3.Connection) -> Iterator[NamedExport]:
    """Go through the exports in the order they were announced, one in memory at a time."""
    after = 0
    while row := db.execute(_EXPORT + " WHERE asset > ? ORDER BY asset LIMIT 1", (after,)).fetchone():
        yield _export(row)
        after = row["asset"]


def folders(db: sqlite3.Connection) -> Iterator[str]:
    """Go through the folders that hold visuals, in order of path."""
    query = (
        "SELECT folder FROM folders WHERE folder > ? AND EXISTS"
        " (SELECT 1 FROM assets WHERE assets.folder = folders.folder) ORDER BY folder LIMIT ?"
    )
    after = ""
    while page := db.execute(query, (after, _PAGE)).fetchall():
        yield from (row["folder"] for row in page)
        after = page[-1]["folder"]


def lost(db: sqlite3.Connection) -> Iterator[Lost]:
    """Go through what was published once and could not be brought back so far."""
    query = (
        "SELECT * FROM assets WHERE lost_at IS NOT NULL AND asset > ? AND state IN ('pending', 'failed')"
        " ORDER BY asset LIMIT ?"
    )
    after = 0
    while page := db.execute(query, (after, _PAGE)).fetchall():
        for row in page:
            waits = row["state"] == "pending" and row["failing_since"] is None
            yield Lost(row["key"] or row["platform_id"], row["asset"], row["reason"], waits, row["next_at"])
        after = page[-1]["asset"]


def still(db: sqlite3.Connection, named: Named) -> Named | None:
    """What is published at a path now, None where nothing is any more."""
    if named.part:
        export = export_of(db, named.asset)
        return next((file for file in export.named() if file.path == named.path), None) if export else None
    folder = named.path.rpartition("/")[0]
    row = db.execute("SELECT * FROM assets WHERE folder = ? AND key = ?", (folder, named.path)).fetchone()
    return None if row is None else _named(row)


def arriving(db: sqlite3.Connection, path: str) -> set[tuple[int, str]]:
    """Bytes and SHA-256 of what is being put at a path at this moment."""
    found = set()
    for place, fetched in _placings(db):
        if place[0] == path:
            found.add((fetched["bytes"], fetched["sha256"]))
    return found


def is_taken(db: sqlite3.Connection, path: str) -> bool:
    """Tell if the file of a visual is published at a path, or is being put there at this moment."""
    folder = path.rpartition("/")[0]
    there = db.execute("SELECT 1 FROM assets WHERE folder = ? AND key = ?", (folder, path)).fetchone()
    return there is not None or bool(arriving(db, path))


def export_of(db: sqlite3.Connection, asset: int) -> NamedExport | None:
    """A published export, None while there is none, or while it is fetched again."""
    row = db.execute(_EXPORT + " WHERE asset = ?", (asset,)).fetchone()
    export = row and _export(row)
    return export if export and export.published else None


def export_at(db: sqlite3.Connection, path: str) -> NamedExport | None:
    """The export to which this path belongs: its folder or file, or what lies beside."""
    found = db.execute(
        "SELECT asset FROM assets JOIN keys USING (visual) WHERE folded = ? AND lane = 'exports'", (fold(path),)
    ).fetchone()
    row = found and db.execute(_EXPORT + " WHERE asset = ?", (found["asset"],)).fetchone()
    return _export(row) if row else None


def folder_at(db: sqlite3.Connection, folder: str) -> NamedFolder | None:
    """A folder of visuals as its manifest has to say; None for one that holds nothing."""
    db.execute("BEGIN")  # both as of one moment
    try:
        row = db.execute("SELECT * FROM folders WHERE folder = ?", (folder,)).fetchone()
        files = frozenset(
            (found["key"], found["bytes"], found["sha256"], found["state"] == "superseded")
            for found in db.execute("SELECT key, bytes, sha256, state FROM assets WHERE folder = ?", (folder,))
        )
    finally:
        db.execute("ROLLBACK")
    return NamedFolder(folder, row["sequence"], row["change"] > row["written"], files) if row and files else None


def is_visual(db: sqlite3.Connection, path: str) -> bool:
    """Tell if a path is that of a visual's file: one published, arriving, or about to be removed."""
    folder = path.rpartition("/")[0]
    found = db.execute(
        "SELECT 1 FROM assets WHERE folder = ? AND key = ? UNION ALL SELECT 1 FROM removals WHERE key = ?",
        (folder, path, path),
    ).fetchone()
    return found is not None or any(path in place for place, _ in _placings(db))


def keeps_manifest(db: sqlite3.Connection, folder: str) -> bool:
    """Tell if a folder has a manifest, were it one that is about to go."""
    return db.execute("SELECT 1 FROM folders WHERE folder = ? AND change > 0", (folder,)).fetchone() is not None


# What is more than the rules let stay


def crowded(db: sqlite3.Connection, keep: int) -> Iterator[int]:
    """Go through the visuals of which more than `keep` versions are visible."""
    query = (
        "SELECT visual FROM assets WHERE folder IS NOT NULL AND visual > ?"
        " GROUP BY visual HAVING count(*) > ? ORDER BY visual LIMIT ?"
    )
    after = 0
    while page := db.execute(query, (after, keep, _PAGE)).fetchall():
        yield from (row["visual"] for row in page)
        after = page[-1]["visual"]


def surplus(db: sqlite3.Connection, visual: int, keep: int) -> list[sqlite3.Row]:
    """The visible versions of a visual beyond the newest `keep`."""
    return [row for row in versions(db, visual) if row["folder"] is not None][keep:]


def forgettable(db: sqlite3.Connection, before: float) -> int:
    """Count the finished deliveries received before."""
    (count,) = db.execute(
        "SELECT count(*) FROM deliveries WHERE received_at < ? AND outcome != 'accepted'"
        " AND NOT EXISTS (SELECT 1 FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = deliveries.seq AND state = 'pending')",
        (before,),
    ).fetchone()
    return int(count)


def _named(row: sqlite3.Row) -> Named:
    return Named(row["key"], row["bytes"], row["sha256"], row["asset"])


def _export(row: sqlite3.Row) -> NamedExport:
    kept = row["archive_key"]
    archive = Named(kept, row["bytes"], row["sha256"], row["asset"], part=True) if kept else None
    return NamedExport(
        row["asset"], row["key"], files_of(row["files"]), archive, bool(row["written"]), row["state"] == "published"
    )


def _placings(db: sqlite3.Connection) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    for (text,) in db.execute("SELECT placing FROM assets WHERE placing IS NOT NULL").fetchall():
        key, keep_as, _, former, *_, fetched = orjson.loads(text)
        yield [key, keep_as, former], orjson.loads(fetched)
