"""The mirror root: whether it is ours and mounted, and what its file system can do.

What can be done is tried out in a folder of the mirror's own temp folder, which is removed
again; where the marker is missing, nothing is written at all.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from syncd.cli.checks import Finding, Level
from syncd.cli.checks.mounts import mount_of, mounts
from syncd.cli.checks.users import may_write, named
from syncd.config import Mirror
from syncd.errors import StoreUnavailable, SyncdError
from syncd.journal.schema import connect
from syncd.mirror.portable import PART
from syncd.observe.text import size
from syncd.store.root import MARKER, OWN, TEMPS, opened_root

_FEW_FILES = 10_000
_SKEW = 5.0  # seconds between a file server's clock and ours


def tree(mirror: Mirror, journal: Path, user: int) -> Iterator[Finding]:
    """Look at the root of a mirror that the user with this number has to write."""
    root, on = mirror.root, str(mirror.root)
    owner, known = _facts(journal)
    if known is None and not (root / OWN / MARKER).exists():
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        level: Level = "ok" if may_write(there, user) else "failure"
        yield Finding(level, "mirror", on, f"is not in use yet; {named(user)} begins it in {there}")
        return
    try:
        with opened_root(root, owner or ""):
            pass
    except StoreUnavailable as trouble:
        yield Finding("failure", "mirror", on, str(trouble), trouble.hint)
        return
    yield Finding("ok", "mirror", on, "has its marker")
    yield from _mount(root)
    yield _room(mirror)
    if not may_write(root, user):
        yield Finding("failure", "mirror", on, f"{named(user)} may not write it", f"chown {named(user)} {root}")
    yield from _tried_out(root, mirror)


def _facts(journal: Path) -> tuple[str | None, str | None]:
    """Read the journal's own id, and the root that it knows."""
    try:
        with closing(connect(journal, "read")) as db:
            facts = dict(
                db.execute("SELECT name, value FROM facts WHERE name IN ('journal id', 'mirror root')").fetchall()
            )
    except (SyncdError, sqlite3.Error):
        return None, None
    return facts.get("journal id"), facts.get("mirror root")


def _mount(root: Path) -> Iterator[Finding]:
    known = mounts()
    mount = mount_of(root, known)
    if mount is None:
        return
    if mount.read_only:
        yield Finding("failure", "mirror", str(root), f"{mount.point} is mounted read-only", "look at ReadWritePaths=")
    where = "a network share" if mount.is_network else "a local file system"
    yield Finding("ok", "mirror", str(root), f"lies on {where} ({mount.type}, mounted at {mount.point})")
    real = root.resolve()
    for inner in known:
        point = Path(inner.point)
        if point != real and point.is_relative_to(real):
            yield Finding(
                "failure", "mirror", inner.point, "is a mount of its own inside the mirror",
                "mount the mirror as a whole: nothing can be renamed into this one",
            )  # fmt: skip


def _room(mirror: Mirror) -> Finding:
    room = os.statvfs(mirror.root)
    free = room.f_bavail * room.f_frsize
    said = f"{size(free)} free, mirror.min_free is {size(mirror.min_free)}"
    if free < mirror.min_free:
        return Finding("failure", "mirror", str(mirror.root), said, "make room: nothing is downloaded until then")
    if room.f_files and room.f_favail < _FEW_FILES:
        return Finding("warning", "mirror", str(mirror.root), f"{said}, room for {room.f_favail} more files")
    return Finding("ok", "mirror", str(mirror.root), said)


def _tried_out(root: Path, mirror: Mirror) -> Iterator[Finding]:
    temps = root / TEMPS
    probe = temps / f"doctor-{os.getpid()}"
    try:
        probe.mkdir(mode=0o700)
    except OSError as error:
        yield Finding("failure", "file system", str(temps), f"can't be written: {error.strerror}")
        return
    try:
        for attempt in (_renames, _syncs, _long_names, _cases, _unicode, _links, _modes, _clock):
            try:
                yield attempt(probe, root)
            except OSError as error:
                message = f"{(attempt.__doc__ or '').partition(':')[0].lower()}: {error.strerror}"
                yield Finding("failure", "file system", str(root), message)
        if mirror.names == "unicode":
            yield _odd_names(probe, root)
    finally:
        shutil.rmtree(probe, ignore_errors=True)


