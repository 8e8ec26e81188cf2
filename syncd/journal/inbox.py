"""Deliveries in the journal: stored once, then read into assets, then finished.

Functions over an open transaction. Two unique columns make a repetition harmless whichever
way it comes: the platform's id, and the digest of what was signed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import orjson

from syncd.journal import Decision, Finished, Question, Rules, gates, happenings, holding
from syncd.journal.keys import Register, add_visual, key_of
from syncd.journal.rows import asset_text, delivery_of
from syncd.journal.visuals import rerank, revive, seen_before, versions, visual_of
from syncd.journal.writes import write_all
from syncd.model import Arrival, Asset, Delivery, Receipt, Template, TemplateStatus, rank

SAME_BODY = 6 * 3600.0
"""A delivery without an id is a repetition when its body came within this many seconds."""

_REVIEWED = 500  # assets that a status opens or closes at once; the rest follows
_STORE = "INSERT OR IGNORE INTO deliveries(id, signed, source, body_sha256, hint, headers, body, received_at) {}"
_BY_ID = "SELECT id, seq, signed FROM deliveries WHERE id = ?"
_BY_SIGNED = "SELECT id, seq, signed FROM deliveries WHERE signed = ?"
_READ = (
    "UPDATE deliveries SET read = 1, ask_at = NULL, event = column2, outcome = column3, reason = column4"
    " FROM ({}) WHERE seq = column1"
)


def accept(db: sqlite3.Connection, arrivals: Sequence[Arrival]) -> list[Receipt]:
    """Store deliveries in their order, or find those that they repeat."""
    receipts: list[Receipt] = []
    for named, some in groupby(arrivals, key=lambda arrival: arrival.platform_id is not None):
        if named:
            receipts += _store(db, [_row(one, str(one.platform_id), _sha256(one.body)) for one in some])
        else:
            receipts += [_accept_unnamed(db, arrival) for arrival in some]
    return receipts


def _accept_unnamed(db: sqlite3.Connection, arrival: Arrival) -> Receipt:
    body_sha256 = _sha256(arrival.body)
    known = db.execute(
        "SELECT id FROM deliveries WHERE body_sha256 = ? AND received_at > ? AND source = ? ORDER BY seq LIMIT 1",
        (body_sha256, 0.0 if arrival.caught_up else arrival.received_at - SAME_BODY, arrival.source),
    ).fetchone()
    if known is not None:
        return Receipt(known[0], duplicate=True)
    name = body_sha256.hex()
    if db.execute("SELECT 1 FROM deliveries WHERE id = ?", (name,)).fetchone():
        name = f"{name}.{arrival.received_at:.0f}"  # the same text again, long after: a delivery of its own
    return _store(db, [_row(arrival, name, body_sha256)])[0]


def _row(arrival: Arrival, name: str, body_sha256: bytes) -> tuple[Any, ...]:
    """The columns of a new delivery, with the digest of what was signed, where something was."""
    signed = None
    if arrival.signed_at is not None:
        signed = _sha256(arrival.signed_at.encode() + b"." + arrival.body)
    return (
        name, signed, arrival.source, body_sha256, arrival.hint,
        orjson.dumps(arrival.headers).decode(), arrival.body, arrival.received_at,
    )  # fmt: skip


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _store(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[Receipt]:
    """Store what is new, and find what the others repeat: by the platform's id, or by what was signed."""
    (last,) = db.execute("SELECT max(seq) FROM deliveries").fetchone()
    if write_all(db, _STORE, rows) == len(rows):
        return [Receipt(row[0], duplicate=False) for row in rows]
    told: set[int] = set()

    def is_new(seq: int) -> bool:
        return seq > (last or 0) and seq not in told

    receipts = []
    for name, signed, *_ in rows:
        found = db.execute(_BY_ID, (name,)).fetchone()
        if found is None or (is_new(found["seq"]) and found["signed"] != signed):  # that one came later
            found = db.execute(_BY_SIGNED, (signed,)).fetchone()
        receipts.append(Receipt(found["id"], duplicate=not is_new(found["seq"])))
        told.add(found["seq"])
    return receipts


def decide(db: sqlite3.Connection, decisions: Sequence[Decision], rules: Rules, now: float) -> list[Finished]:
    """Record what deliveries say, one after the other; returns those of which nothing waits any more, or older ones."""
    register = Register(db, rules.naming)
    seen = seen_before(db, (asset for decision in decisions for asset in decision.assets))
    names: dict[str, str] = {}  # of templates, as they are noted
    visuals, idle = [], []
    for decision in decisions:
        delivery = decision.delivery
        if decision.ask_at is not None:
            _put_off(db, decision, rules, now)
            continue
        if decision.status is not None:
            names.clear()
            register.write()
            _note_status(db, decision.status, delivery, rules, now)
            if rules.approved is not None:
                holding.review(db, rules, _REVIEWED, now)
        happenings.decided(db, rules, now, decision)
        known = []
        for asset in decision.assets:
            known += _announce(register, seen, names, delivery, asset, rules, now)
        visuals += known
        if len(known) == len(decision.assets):
            idle.append(delivery.seq)
        if decision.batch and decision.assets and rules.whole_batches:
            db.execute("INSERT OR IGNORE INTO whole VALUES (?)", (delivery.seq,))
        register.writes.add(_READ, delivery.seq, decision.event, decision.outcome, decision.reason)
    register.write()
    return finish(db, visuals, rules, now, idle)


