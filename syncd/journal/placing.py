"""Fetched files in the journal: where each goes, and what its publication changes.

Functions over an open transaction. A visual's placement is recorded before the file moves,
so that a crash between the move and its record leaves a question that can be answered by
looking at the file, and never a manifest that names what is no longer there.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import orjson

from syncd.journal import Again, Dropped, Ending, Finished, GaveUp, Placement, Published, Rules, happenings
from syncd.journal.gates import closed, closed_design, look_again
from syncd.journal.inbox import finish
from syncd.journal.keys import Register, key_of, versioned_key
from syncd.journal.rows import asset_of, fetched_of, fetched_text, files_text, job_of, without_query
from syncd.journal.visuals import (
    NEWER_ANNOUNCED,
    NEWER_PUBLISHED,
    Families,
    is_shown,
    order_of,
    rerank,
    retire,
    supersede,
    thin,
    versions,
    withdraw,
)
from syncd.journal.writes import Writes
from syncd.model import Fetched, Job, held_key


def place(db: sqlite3.Connection, fetched: Sequence[tuple[Job, Fetched]], rules: Rules) -> list[Placement | str]:
    """Decide where fetched files go, one after the other, and record it; or say why one is not wanted any more."""
    register = Register(db, rules.naming)
    families = Families(db, [job.row for job, _ in fetched], register.write)
    placed = [_place(register, families, job, file, rules) for job, file in fetched]
    register.write()
    return placed


def _place(register: Register, families: Families, job: Job, fetched: Fetched, rules: Rules) -> Placement | str:
    """Decide where a file goes, against what is visible at this moment or may be after a crash."""
    db, known = register.db, families.take(job.row)
    row = next((row for row in known if row["asset"] == job.row), None)
    if row is not None and row["state"] == "held":
        return str(row["reason"])  # its earlier file was taken back meanwhile
    if row is None or row["state"] != "pending":
        return NEWER_ANNOUNCED
    if job.asset.kind == "export":
        key = key_of(register, job.asset, row["visual"], row["received_at"], rules)
        assert key is not None  # noqa: S101 - an export's key needs no content
        return Placement(job.row, key, None, superseded=False)  # not the row's: published as a file it has an extension
    known.remove(row)
    newer = sum(
        order_of(other) > order_of(row) and (other["folder"] is not None or other["placing"] is not None)
        for other in known
    )
    if newer >= rules.keep_versions:
        supersede(db, row, NEWER_PUBLISHED)
        return NEWER_PUBLISHED
    if reason := closed(db, row, known, rules):
        return _placed(register, Placement(job.row, held_key(job.row), None, superseded=False, closed=reason), fetched)
    key = row["key"] or key_of(register, job.asset, row["visual"], row["received_at"], rules, fetched.sha256)
    assert key is not None  # noqa: S101 - only an unknown content can leave a key open
    here = next((other for other in known if other["folder"] is not None and other["key"] == key), None)
    # A lost file goes back to where it was, and a withdrawn one, also that of an older version beside the newest.
    gone = row["lost_at"] is not None or (newer > 0 and job.held and row["published_at"] is not None)
    back = gone and here is None and all(other["placing"] is None for other in known)
    in_line = not back and not rules.naming.per_version(job.asset)
    if here is None and in_line:  # the newest is of another type, and so of another key
        here = next(filter(is_shown, known), None)
    keep_as = former = None
    if newer and (here is not None or in_line):
        key = versioned_key(register, key, row, rules)
    elif here is not None and rules.keep_versions > 1 and here["sha256"] != fetched.sha256:
        former = here["key"]
        keep_as = versioned_key(register, former, here, rules)
    first = all(one["published_at"] is None for one in (row, *known))  # a manifest may name what has gone since
    return _placed(register, Placement(job.row, key, keep_as, bool(newer), former, first=first), fetched)


def _placed(register: Register, placement: Placement, fetched: Fetched) -> Placement:
    """Record where a file is about to move."""
    place = placement.key, placement.keep_as, placement.superseded, placement.former, placement.closed
    text = orjson.dumps([*place, fetched_text(fetched)]).decode()
    register.writes.add("UPDATE assets SET placing = column2 FROM ({}) WHERE asset = column1", placement.row, text)
    return placement


def interrupted(db: sqlite3.Connection) -> list[tuple[Job, Fetched, Placement]]:
    """Placements that were decided and never recorded as done.

    Also of a version that a newer announcement has superseded since: its file may be the visible one.
    """
    found = []
    for row in db.execute("SELECT * FROM assets WHERE placing IS NOT NULL"):
        *place, fetched = orjson.loads(row["placing"])
        found.append((job_of(row), fetched_of(fetched), Placement(row["asset"], *place)))
    return found


def forget_placing(db: sqlite3.Connection) -> None:
    """Answer the rest of the interrupted placements: their files never moved."""
    db.execute("UPDATE assets SET placing = NULL WHERE placing IS NOT NULL")


def settle(db: sqlite3.Connection, endings: Sequence[Ending], rules: Rules, now: float) -> list[Finished]:
    """Record how jobs ended; returns the deliveries that this finished."""
    folders: dict[str, str] = {}
    writes = Writes(db)
    families = Families(db, [end.job.row for end in endings if isinstance(end, Published)], writes.write)
    for ending in endings:
        if not isinstance(ending, Published) or ending.placement.closed:
            families.forget()
        match ending:
            case Published() if ending.placement.closed:
                _hold(db, ending, rules)
            case Published():
                _publish(db, writes, families, ending, rules, folders)
            case Again():
                _wait(db, ending, now)
            case GaveUp():
                _give_up(db, ending, rules, now)
            case Dropped():
                pass  # that it is not wanted was recorded as it was found
    writes.write()
    db.executemany(
        "INSERT INTO folders(folder, template_id) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET change = change + 1, template_id = excluded.template_id",
        folders.items(),
    )
    rows = json.dumps([ending.job.row for ending in endings])
    visuals = db.execute("SELECT DISTINCT visual FROM assets WHERE asset IN (SELECT value FROM json_each(?))", (rows,))
    return finish(db, [visual for (visual,) in visuals], rules, now)


def _publish(
    db: sqlite3.Connection, writes: Writes, families: Families, done: Published, rules: Rules, folders: dict[str, str]
) -> None:
    """Record a visible file, and what that makes of the version it replaces.

    `folders` are those that have changed, each with the template of the file that came last.
    """
    rows = families.take(done.job.row)
    before = next(row for row in rows if row["asset"] == done.job.row)
    folder = done.key.rpartition("/")[0] if done.files is None else None
    same = (before["key"], before["sha256"]) == (done.key, done.fetched.sha256) and has_file(db, before)
    writes.add(
        "UPDATE assets SET state = 'published', reason = '', placing = NULL, failing_since = NULL, lost_at = NULL,"
        " key = column2, folder = column3, type = column4, bytes = column5, sha256 = column6, source_url = column7,"
        " published_at = column8, attempts = column9, held = column10 FROM ({}) WHERE asset = column1",
        done.job.row, done.key, folder, done.fetched.type, done.fetched.bytes, done.fetched.sha256,
        without_query(done.fetched.url), before["published_at"] if same else done.at,
        done.job.attempts + done.fetched.attempts, 0 if done.job.held else before["held"],
    )  # fmt: skip
    if done.files is not None:
        total = sum(file.bytes for file in done.files)
        row = (done.job.row, done.key, files_text(done.files), len(done.files), total, done.archive_key)
        db.execute("INSERT OR REPLACE INTO exports VALUES (?, ?, ?, ?, ?, ?, 0, NULL)", row)
    elif folder is not None:
        folders[folder] = done.job.asset.template.id
        kept = done.placement.keep_as
        if len(rows) > 1 or kept is not None or _is_to_go(db, done.key):
            families.forget()
            _keep(db, done.key, kept)
            if len(rows) > 1:
                _leave_one_published(db, before["visual"], done, rules)
            if kept is not None:  # the version that it was kept for may have gone meanwhile
                withdraw(db, done.job.row, kept, kept.rpartition("/")[0])
    if not same:
        happenings.published(db, rules, done)
    if closed_design(db, before["design"], rules):  # since it was placed, before a crash perhaps
        look_again(db, before["design"])


def _is_to_go(db: sqlite3.Connection, key: str) -> bool:
    return db.execute("SELECT 1 FROM removals WHERE key = ?", (key,)).fetchone() is not None


def _keep(db: sqlite3.Connection, *here: str | None) -> None:
    """Have files not removed that were to be: others are there now."""
    db.execute(  # it may have been set aside in time; where it is needed and not there, it is fetched again
        "UPDATE assets SET held = 1 WHERE held = 2 AND asset IN (SELECT asset FROM removals WHERE key IN (?, ?))", here
    )
    db.execute("DELETE FROM removals WHERE key IN (?, ?)", here)


def _hold(db: sqlite3.Connection, done: Published, rules: Rules) -> None:
    """Record a file that is fetched and may not be visible yet. One that it replaces goes, if it was visible.

    Where the gate has opened since it was placed, it stays a job, which needs no download any more.
    """
    before = db.execute("SELECT * FROM assets WHERE asset = ?", (done.job.row,)).fetchone()
    if before["folder"] is not None:
        withdraw(db, done.job.row, before["key"], before["folder"])
    reason = closed(db, before, versions(db, before["visual"]), rules)
    values = (
        reason, reason, done.fetched.type, done.fetched.bytes, done.fetched.sha256,
        without_query(done.fetched.url), done.job.attempts + done.fetched.attempts, done.job.row,
    )  # fmt: skip
    db.execute(
        "UPDATE assets SET state = CASE WHEN state = 'pending' AND ? != '' THEN 'held' ELSE state END, reason = ?,"
        " placing = NULL, failing_since = NULL, folder = NULL, held = 1, type = ?, bytes = ?, sha256 = ?,"
        " source_url = ?, attempts = ? WHERE asset = ?",
        values,
    )
    thin(db, versions(db, before["visual"]), rules)


def has_file(db: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """Tell if an asset is visible, be it that it is fetched again."""
    export = db.execute("SELECT 1 FROM exports WHERE asset = ?", (row["asset"],))
    return is_shown(row) or export.fetchone() is not None


def _leave_one_published(db: sqlite3.Connection, visual: int, done: Published, rules: Rules) -> None:
    """The newest visible version is the published one; older ones stay as the rules say, or go."""
    rows = versions(db, visual)
    thin(db, rows, rules)
    newest, *older = [row for row in rows if row["folder"] is not None]
    if newest["state"] == "superseded":
        db.execute("UPDATE assets SET state = 'published', reason = '' WHERE asset = ?", (newest["asset"],))
    for place_in_line, row in enumerate(older, start=1):
        replaced = row["key"] in (done.key, done.placement.former) and row["asset"] != done.job.row
        key = done.placement.keep_as if replaced else row["key"]
        if replaced and row["key"] != done.key:
            withdraw(db, row["asset"], row["key"], row["folder"])
        stays = key is not None and place_in_line < rules.keep_versions
        if not stays and key is not None:
            retire(db, row["asset"], key, row["folder"])
        else:
            if stays and replaced and key is not None:
                happenings.kept(db, rules, done.at, row, asset_of(row["detail"]), key)
            db.execute(
                "UPDATE assets SET state = 'superseded', reason = ?, key = coalesce(?, key), folder = ?,"
                " failing_since = NULL WHERE asset = ?",
                (NEWER_PUBLISHED, key, row["folder"] if stays else None, row["asset"]),
            )


def _wait(db: sqlite3.Connection, ending: Again, now: float) -> None:
    """Put a job back until its next go. One that was parked has not had this one, maybe for no failure at all."""
    job, why = ending.job, ending.why
    since = now if why.reason else None
    db.execute(
        "UPDATE assets SET attempts = ?, goes = goes + ?, next_at = ?, reason = coalesce(nullif(?, ''), reason),"
        " failing_since = coalesce(failing_since, ?) WHERE asset = ? AND state = 'pending'",
        (job.attempts + why.attempts, not why.parked, ending.next_at, why.reason, since, job.row),
    )
    if job.held:  # the file that was here is of no use: it is fetched anew
        db.execute("UPDATE assets SET placing = NULL, held = 0 WHERE asset = ?", (job.row,))


def _give_up(db: sqlite3.Connection, ending: GaveUp, rules: Rules, now: float) -> None:
    """End a job without a file; an older version that had given way to it gets its chance.

    One that was announced anew meanwhile, with a fresh URL perhaps, or given more time, is tried
    with that first. One that was only fetched again keeps the file it has.
    """
    job = ending.job
    row = db.execute("SELECT * FROM assets WHERE asset = ? AND state = 'pending'", (job.row,)).fetchone()
    if row is None:
        return
    fresh = asset_of(row["detail"]) != job.asset or row["give_up_at"] > job.give_up_at
    state = "pending" if fresh else "published" if has_file(db, row) else "failed"
    since = None if state == "published" else row["failing_since"] or now
    db.execute(
        "UPDATE assets SET state = ?, placing = NULL, attempts = ?, goes = goes + 1, reason = ?, failing_since = ?"
        " WHERE asset = ?",
        (state, job.attempts + ending.why.attempts, ending.why.reason, since, job.row),
    )
    if state == "failed":
        happenings.failed(db, rules, now, job, row["key"], ending.why)
    if not fresh:
        rerank(db, row["visual"], rules, now)
