"""One writer: an advisory lock on a file that names the process which holds it.

Both the journal and the mirror root are guarded by one of these, so that a second daemon
refuses to start instead of sharing what it must own alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from syncd.errors import InUse

_ANOTHER_LOOK = 0.05  # seconds; who only asks if it is taken holds it for much less


@contextlib.contextmanager
def sole_owner(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock` for the duration. Raises InUse, with the holder's pid, where another has it.

    The kernel frees the lock when the process ends, however it ends; the file stays.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _take(descriptor, fcntl.LOCK_EX):
            time.sleep(_ANOTHER_LOOK)
        if not _take(descriptor, fcntl.LOCK_EX):
            raise InUse(
                f"{what} is in use by another syncd (pid {_pid(descriptor)})",
                hint=f"stop that process, or give this one another place; the lock is {lock}",
            )
        with contextlib.suppress(OSError):  # the lock is what counts; a full disk has no room for the name on it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as it says itself, and since when in unix seconds."""

    pid: str
    since: float


def holder(lock: Path) -> Holder | None:
    """Who holds `lock` at this moment; None where nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if _take(descriptor, fcntl.LOCK_SH):
            return None
        return Holder(_pid(descriptor), os.fstat(descriptor).st_mtime)
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