def _put_off(db: sqlite3.Connection, decision: Decision, rules: Rules, now: float) -> None:
    """Leave a delivery unread until the platform has said what it announces; what it tells people is told once."""
    happenings.decided(db, rules, now, decision)
    at = decision.ask_at
    db.execute(
        "UPDATE deliveries SET asked = CASE WHEN ask_at IS NULL THEN 0 ELSE asked + 1 END,"
        " ask_at = CASE WHEN ask_at IS NULL THEN min(?, ?) ELSE ? END,"  # the clock may have been set back meanwhile
        " event = ?, outcome = ?, reason = ? WHERE seq = ?",
        (at, now, at, decision.event, decision.outcome, decision.reason, decision.delivery.seq),
    )


def questions(db: sqlite3.Connection, limit: int, held: frozenset[int]) -> list[Question]:
    """Deliveries that wait for their platform's answer and are not `held`, by when it is to be asked."""
    rows = db.execute(
        "SELECT * FROM deliveries WHERE ask_at IS NOT NULL"
        " AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY ask_at, seq LIMIT ?",
        (json.dumps(list(held)), limit),
    )
    return [Question(delivery_of(row), row["ask_at"], row["asked"]) for row in rows]


def _announce(
    register: Register,
    seen: set[str],
    names: dict[str, str],
    delivery: Delivery,
    asset: Asset,
    rules: Rules,
    now: float,
) -> list[int]:
    """Record that an asset was announced, as a job if it is wanted; returns its visual if that was known before.

    The first version of a new one waits in any case, and nobody else waits for it. Of a new one, nobody has
    `seen` an identity, and nothing is asked of the journal. What its template is called is news unless it comes late.
    """
    db = register.db
    visual: int | None = None
    identities: Sequence[str] = asset.identities
    if not seen.isdisjoint(identities):
        register.write()
        visual, identities = visual_of(db, asset)
    seen.update(identities)
    if visual is None:
        _note_template(db, names, asset.template)
        visual, key = add_visual(register, asset, identities, delivery.received_at, rules)
        _add(register, delivery, asset, visual, key, rules, now)
        return []
    mine = rank(asset.version, delivery.seq)
    known = versions(db, visual)
    if not known or rank(known[0]["version"], known[0]["seq"]) <= mine:
        _note_template(db, names, asset.template)
    alike = (row for row in known if asset.kind == "export" or rank(row["version"], row["seq"]) == mine)
    same = next(alike, None)
    if same is None:
        number = _add(register, delivery, asset, visual, None, rules, now)
        register.write()
    else:
        number = same["asset"]
        _announce_again(db, same, delivery, asset, rules, now)
        db.execute("INSERT OR IGNORE INTO announced VALUES (?, ?)", (delivery.seq, number))
    rerank(db, visual, rules, now)
    wanted = db.execute("SELECT 1 FROM assets WHERE asset = ? AND state = 'pending' AND key IS NULL", (number,))
    if wanted.fetchone():
        key = key_of(register, asset, visual, delivery.received_at, rules)
        db.execute("UPDATE assets SET key = ? WHERE asset = ?", (key, number))
    return [visual]


def _add(
    register: Register, delivery: Delivery, asset: Asset, visual: int, key: str | None, rules: Rules, now: float
) -> int:
    writes = register.writes
    since = min(delivery.asked_at, now)  # the clock may have been set back meanwhile
    number = writes.number("assets")
    writes.add(
        "INSERT INTO assets(asset, state, visual, lane, source, platform_id, version, seq, delivery, detail,"
        " received_at, key, next_at, give_up_at, design) {}",
        number, "pending", visual, asset.lane, asset.source, asset.id, asset.version, delivery.seq, delivery.id,
        asset_text(asset), delivery.received_at, key, since, since + rules.give_up_after,
        gates.design_of(register.db, asset, visual, rules),
    )  # fmt: skip
    writes.add("INSERT INTO announced {}", delivery.seq, number)
    return number