Attempt = Callable[[Path, Path], Finding]


def _fs(root: Path, message: str, *, hint: str = "", well: bool = True, fatal: bool = False) -> Finding:
    return Finding("ok" if well else "failure" if fatal else "warning", "file system", str(root), message, hint)


def _renames(probe: Path, root: Path) -> Finding:
    """Rename over a file: how everything is published."""
    (probe / "new").write_text("new")
    (probe / "old").write_text("old")
    (probe / "new").rename(probe / "old")
    well = (probe / "old").read_text() == "new" and probe.stat().st_dev == root.stat().st_dev
    return _fs(root, "a rename replaces a file" if well else "a rename does not replace a file", well=well, fatal=True)


def _syncs(probe: Path, root: Path) -> Finding:
    """Sync a file and its folder: what makes it survive a power cut."""
    for path, flags in ((probe / "old", os.O_RDWR), (probe, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(path, flags)
        began = time.monotonic()
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return _fs(root, f"files and folders can be synced ({(time.monotonic() - began) * 1000:.1f} ms)")


def _long_names(probe: Path, root: Path) -> Finding:
    """Long names: given names are cut to what any usual file system takes."""
    longest = PART
    while longest:
        try:
            (probe / ("n" * longest)).touch()
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL):
                raise
            longest -= 1
            continue
        break
    hint = "" if longest == PART else "longer file names fail one by one; eCryptfs takes 143 bytes"
    return _fs(root, f"names may have {longest} bytes", hint=hint, well=longest == PART)


def _cases(probe: Path, root: Path) -> Finding:
    """Upper and lower case: names are kept apart as if it made no difference."""
    (probe / "Case").touch()
    return _fs(root, "upper and lower case are " + ("the same" if (probe / "cASE").exists() else "different"))


def _unicode(probe: Path, root: Path) -> Finding:
    """Normalisation of Unicode: names are written in NFC."""
    (probe / "\u00e9").touch()
    kept = "\u00e9" in os.listdir(probe)  # noqa: PTH208 - names alone
    merged = (probe / "e\u0301").exists()
    how = "kept as written" if kept else "rewritten"
    hint = "" if kept else "readers see other bytes than the manifest's; look at the mount's iocharset or nls"
    return _fs(root, f"names are {how}, NFC and NFD are {'the same' if merged else 'different'}", hint=hint, well=kept)


def _links(probe: Path, root: Path) -> Finding:
    """Hard links: older versions are kept by one."""
    try:
        os.link(probe / "old", probe / "linked")
    except OSError as error:
        return _fs(root, f"no hard links ({error.strerror}): an older version that is kept is copied", well=True)
    return _fs(root, "hard links work")


def _modes(probe: Path, root: Path) -> Finding:
    """Modes: mirror.file_mode and mirror.dir_mode."""
    hint = "file_mode and dir_mode have no effect: set uid=, gid=, file_mode= and dir_mode= of the mount"
    for mode in (0o640, 0o600):
        try:
            (probe / "old").chmod(mode)
        except OSError as error:
            return _fs(root, f"modes are refused ({error.strerror})", hint=hint, well=False)
        if (probe / "old").stat().st_mode & 0o777 != mode:
            return _fs(root, "modes are ignored", hint=hint, well=False)
    return _fs(root, "modes are kept")


def _clock(probe: Path, root: Path) -> Finding:
    """The clock of a file server: what readers compare Last-Modified with."""
    (probe / "now").touch()
    ahead = (probe / "now").stat().st_mtime - time.time()
    if abs(ahead) <= _SKEW:
        return _fs(root, "its clock agrees with ours")
    return _fs(root, f"its clock differs from ours by {abs(ahead):.0f} s", hint="keep both by NTP", well=False)


def _odd_names(probe: Path, root: Path) -> Finding:
    """Every character that mirror.names = "unicode" lets through."""
    try:
        (probe / 'a:b?c"d|e ').touch()
    except OSError as error:
        hint = 'mirror.names = "portable"'
        return _fs(root, f"refuses names such as a:b?c ({error.strerror})", hint=hint, well=False, fatal=True)
    return _fs(root, "takes the names that mirror.names lets through")
