"""Visuals in the journal: who is the same visual, and which of its versions is wanted and visible.

Functions over an open transaction. What is newer is `model.rank`; here it meets what is
stored. Where the files of a visual lie is the business of `keys`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from syncd.journal import Rules
from syncd.model import Asset, rank

NEWER_ANNOUNCED = "a newer version was announced"
NEWER_PUBLISHED = "a newer version is published"
NEWER_HERE = "a newer version is held"

_LOOKED_UP = 128  # identities or assets at once


def visual_of(db: sqlite3.Connection, asset: Asset) -> tuple[int | None, Sequence[str]]:
    """The visual this asset is a version of, None if nobody has seen it; and the identities that were nobody's.

    A visual known only by its `id` and one known by a `sharing_id` become one when an
    announcement carries both. An `id` that belongs to another `sharing_id` proves nothing.
    """
    identities = strongest, *weaker = asset.identities
    query = "SELECT identity, visual FROM identities WHERE identity = ?"
    query = f"{query} UNION ALL {query}"  # IN would make a table of its own each time
    known: dict[str, int] = dict(db.execute(query, (strongest, identities[-1])))
    new = [identity for identity in identities if identity not in known]
    visual = known.get(strongest)
    for identity in weaker:
        other = known.get(identity)
        if other is None or other == visual or _shared(db, other):
            continue
        visual = other if visual is None else _merge(db, visual, other)
    if visual is not None:
        db.executemany("INSERT INTO identities VALUES (?, ?)", [(identity, visual) for identity in new])
    return visual, new


def seen_before(db: sqlite3.Connection, assets: Iterable[Asset]) -> set[str]:
    """Those identities of these assets that somebody has, all looked up in one go."""
    identities = list({identity for asset in assets for identity in asset.identities})
    seen = set[str]()
    for start in range(0, len(identities), _LOOKED_UP):
        some = identities[start : start + _LOOKED_UP]
        query = f"SELECT identity FROM identities WHERE identity IN ({', '.join('?' * len(some))})"  # noqa: S608 - marks
        seen.update(identity for (identity,) in db.execute(query, some).fetchall())
    return seen


def _shared(db: sqlite3.Connection, visual: int) -> bool:
    identities = db.execute("SELECT identity FROM identities WHERE visual = ?", (visual,))
    return any(identity.split(":", 3)[2] == "sharing" for (identity,) in identities)


def _merge(db: sqlite3.Connection, one: int, other: int) -> int:
    """Make two visuals one; the key of the newest published version is the one that stays."""
    shown = sorted(_published(db, one) + _published(db, other), key=order_of)
    kept, gone = (other, one) if shown and shown[-1]["visual"] == other else (one, other)
    for table in ("assets", "identities", "keys"):
        db.execute(f"UPDATE {table} SET visual = ? WHERE visual = ?", (kept, gone))  # noqa: S608 - names from above
    db.execute(
        "UPDATE visuals SET key = coalesce(key, (SELECT key FROM visuals WHERE visual = ?)) WHERE visual = ?",
        (gone, kept),
    )
    db.execute("DELETE FROM visuals WHERE visual = ?", (gone,))
    for row in shown[:-1]:
        retire(db, row["asset"], row["key"], row["folder"])
    return kept


def _published(db: sqlite3.Connection, visual: int) -> list[sqlite3.Row]:
    return [row for row in versions(db, visual) if is_shown(row)]


def is_shown(row: sqlite3.Row) -> bool:
    """Tell if this is a visual's newest file, also while it is fetched again."""
    return row["folder"] is not None and row["state"] != "superseded"


def order_of(row: sqlite3.Row) -> tuple[int, ...]:
    """Sort key of stored versions, the newest last; of two that rank alike the one announced later is newer."""
    return (*rank(row["version"], row["seq"]), row["asset"])


def versions(db: sqlite3.Connection, visual: int) -> list[sqlite3.Row]:
    """Every version of a visual that was announced, the newest first."""
    return _ordered(db.execute("SELECT * FROM assets WHERE visual = ?", (visual,)).fetchall())


_PLACED = (
    "asset, visual, version, seq, state, reason, received_at, key, folder, sha256, published_at, lost_at, design, held,"
    " placing"
)


def siblings(db: sqlite3.Connection, asset: int) -> list[sqlite3.Row]:
    """An asset and every other version of its visual, the newest first; none where it is forgotten.

    With what decides its place: a row with all its columns costs three times as much.
    """
    query = f"SELECT {_PLACED} FROM assets WHERE visual = (SELECT visual FROM assets WHERE asset = ?)"  # noqa: S608 - from above
    return _ordered(db.execute(query, (asset,)).fetchall())


