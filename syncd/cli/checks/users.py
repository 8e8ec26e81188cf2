"""Who the service runs as, and what that user may do; for a `doctor` that another user calls."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from syncd.journal.whereabouts import process


def service_user(journal: Path) -> int:
    """Return the number of the user that the daemon runs as: now, else as the journal's owner, else ourselves."""
    pid = process(journal)
    for owned in (Path(f"/proc/{pid}") if pid else None, journal):
        try:
            if owned is not None:
                return owned.stat().st_uid
        except OSError:
            continue
    return os.geteuid()


def named(user: int) -> str:
    """Name a user, by number where it has no name."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def may_write(path: Path, user: int) -> bool:
    """Tell if a user may write a file, or make files in a folder.

    Asked of the system for ourselves; worked out from owner and modes for another, without lists
    of access control.
    """
    folder = path.is_dir()
    if user == os.geteuid():
        return os.access(path, os.W_OK | (os.X_OK if folder else 0), effective_ids=True)
    status = path.stat()
    needed = 0o3 if folder else 0o2
    shift = 6 if status.st_uid == user else 3 if status.st_gid in _groups(user) else 0
    return user == 0 or stat.S_IMODE(status.st_mode) >> shift & needed == needed


def _groups(user: int) -> list[int]:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return []
    return [entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem)]
