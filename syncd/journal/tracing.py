"""Where a file of the tree came from, as far as the journal remembers: its visual, its deliveries, what it replaced.

Functions over an open transaction. They read the record only; whether the disk agrees is the
business of who asks. Values are those of the API, times in RFC 3339, URLs without their query.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Sequence
from typing import Any

from syncd.journal.placing import has_file
from syncd.journal.rows import asset_of, stale_export_of, without_query
from syncd.journal.visuals import order_of, versions
from syncd.model import fold, rfc3339

_NEAR = 5
_LOOKED_AT = 5000  # paths of one folder, to find those that are like one
_ALIKE = 0.5


def trace(db: sqlite3.Connection, path: str) -> dict[str, Any] | None:
    """What is known of a path below the root; None where it was never given to anything.

    `state` is that of the asset that has its file there or is to have it; `removed` where the
    path was given once and nothing is there, `folder` where files are below it, `own` where it
    is a record of syncd itself.
    """
    if not path.isprintable():  # no key is like this; a broken text can't even be asked for
        return None
    owned, visual = _owner(db, path)
    rows = [] if visual is None else versions(db, visual)
    if rows and rows[0]["lane"] == "exports":
        return _in_export(db, rows[0], path)
    if owned != fold(path):
        return _folder(db, path)
    here = [row for row in rows if row["key"] is not None and fold(row["key"]) == owned]
    there = next((row for row in here if row["folder"] is not None), None)
    row = there or next(iter(here), None)
    newest = rows[0]["key"] if rows else None
    if row is None:
        return {"path": path, "state": "removed", "newest": newest, **_others(rows, None)}
    said = {**_asset(db, row), **_others(rows, row)}
    gone = there is None and row["published_at"] is not None and row["state"] == "superseded"
    return {**said, "state": "removed", "newest": newest} if gone else said


def near(db: sqlite3.Connection, path: str) -> list[str]:
    """Name a few known paths that are most like this one: of the same name elsewhere, or in the nearest folder."""
    if not path.isprintable():
        return []
    wanted = fold(path)
    name = "/" + wanted.rpartition("/")[2]
    same = db.execute("SELECT key FROM keys WHERE substr(folded, -?) = ? LIMIT ?", (len(name), name, _NEAR)).fetchall()
    if same:
        return [key for (key,) in same]
    folder = wanted
    while folder:
        folder = folder.rpartition("/")[0]
        below = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")  # "0" follows "/"
        found = dict(
            db.execute("SELECT folded, key FROM keys WHERE folded > ? AND folded < ? LIMIT ?", (*below, _LOOKED_AT))
        )
        if like := difflib.get_close_matches(wanted, found, _NEAR, _ALIKE):
            return [found[key] for key in like]
    return []


def _owner(db: sqlite3.Connection, path: str) -> tuple[str, int | None]:
    """The visual that a path was given to, or the nearest folder above it: that of an export; with that path folded."""
    folded = fold(path)
    while folded:
        row = db.execute("SELECT visual FROM keys WHERE folded = ?", (folded,)).fetchone()
        if row is not None:
            return folded, row["visual"]
        folded = folded.rpartition("/")[0]
    return "", None


def _folder(db: sqlite3.Connection, path: str) -> dict[str, Any] | None:
    below = {"folder": path, "first": f"{path}/", "after": f"{path}0"}  # "0" follows "/"
    row = db.execute(
        "SELECT sum(files) AS files, sum(bytes) AS bytes FROM ("
        "SELECT count(*) AS files, sum(bytes) AS bytes FROM assets"
        " WHERE folder IS NOT NULL AND (folder = :folder OR folder > :first AND folder < :after)"
        " UNION ALL SELECT sum(count), sum(total) FROM exports WHERE key > :first AND key < :after)",
        below,
    ).fetchone()
    if not row["files"]:
        return None
    return {"path": path, "state": "folder", "files": row["files"], "bytes": row["bytes"]}


def _in_export(db: sqlite3.Connection, row: sqlite3.Row, path: str) -> dict[str, Any]:
    """What is known of an export, or of a path inside it or beside it."""
    said = {**_asset(db, row), "path": path}
    found = db.execute(
        "SELECT assets.*, exports.key AS export_key, files, total, archive_key"
        " FROM exports JOIN assets USING (asset) WHERE asset = ?",
        (row["asset"],),
    ).fetchone()
    if found is None:
        return said
    export, folded = stale_export_of(found), fold(path)
    whole = {"export_id": export.asset.id, "path": export.key, "bytes": export.bytes, "sha256": export.sha256}
    said |= {"manifest": export.manifest_key, "export": whole}
    parts = {fold(export.path_of(file)): file for file in export.files}
    if (file := parts.get(folded)) is not None:
        return {**said, "path": export.path_of(file), "bytes": file.bytes, "sha256": file.sha256}
    if inside := [file for part, file in parts.items() if part.startswith(f"{folded}/")]:
        sums = {"files": len(inside), "bytes": sum(file.bytes for file in inside), "sha256": None}
        return {**said, "state": "folder", **sums}
    if export.archive_key is not None and folded == fold(export.archive_key):
        return {**said, "path": export.archive_key}
    beside = export.manifest_key.removesuffix(".json")
    if folded in (fold(export.manifest_key), fold(f"{beside}.SHA256SUMS")):
        return {"path": path, "state": "own"}
    return {**said, "state": "removed", "newest": export.key, "bytes": None, "sha256": None}


def _asset(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """An asset with all that led to it. Of one without a file there is no `sha256`."""
    asset, shown = asset_of(row["detail"]), has_file(db, row) or row["folder"] is not None
    template, format_ = asset.template, asset.format
    return {
        "path": row["key"],
        "state": row["state"],
        **_version(row),
        "kind": asset.kind,
        "sharing_id": asset.sharing_id or None,
        "type": row["type"] or asset.type or None,
        "template": {"id": template.id or None, "name": template.name or None},
        "format": {"id": format_.id or None, "width": format_.width, "height": format_.height},
        "bytes": row["bytes"] if shown else None,
        "sha256": row["sha256"] if shown else None,
        "url": (row["source_url"] if shown else None) or without_query(asset.url),
        "attempts": row["attempts"],
        "next_attempt_at": rfc3339(row["next_at"]) if row["state"] == "pending" else None,
        "give_up_at": rfc3339(row["give_up_at"]) if row["state"] == "pending" else None,
        "manifest": f"{row['folder']}/manifest.json" if row["folder"] is not None else None,
        "deliveries": _deliveries(db, row),
    }


def _version(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["platform_id"],
        "version": row["version"],
        "reason": row["reason"] or None,
        "received_at": rfc3339(row["received_at"]),
        "published_at": rfc3339(row["published_at"]),
        "delivery": row["delivery"],
    }


def _deliveries(db: sqlite3.Connection, row: sqlite3.Row) -> list[dict[str, Any]]:
    """Every delivery that announced an asset and is not forgotten, the first one first."""
    query = "SELECT id, event, received_at, replayed_at FROM announced JOIN deliveries USING (seq)"
    return [
        {
            "id": found["id"],
            "event": found["event"],
            "received_at": rfc3339(found["received_at"]),
            "replayed_at": rfc3339(found["replayed_at"]),
        }
        for found in db.execute(f"{query} WHERE asset = ? ORDER BY seq", (row["asset"],))
    ]


def _others(rows: Sequence[sqlite3.Row], row: sqlite3.Row | None) -> dict[str, Any]:
    """The other versions of a visual: older ones that had a file, and newer ones; the newest first."""

    def shown(other: sqlite3.Row) -> dict[str, Any]:
        file = {"bytes": other["bytes"], "sha256": other["sha256"]}
        return {**_version(other), "state": other["state"], "path": other["key"], **file}

    replaced = [other for other in rows if other["published_at"] and (row is None or order_of(other) < order_of(row))]
    newer = [other for other in rows if row is not None and order_of(other) > order_of(row)]
    return {"replaced": list(map(shown, replaced)), "newer": list(map(shown, newer))}