class Families:
    """The versions of the visuals of some assets, as `siblings` gives them, looked up together.

    Each visual's are given once: what is done then may change them. Before they are looked up anew, `write` is
    called for what is still to be written.
    """

    def __init__(self, db: sqlite3.Connection, assets: Sequence[int], write: Callable[[], None]) -> None:
        self._db = db
        self._write = write
        self._rows: dict[int, dict[int, sqlite3.Row]] = {}  # of each visual, by asset: one look may find some again
        self._visuals: dict[int, int] = {}
        for start in range(0, len(assets), _LOOKED_UP):
            some = assets[start : start + _LOOKED_UP]
            marks = ", ".join("?" * len(some))
            query = f"SELECT {_PLACED} FROM assets WHERE visual IN (SELECT visual FROM assets WHERE asset IN ({marks}))"  # noqa: S608 - from above
            for row in db.execute(query, some).fetchall():
                self._rows.setdefault(row["visual"], {})[row["asset"]] = row
                self._visuals[row["asset"]] = row["visual"]

    def take(self, asset: int) -> list[sqlite3.Row]:
        """Give an asset and its siblings."""
        rows = self._rows.pop(self._visuals.get(asset, 0), None)
        if rows is not None:
            return _ordered(list(rows.values()))
        self._write()
        return siblings(self._db, asset)

    def forget(self) -> None:
        """Write, and look up anew from now on: others are about to change."""
        self._write()
        self._rows.clear()


def _ordered(rows: list[sqlite3.Row]) -> list[sqlite3.Row]:
    return sorted(rows, key=order_of, reverse=True) if len(rows) > 1 else rows


def rerank(db: sqlite3.Connection, visual: int, rules: Rules, now: float) -> None:
    """Say of each version of a visual if it is still worth fetching.

    The newest `keep_versions` are. An older one that was passed over comes back when the
    newer one that it gave way to has failed: an acknowledged file is better than none.
    """
    newer = 0
    for row in versions(db, visual):
        wanted = newer < rules.keep_versions
        if row["state"] == "published" or row["folder"] is not None:
            newer += 1
        elif row["state"] == "held" or (row["state"] == "pending" and row["held"]):
            newer += 1  # its file is here: it goes once a newer one is here, too
        elif row["state"] == "pending" and not wanted:
            supersede(db, row, NEWER_ANNOUNCED)
        elif row["state"] == "pending":
            newer += 1
        elif row["state"] == "superseded" and row["published_at"] is None and wanted:
            revive(db, row["asset"], rules, now)
            newer += 1


def supersede(db: sqlite3.Connection, row: sqlite3.Row, reason: str) -> None:
    """End a version that never had a file, because a newer one makes it unwanted."""
    db.execute(
        "UPDATE assets SET state = 'superseded', reason = ?, failing_since = NULL WHERE asset = ?",
        (reason, row["asset"]),
    )


def revive(db: sqlite3.Connection, asset: int, rules: Rules, now: float) -> None:
    """Make an asset that had ended a job again, with all the time a new one has.

    One that has a file keeps it, and its place in the manifest, until there is another.
    """
    db.execute(
        "UPDATE assets SET state = 'pending', reason = '', goes = 0, next_at = ?, give_up_at = ?,"
        " failing_since = NULL WHERE asset = ?",
        (now, now + rules.give_up_after, asset),
    )
    db.execute(
        "UPDATE deliveries SET outcome = 'accepted' WHERE outcome = 'processed'"
        " AND seq IN (SELECT seq FROM announced WHERE asset = ?)",
        (asset,),
    )


def withdraw(db: sqlite3.Connection, asset: int, key: str, folder: str, *, held: bool = False) -> bool:
    """Have this asset's file removed, or `held`, once a manifest without it is on disk.

    Nothing of the kind is done, and False returned, where it is another's by now.
    """
    touch(db, folder)
    db.execute(  # one that waited for this path has lost it; if its file is needed, it is looked for and fetched again
        "UPDATE assets SET held = 1 WHERE held = 2 AND asset IN (SELECT asset FROM removals WHERE key = ?)", (key,)
    )
    noted = db.execute(
        "INSERT OR REPLACE INTO removals SELECT ?, folder, change, ? FROM folders WHERE folder = ?"
        " AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.folder = ? AND key = ? AND asset != ?)",
        (key, asset if held else None, folder, folder, key, asset),
    )
    return bool(noted.rowcount)


def thin(db: sqlite3.Connection, rows: Sequence[sqlite3.Row], rules: Rules) -> None:
    """Let go of a visual's held versions older than as many with files as may stay. The newest comes first."""
    newer = 0
    for row in rows:
        if row["state"] == "held" and newer >= rules.keep_versions:
            supersede(db, row, NEWER_HERE)
        newer += row["state"] == "held" or row["folder"] is not None


def retire(db: sqlite3.Connection, asset: int, key: str, folder: str) -> None:
    """Take a visible file out of its manifest, and then out of the tree."""
    withdraw(db, asset, key, folder)
    db.execute(
        "UPDATE assets SET state = 'superseded', folder = NULL, key = ?, reason = ?, failing_since = NULL"
        " WHERE asset = ?",
        (key, NEWER_PUBLISHED, asset),
    )


def touch(db: sqlite3.Connection, folder: str) -> None:
    """Mark a folder's manifest as behind."""
    db.execute("INSERT INTO folders(folder) VALUES (?) ON CONFLICT DO UPDATE SET change = change + 1", (folder,))
