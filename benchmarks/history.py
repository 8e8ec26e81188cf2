"""The journal of a daemon that has run for years: a tree of so many assets, long published and named.

The rows are those that publishing would have left, put straight into the tables of the journal's own schema. The
deliveries are forgotten, as `journal.retention` would have it by then. The files themselves need not be there:
nothing opens a published file again unless it is replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from benchmarks.corpus import FORMATS, Banner
from benchmarks.deliveries import announcement
from syncd.journal.rows import asset_text
from syncd.journal.schema import connect
from syncd.mirror.portable import clean
from syncd.model import Asset, Event, fold
from syncd.sources import abyssale

IN_A_FOLDER = 100
_AT_ONCE = 10_000
_PUBLISHED_AT = 1_780_000_000.0
_NOWHERE = "http://127.0.0.1:9"
_ASSETS = (
    "asset, visual, lane, source, platform_id, version, seq, delivery, detail, received_at, state, key, attempts, goes,"
    " next_at, give_up_at, folder, type, bytes, sha256, source_url, published_at"
)


def banner_in(folder: int, number: int, size: int = 40_000) -> Banner:
    """Describe banner `number` (from 1 on) as one of the folder with this number (from 0 on)."""
    return Banner(number, folder // len(FORMATS), FORMATS[folder % len(FORMATS)], "png", size)


def fill(path: Path, assets: int) -> None:
    """Make a journal at `path` with so many published assets, `IN_A_FOLDER` in each folder, all manifests written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = connect(path, "make")
    try:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-524288")
        for first in range(0, assets, _AT_ONCE):
            db.execute("BEGIN")
            _fill_some(db, first, min(assets, first + _AT_ONCE))
            db.execute("COMMIT")
        db.execute("INSERT INTO sqlite_sequence VALUES ('deliveries', ?)", (assets,))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()


def _fill_some(db: Any, first: int, end: int) -> None:
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in ("assets", "visuals", "identities", "keys")}
    for start in range(first, end, IN_A_FOLDER):
        numbers = range(start + 1, min(end, start + IN_A_FOLDER) + 1)
        model = _decoded(banner_in(start // IN_A_FOLDER, 1))
        template, format_ = (clean(name, "portable") for name in (model.template.name, model.format.id))
        folder = f"{template}/{format_}"
        for number, asset in _assets(model, numbers):
            key, digest = f"{folder}/{asset.filename}", hashlib.sha256(str(number).encode()).hexdigest()
            values = (
                number, number, "visuals", asset.source, asset.id, asset.version, number, digest, asset_text(asset),
                _PUBLISHED_AT, "published", key, 1, 0, _PUBLISHED_AT, _PUBLISHED_AT, folder, asset.type, 40_000, digest,
                asset.url, _PUBLISHED_AT,
            )  # fmt: skip
            rows["assets"].append(values)
            rows["visuals"].append((number, key))
            rows["identities"] += [(identity, number) for identity in asset.identities]
            rows["keys"].append((fold(key), number, key))
        names = [("template", fold(template), template, model.template.id), ("format", fold(format_), format_, format_)]
        db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", names)
        db.execute("INSERT OR IGNORE INTO templates(id, name) VALUES (?, ?)", (model.template.id, model.template.name))
        db.execute(
            "INSERT INTO folders VALUES (?, 1, 1, ?, ?, ?, ?, ?, 1)",
            (folder, model.template.id, model.template.name, model.format.id, len(numbers), 40_000 * len(numbers)),
        )
    db.executemany(f"INSERT INTO assets({_ASSETS}) VALUES ({', '.join('?' * 22)})", rows["assets"])  # noqa: S608
    for table, width in (("visuals", 2), ("identities", 2), ("keys", 3)):
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows[table])  # noqa: S608


def _decoded(banner: Banner) -> Asset:
    event = abyssale.decode(orjson.dumps(announcement(banner, _NOWHERE)), None)
    assert isinstance(event, Event)  # noqa: S101 - for the type checker
    return event.assets[0]


def _assets(model: Asset, numbers: range) -> Iterator[tuple[int, Asset]]:
    """Assets like the model, which is number 1: all that names it names another."""
    one = f"{1:012x}"
    for number in numbers:
        this = f"{number:012x}"
        filename = f"visual_{number:06}.png"
        yield (
            number,
            replace(
                model,
                id=model.id.replace(one, this),
                sharing_id=model.sharing_id.replace(one, this),
                filename=filename,
                url=model.url.replace(model.filename, filename),
                fallback_url=model.fallback_url.replace(model.filename, filename),
                view_url=model.view_url.replace(one, this),
                edit_url=model.edit_url.replace(one, this),
            ),
        )
