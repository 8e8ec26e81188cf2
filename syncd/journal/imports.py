"""What was asked of a platform by hand, stored as a delivery like any other.

Functions over an open transaction. An import has an id of its own each time, so that one which
failed, or was filtered then, can be given again; what is here already is not stored again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from syncd.journal import inbox
from syncd.model import Arrival, Asset, Receipt


def bring_in(db: sqlite3.Connection, arrival: Arrival, assets: Sequence[Asset]) -> Receipt:
    """Store an arrival that announces these assets, unless all of them are published, outdated or on their way.

    The receipt of one that is not stored names the delivery that brought the first of them.
    """
    known = [_delivery_of(db, asset) for asset in assets]
    if known and all(known):
        return Receipt(str(known[0]), duplicate=True)
    return inbox.accept(db, [arrival])[0]


def _delivery_of(db: sqlite3.Connection, asset: Asset) -> str | None:
    """Name the delivery by which this version of a visual is known, unless its file was given up."""
    row = db.execute(
        "SELECT delivery FROM assets WHERE platform_id = ? AND source = ? AND version IS ?"
        " AND json_extract(detail, '$.kind') = ? AND state != 'failed' LIMIT 1",
        (asset.id, asset.source, asset.version, asset.kind),
    ).fetchone()
    return None if row is None else row[0]