def _announce_again(
    db: sqlite3.Connection, row: sqlite3.Row, delivery: Delivery, asset: Asset, rules: Rules, now: float
) -> None:
    """The same version once more: nothing new, but a chance for one without a file, with its fresh URL.

    A replay asks for every file anew, but for those of older versions that are there, and for held
    ones; `rerank` has the last word. The URL stays that of the last announcement.
    """
    replayed = delivery.replayed_at is not None
    kept = row["state"] == "held" or (row["state"] == "superseded" and row["folder"] is not None)
    if row["state"] in ("pending", "failed") or (replayed and not kept):
        db.execute(
            "UPDATE assets SET detail = ?, design = ?, give_up_at = max(give_up_at, ?) WHERE asset = ?"
            " AND NOT EXISTS (SELECT 1 FROM announced WHERE announced.asset = assets.asset AND seq > ?)",
            (
                asset_text(asset),
                gates.design_of(db, asset, row["visual"], rules),
                delivery.asked_at + rules.give_up_after,
                row["asset"],
                delivery.seq,
            ),
        )
    if row["state"] == "failed" or (replayed and not kept):
        revive(db, row["asset"], rules, now)
    if replayed and row["state"] == "superseded" and not kept:  # its key may be one of a kept version
        db.execute("UPDATE assets SET key = NULL WHERE asset = ?", (row["asset"],))


def _note_template(db: sqlite3.Connection, names: dict[str, str], template: Template) -> None:
    if not template.id or names.get(template.id) == template.name:
        return
    names[template.id] = template.name
    changed = db.execute(
        "INSERT INTO templates(id, name) VALUES (?, ?) ON CONFLICT DO UPDATE SET name = excluded.name"
        " WHERE excluded.name != '' AND excluded.name != name",
        (template.id, template.name),
    )
    if changed.rowcount:
        db.execute("UPDATE folders SET change = change + 1 WHERE template_id = ?", (template.id,))


def _note_status(db: sqlite3.Connection, status: TemplateStatus, delivery: Delivery, rules: Rules, now: float) -> None:
    """Keep a design's newest status; a late, older one changes nothing. One that doesn't say when is of its receipt."""
    known = db.execute("SELECT status FROM templates WHERE id = ?", (status.template.id,)).fetchone()
    old = known["status"] if known else ""
    at = delivery.received_at if status.updated_at is None else status.updated_at
    changed = db.execute(
        "INSERT INTO templates VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " name = coalesce(nullif(excluded.name, ''), name), status = excluded.status,"
        " status_updated_at = excluded.status_updated_at"
        " WHERE excluded.status_updated_at >= coalesce(status_updated_at, 0)",
        (status.template.id, status.template.name, status.status, at),
    )
    if changed.rowcount and status.template.id:
        db.execute("UPDATE folders SET change = change + 1 WHERE template_id = ?", (status.template.id,))
    if changed.rowcount and rules.approved is not None:
        gates.look_again(db, status.template.id)
    if changed.rowcount and status.status != old:
        happenings.status_changed(db, rules, now, old, status, delivery.id)


def finish(
    db: sqlite3.Connection, visuals: Sequence[int], rules: Rules, now: float, seqs: Sequence[int] = ()
) -> list[Finished]:
    """Call deliveries processed once none of their assets waits any more; returns which.

    Looked at are those that announced a version of these visuals, and those numbered `seqs`.
    """
    if not visuals and not seqs:
        return []
    gates.open_whole(db, visuals, rules, now)
    happenings.batches_completed(db, rules, now, visuals, seqs)
    finished = db.execute(
        "UPDATE deliveries SET outcome = 'processed' WHERE outcome = 'accepted' AND read = 1 AND seq IN"
        " (SELECT value FROM json_each(?) UNION SELECT announced.seq FROM announced JOIN assets USING (asset)"
        " WHERE visual IN (SELECT value FROM json_each(?)))"
        " AND NOT EXISTS (SELECT 1 FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = deliveries.seq AND state = 'pending') RETURNING source, event",
        (json.dumps(seqs), json.dumps(visuals)),
    )
    return [Finished(source, event) for source, event in finished.fetchall()]


def prune(db: sqlite3.Connection, before: float, limit: int = 500) -> int:
    """Forget finished deliveries received before, and what they left without a file; at most `limit` each.

    Returns how many rows went, so that 0 says that nothing is left to forget.
    """
    old = db.execute(
        "SELECT seq FROM deliveries WHERE received_at < ? AND outcome != 'accepted'"
        " AND NOT EXISTS (SELECT 1 FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = deliveries.seq AND state = 'pending') LIMIT ?",
        (before, limit),
    ).fetchall()
    db.executemany("DELETE FROM announced WHERE seq = ?", old)
    db.executemany("DELETE FROM batches WHERE seq = ?", old)
    db.executemany("DELETE FROM whole WHERE seq = ?", old)
    db.executemany("DELETE FROM deliveries WHERE seq = ?", old)
    assets = db.execute(
        "DELETE FROM assets WHERE asset IN (SELECT asset FROM assets"
        " WHERE state IN ('superseded', 'failed') AND folder IS NULL AND placing IS NULL AND held = 0"
        " AND received_at < ? AND NOT EXISTS (SELECT 1 FROM announced WHERE announced.asset = assets.asset) LIMIT ?)",
        (before, limit),
    )
    return len(old) + assets.rowcount
