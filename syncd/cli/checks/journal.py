"""The journal: whether it is whole, where it lies, whose it is, and what its deliveries say of the clock."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from syncd.cli.checks import Finding, Level
from syncd.cli.checks.mounts import mount_of, mounts
from syncd.cli.checks.users import may_write, named
from syncd.errors import JournalUnavailable
from syncd.journal.schema import connect, exists
from syncd.observe.text import size

_LONGEST_CHECK = 8.0
"""Seconds for SQLite's own check; a journal of gigabytes is checked in part."""

_DELIVERIES, _BODY = 10, 64 << 10
_FURTHEST = 900  # seconds; a skew beyond the tolerance is refused at the door, and leaves no delivery
_NOTABLE = 30.0


def journal(path: Path, user: int, min_free: int, tolerance: float) -> Iterator[Finding]:
    """Look at the journal at `path`, which the user with this number has to write."""
    try:
        exists(path)
    except JournalUnavailable as error:
        if not error.hint:
            yield Finding("failure", "journal", str(path), str(error), "run doctor as the service's user")
            return
        yield Finding("warning", "journal", str(path), str(error), error.hint)
        folder = next(above for above in path.parents if above.exists())
        yield from _place(path, folder, min_free)
        if not may_write(folder, user):
            yield Finding("failure", "journal", str(folder), f"{named(user)} may not make it there")
        return
    yield from _place(path, path.parent, min_free)
    yield from _owners(path, user)
    with closing(connect(path, "read")) as db:
        yield _whole(db, path)
        yield from _clock(db, tolerance)


def _place(path: Path, folder: Path, min_free: int) -> Iterator[Finding]:
    mount = mount_of(folder, mounts())
    if mount is not None and mount.is_network:
        yield Finding(
            "warning", "journal", str(path), f"lies on a network share ({mount.type})",
            "give journal.url a local disk: SQLite can't rely on the locks of a share",
        )  # fmt: skip
    if mount is not None and mount.read_only:
        yield Finding("failure", "journal", str(path), f"{mount.point} is mounted read-only")
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < min_free:
        hint = "make room: deliveries are answered 503 until then"
        yield Finding("failure", "journal", str(path), f"{size(free)} free, mirror.min_free is {size(min_free)}", hint)
    else:
        yield Finding("ok", "journal", str(path), f"{size(free)} free")


def _owners(path: Path, user: int) -> Iterator[Finding]:
    """A command that an operator gave as root may have left files that the daemon can't write."""
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock"))]
    foreign = [file for file in files if file.exists() and not may_write(file, user)]
    for file in foreign:
        message = f"belongs to {named(file.stat().st_uid)}; {named(user)} may not write it"
        yield Finding("failure", "journal", str(file), message, f"chown {named(user)} {file}")
    if not may_write(path.parent, user):
        yield Finding("failure", "journal", str(path.parent), f"{named(user)} may not write this folder")
    elif not foreign:
        yield Finding("ok", "journal", str(path), f"can be written by {named(user)}")


def _whole(db: sqlite3.Connection, path: Path) -> Finding:
    deadline = time.monotonic() + _LONGEST_CHECK
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        problems = [problem for (problem,) in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if time.monotonic() < deadline:
            raise
        return Finding("ok", "journal", str(path), f"too large to be checked in {_LONGEST_CHECK:g} s ({error})")
    finally:
        db.set_progress_handler(None, 0)
    if problems == ["ok"]:
        return Finding("ok", "journal", str(path), "is whole")
    return Finding(
        "failure", "journal", str(path), f"is damaged: {'; '.join(map(str, problems))}",
        "stop syncd and restore a copy, or recover it with sqlite3's .recover",
    )  # fmt: skip


def _clock(db: sqlite3.Connection, tolerance: float) -> Iterator[Finding]:
    """Compare when deliveries were signed with when they came, by our clock.

    The signatures are not kept; but what was signed has left its digest, and there are only so
    many seconds in which it can have been.
    """
    rows = db.execute(
        "SELECT signed, body, received_at FROM deliveries WHERE signed IS NOT NULL AND length(body) <= ?"
        " ORDER BY seq DESC LIMIT ?",
        (_BODY, _DELIVERIES),
    )
    skews = [skew for row in rows if (skew := _skew(*row)) is not None]
    if not skews:
        yield Finding("ok", "clock", "deliveries", "no signed delivery yet to compare it with")
        return
    late = statistics.median(skews)
    if abs(late) <= min(_NOTABLE, tolerance / 2):
        yield Finding("ok", "clock", "deliveries", f"agrees with the platform's, by {len(skews)} signatures")
        return
    message = f"is {abs(late):.0f} s {'ahead of' if late > 0 else 'behind'} the platform's, by {len(skews)} signatures"
    level: Level = "failure" if abs(late) > tolerance / 2 else "warning"
    yield Finding(level, "clock", "deliveries", message, "keep it by NTP (timedatectl set-ntp true)")


def _skew(signed: bytes, body: bytes, received_at: float) -> int | None:
    """Seconds from signature to receipt, found by trying; the nearest first."""
    for distance in range(_FURTHEST + 1):
        for skew in {distance, -distance}:
            t = int(received_at) - skew
            if hashlib.sha256(b"%d." % t + body).digest() == signed:
                return skew
    return None
