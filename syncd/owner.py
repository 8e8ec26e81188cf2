"""One writer: an advisory lock on a file that names the process which holds it.

Both the journal and the mirror root are guarded by one of these, so that a second daemon
refuses to start instead of sharing what it must own alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from syncd.errors import InUse


@contextlib.contextmanager
def sole_owner(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock` for the duration. Raises InUse, with the holder's pid, where another has it.

    The kernel frees the lock when the process ends, however it ends; the file stays.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise InUse(
                f"{what} is in use by another syncd (pid {holder})",
                hint=f"stop that process, or give this one another place; the lock is {lock}",
            ) from None
        with contextlib.suppress(OSError):  # the lock is what counts; a full disk has no room for the name on it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
