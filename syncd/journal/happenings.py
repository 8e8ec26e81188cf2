"""What happened, in the order in which it happened, for those whom the config names to be told.

Functions over an open transaction: a line is written in the same one as what it tells of, so that
none is lost and none is invented, and only if somebody wants it. Who was told what is in `outbox`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from syncd.journal import Decision, Published, Rules
from syncd.model import Asset, Failed, Job, TemplateStatus

BATCH_COMPLETED = "batch.completed"

_FOLDERS = 20  # of a template, in one line
_FAILURES = 20  # of a batch


@dataclass(frozen=True, slots=True)
class Happening:
    """One line. `detail` are its facts as JSON values; a `path` among them is one below the mirror's root."""

    seq: int
    at: float
    event: str
    subject: str
    detail: Mapping[str, Any]


def wants(rules: Rules, event: str) -> bool:
    """Tell if anybody is to be told of such an event."""
    return any(fnmatchcase(event, pattern) for pattern in rules.wanted)


def record(db: sqlite3.Connection, rules: Rules, at: float, event: str, subject: str, facts: Mapping[str, Any]) -> None:
    """Note what happened at `at` (unix seconds), if it is wanted."""
    if wants(rules, event):
        db.execute(
            "INSERT INTO happenings(at, event, subject, detail) VALUES (?, ?, ?, ?)",
            (at, event, subject, orjson.dumps(facts).decode()),
        )


def published(db: sqlite3.Connection, rules: Rules, done: Published) -> None:
    """Note that a file, or an export's folder, is visible under its key."""
    if not rules.wanted:
        return
    facts: dict[str, Any] = {"path": done.key, "sha256": done.fetched.sha256, "bytes": done.fetched.bytes}
    if done.files is None:
        facts["superseded"] = done.placement.superseded
        record(db, rules, done.at, "asset.published", done.key, facts | _of(done.job.asset, done.job.delivery))
        return
    sizes = [file.bytes for file in done.files]
    facts |= {
        "bytes": sum(sizes), "files": len(sizes), "folder": any(file.path for file in done.files),
        "archive": done.archive_key, "export_id": done.job.asset.id,
        "source": done.job.asset.source, "delivery": done.job.delivery,
    }  # fmt: skip
    record(db, rules, done.at, "export.published", done.key, facts)


def kept(db: sqlite3.Connection, rules: Rules, at: float, row: sqlite3.Row, asset: Asset, key: str) -> None:
    """Note that an older version is visible under a key of its own."""
    facts = {"path": key, "sha256": row["sha256"], "bytes": row["bytes"], "superseded": True}
    record(db, rules, at, "asset.published", key, facts | _of(asset, row["delivery"]))


def removed(db: sqlite3.Connection, rules: Rules, at: float, key: str) -> None:
    """Note that a file is gone."""
    record(db, rules, at, "asset.removed", key, {"path": key})


def failed(db: sqlite3.Connection, rules: Rules, at: float, job: Job, key: str | None, why: Failed) -> None:
    """Note that an asset was given up."""
    attempts = job.attempts + why.attempts
    facts = {"path": key, "reason": why.reason, "attempts": attempts, **_of(job.asset, job.delivery)}
    record(db, rules, at, "asset.failed", key or job.asset.id, facts)


def _of(asset: Asset, delivery: str) -> dict[str, Any]:
    """What is told of an asset, whatever became of it; null is what its platform did not say."""
    return {
        "id": asset.id,
        "version": asset.version,
        "kind": asset.kind,
        "type": asset.type or None,
        "template": asset.template.name or asset.template.id or None,
        "template_id": asset.template.id or None,
        "format": asset.format.id or None,
        "source": asset.source,
        "delivery": delivery,
    }


def decided(db: sqlite3.Connection, rules: Rules, at: float, decision: Decision) -> None:
    """Note what a delivery has to tell now, and that of a batch once it has ended."""
    delivery = decision.delivery
    for news in decision.news:
        facts = {**dict(news.facts), "title": news.title, "source": delivery.source, "delivery": delivery.id}
        record(db, rules, at, news.name, news.subject, facts)
    if delivery.replayed_at is not None:  # what an earlier reading made of it
        db.execute("DELETE FROM batches WHERE seq = ?", (delivery.seq,))
    if decision.batch and decision.outcome != "ignored" and wants(rules, BATCH_COMPLETED):
        values = (delivery.seq, decision.batch, orjson.dumps(decision.notes).decode())
        db.execute("INSERT INTO batches VALUES (?, ?, ?)", values)


def status_changed(db: sqlite3.Connection, rules: Rules, at: float, old: str, status: TemplateStatus, who: str) -> None:
    """Note that a design's place in the review is another one, and what was made from it; `who` said so."""
    folders = db.execute(
        "SELECT assets.folder, count(*) AS assets FROM folders JOIN assets USING (folder)"
        " WHERE template_id = ? AND template_id != '' AND state = 'published' GROUP BY folder ORDER BY folder",
        (status.template.id,),
    ).fetchall()
    name = status.template.name or status.template.id
    facts = {
        "template": name,
        "template_id": status.template.id,
        "old_status": old or None,
        "status": status.status,
        "assets": sum(row["assets"] for row in folders),
        "folders": [row["folder"] for row in folders[:_FOLDERS]],
        "delivery": who,
    }
    record(db, rules, at, "template.status", name, facts)


def batches_completed(
    db: sqlite3.Connection, rules: Rules, at: float, visuals: Sequence[int], seqs: Sequence[int]
) -> None:
    """Note, each once, the batches of which nothing waits any more, and how they ended.

    Looked at are those that announced a version of these visuals, and those of the deliveries numbered `seqs`.
    """
    if db.execute("SELECT 1 FROM batches LIMIT 1").fetchone() is None:
        return
    rows = db.execute(
        "DELETE FROM batches WHERE seq IN (SELECT value FROM json_each(?)"
        " UNION SELECT announced.seq FROM announced JOIN assets USING (asset)"
        " WHERE visual IN (SELECT value FROM json_each(?)))"
        " AND NOT EXISTS (SELECT 1 FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = batches.seq AND state IN ('pending', 'held')) RETURNING *",
        (json.dumps(seqs), json.dumps(visuals)),
    ).fetchall()
    for row in rows:
        facts = {"batch": row["batch"], "errors": orjson.loads(row["errors"]), **_outcome(db, row["seq"])}
        record(db, rules, at, BATCH_COMPLETED, row["batch"], facts)


def _outcome(db: sqlite3.Connection, seq: int) -> dict[str, Any]:
    delivery = db.execute("SELECT id, source FROM deliveries WHERE seq = ?", (seq,)).fetchone()
    ended = db.execute(
        "SELECT state, platform_id AS id, key AS path, reason FROM announced JOIN assets USING (asset)"
        " WHERE announced.seq = ? ORDER BY asset",
        (seq,),
    ).fetchall()
    states = [row["state"] for row in ended]
    failures = [{"id": row["id"], "path": row["path"], "reason": row["reason"]} for row in ended if row[0] == "failed"]
    return {
        **{state: states.count(state) for state in ("published", "superseded", "failed")},
        "failures": failures[:_FAILURES],
        "source": delivery["source"],
        "delivery": delivery["id"],
    }
