"""Deliveries in the journal: stored once, then read into assets, then finished.

Functions over an open transaction. Two unique columns make a repetition harmless whichever
way it comes: the platform's id, and the digest of what was signed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence

from syncd.journal import Decision, Finished, Rules
from syncd.journal.rows import asset_text
from syncd.journal.visuals import (
    NEWER_ANNOUNCED,
    rerank,
    reserver,
    revive,
    take_key,
    versions,
    visual_of,
)
from syncd.model import Arrival, Asset, Delivery, Receipt, Template, TemplateStatus, rank

SAME_BODY = 6 * 3600.0
"""A delivery without an id is a repetition when its body came within this many seconds."""

BESIDE_EXPORT = (".json", ".SHA256SUMS", ".zip", ".jpeg", ".png", ".webp", ".avif", ".gif", ".pdf", ".mp4")
"""What may lie beside an export's folder under its name: its manifest, its archive, or it as one plain file."""


def accept(db: sqlite3.Connection, arrival: Arrival, body_sha256: bytes, signed: bytes | None) -> Receipt:
    """Store a delivery, or find the one it repeats."""
    name = arrival.platform_id or body_sha256.hex()
    if arrival.platform_id is None:
        known = db.execute(
            "SELECT id FROM deliveries WHERE body_sha256 = ? AND received_at > ? AND source = ? ORDER BY seq LIMIT 1",
            (body_sha256, arrival.received_at - SAME_BODY, arrival.source),
        ).fetchone()
        if known is not None:
            return Receipt(known[0], duplicate=True)
        if db.execute("SELECT 1 FROM deliveries WHERE id = ?", (name,)).fetchone():
            name = f"{name}.{arrival.received_at:.0f}"  # the same text again, long after: a delivery of its own
    values = (
        name, arrival.source, signed, body_sha256, arrival.hint,
        json.dumps(arrival.headers), arrival.body, arrival.received_at,
    )  # fmt: skip
    stored = db.execute(
        "INSERT OR IGNORE INTO deliveries(id, source, signed, body_sha256, hint, headers, body, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    if stored.rowcount:
        return Receipt(name, duplicate=False)
    (known_id,) = db.execute(
        "SELECT id FROM deliveries WHERE id = ? UNION ALL SELECT id FROM deliveries WHERE signed = ? LIMIT 1",
        (name, signed),
    ).fetchone()
    return Receipt(known_id, duplicate=True)


def digests(arrival: Arrival) -> tuple[bytes, bytes | None]:
    """SHA-256 of the body, and of what was signed where something was."""
    body = hashlib.sha256(arrival.body).digest()
    if arrival.signed_at is None:
        return body, None
    return body, hashlib.sha256(arrival.signed_at.encode() + b"." + arrival.body).digest()


def decide(db: sqlite3.Connection, decision: Decision, rules: Rules, now: float) -> list[Finished]:
    """Record what one delivery says; it is finished at once where nothing has to be fetched."""
    seq = decision.delivery.seq
    if decision.status is not None:
        _note_status(db, decision.status)
    for asset in decision.assets:
        _note_template(db, asset.template)
        row = _announce(db, decision.delivery, asset, rules, now)
        db.execute("INSERT OR IGNORE INTO announced VALUES (?, ?)", (seq, row))
    db.execute(
        "UPDATE deliveries SET read = 1, event = ?, outcome = ?, reason = ? WHERE seq = ?",
        (decision.event, decision.outcome, decision.reason, seq),
    )
    return finish(db, [seq])


def _announce(db: sqlite3.Connection, delivery: Delivery, asset: Asset, rules: Rules, now: float) -> int:
    """Find or make the row of an announced asset, and make it a job where it is wanted."""
    visual = visual_of(db, asset)
    known = versions(db, visual)
    for row in known:
        if asset.kind == "export" or (asset.version is not None and row["version"] == asset.version):
            return _announce_again(db, row, asset, visual, rules, now)
    mine = rank(asset.version, delivery.seq)
    newer = sum(
        rank(row["version"], row["seq"]) > mine
        and (row["state"] in ("pending", "published") or row["folder"] is not None)
        for row in known
    )
    wanted = newer < rules.keep_versions
    values = (
        visual, asset.lane, asset.source, asset.id, asset.version, delivery.seq, delivery.id,
        asset_text(asset), delivery.received_at,
        "pending" if wanted else "superseded", "" if wanted else NEWER_ANNOUNCED,
        _key_of(db, asset, visual, delivery, rules) if wanted else None,
        delivery.received_at, delivery.received_at + rules.give_up_after,
    )  # fmt: skip
    row_id = db.execute(
        "INSERT INTO assets(visual, lane, source, platform_id, version, seq, delivery, detail, received_at,"
        " state, reason, key, next_at, give_up_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    ).lastrowid
    assert row_id is not None  # noqa: S101 - an INSERT always has one; this is for the type checker
    if wanted and known:
        rerank(db, visual, rules, now)
    return row_id


def _announce_again(
    db: sqlite3.Connection, row: sqlite3.Row, asset: Asset, visual: int, rules: Rules, now: float
) -> int:
    """The same version once more: nothing new, but a chance for one that failed, with its fresh URL."""
    number: int = row["asset"]
    if row["state"] in ("pending", "failed"):
        db.execute("UPDATE assets SET detail = ? WHERE asset = ?", (asset_text(asset), number))
    if row["state"] == "failed":
        revive(db, number, rules, now)
        rerank(db, visual, rules, now)
    return number


def _key_of(db: sqlite3.Connection, asset: Asset, visual: int, delivery: Delivery, rules: Rules) -> str | None:
    """The key an announced asset will have, as far as it is known before its content is."""
    naming = rules.naming
    (key,) = db.execute("SELECT key FROM visuals WHERE visual = ?", (visual,)).fetchone()
    if key is not None and not naming.per_version:
        retyped = naming.retyped(key, asset)
        return str(key) if retyped == key else take_key(db, naming, retyped, visual)
    wanted = naming.wanted(asset, delivery.received_at, reserver(db), None)
    if wanted is None:
        return None
    key = take_key(db, naming, wanted, visual, beside=BESIDE_EXPORT if asset.kind == "export" else ())
    db.execute("UPDATE visuals SET key = ? WHERE visual = ?", (key, visual))
    return str(key)


def _note_template(db: sqlite3.Connection, template: Template) -> None:
    if template.id:
        db.execute(
            "INSERT INTO templates(id, name) VALUES (?, ?) ON CONFLICT DO UPDATE SET name = excluded.name"
            " WHERE excluded.name != '' AND excluded.name != name",
            (template.id, template.name),
        )


def _note_status(db: sqlite3.Connection, status: TemplateStatus) -> None:
    """Keep a design's newest status; a late, older one changes nothing."""
    changed = db.execute(
        "INSERT INTO templates VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " name = coalesce(nullif(excluded.name, ''), name), status = excluded.status,"
        " status_updated_at = excluded.status_updated_at"
        " WHERE coalesce(excluded.status_updated_at, 0) >= coalesce(status_updated_at, 0)",
        (status.template.id, status.template.name, status.status, status.updated_at),
    )
    if changed.rowcount:
        db.execute("UPDATE folders SET change = change + 1 WHERE template_id = ?", (status.template.id,))


def finish(db: sqlite3.Connection, sequences: Sequence[int]) -> list[Finished]:
    """Call deliveries processed once none of their assets waits any more; returns which."""
    finished = []
    for seq in sequences:
        row = db.execute(
            "UPDATE deliveries SET outcome = 'processed' WHERE seq = ? AND outcome = 'accepted' AND read = 1"
            " AND NOT EXISTS (SELECT 1 FROM announced JOIN assets USING (asset)"
            " WHERE announced.seq = deliveries.seq AND state = 'pending') RETURNING source, event",
            (seq,),
        ).fetchone()
        if row is not None:
            finished.append(Finished(row["source"], row["event"]))
    return finished


def prune(db: sqlite3.Connection, before: float, limit: int = 500) -> int:
    """Forget finished deliveries received before, and what they left without a file; at most `limit` each."""
    old = db.execute(
        "SELECT seq FROM deliveries WHERE received_at < ? AND outcome != 'accepted' LIMIT ?", (before, limit)
    ).fetchall()
    db.executemany("DELETE FROM announced WHERE seq = ?", old)
    db.executemany("DELETE FROM deliveries WHERE seq = ?", old)
    db.execute(
        "DELETE FROM assets WHERE asset IN (SELECT asset FROM assets WHERE state IN ('superseded', 'failed')"
        " AND folder IS NULL AND received_at < ? AND asset NOT IN (SELECT asset FROM announced) LIMIT ?)",
        (before, limit),
    )
    return len(old)
