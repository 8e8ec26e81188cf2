"""What reaches the disk before anybody is told: names in their folder, and many files behind one barrier.

Where hundreds of small files wait, a sync of each costs five times as much, most of it in waiting
for turns. What `syncfs` promises differs between file systems, so that it is asked only of those on
local disks, where it is all that `fsync` does; a share or a FUSE mount may not even pass it on, and
before Linux 5.8 it does not tell of what could not be written.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path

MANY = 16
"""From how many files or folders on one step is the shorter one, also where others have much to write."""

# Magic numbers of statfs(2) and linux/magic.h.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010})
"""ext2 to ext4, XFS, Btrfs, F2FS."""
_STATFS_BYTES = 256  # twice what the kernel writes
_TELLING = (5, 8)
_SYNC_FILE_RANGE_WAIT_BEFORE, _SYNC_FILE_RANGE_WRITE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def make_folder(path: Path) -> None:
    """Make a folder where there is none, and those above it, each with its name on the disk."""
    if path.exists():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, and nothing of what its files hold."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: int) -> bool:
    """Bring what was written to the file system of an open folder to its disk; False where that can't be relied on.

    Raises OSError where something could not be written, be it a file of somebody else.
    """
    barrier = barrier_of(folder)
    if barrier is not None:
        barrier()
    return barrier is not None


def barrier_of(folder: int) -> Callable[[], None] | None:
    """What does as `sync_all` does for the file system of an open folder; None where that can't be relied on.

    A folder that was open before the first byte was written hears of everything that could not be.
    """
    known = hasattr(_libc, "syncfs") and hasattr(_libc, "sync_file_range")
    if not (known and _is_telling(os.uname().release) and is_local(folder)):
        return None

    return lambda: _must(_libc.syncfs(folder))


def start_writing(file: int) -> None:
    """Let the kernel begin to write an open file to its disk, so that the barrier has little left to wait for.

    Nothing is waited for, and a fault is not told here but at the barrier. Of a folder nothing is begun.
    """
    if hasattr(_libc, "sync_file_range"):
        _libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def check_written(file: int) -> None:
    """Raise OSError where the kernel could not write an open file to its disk. After a barrier that is known at once.

    The barrier itself tells of such a fault only once, maybe to others, whose fault it is not.
    """
    _must(_libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WAIT_BEFORE))


def _must(answer: int) -> None:
    if answer != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _is_telling(release: str) -> bool:
    return tuple(map(int, re.findall("[0-9]+", release)[:2])) >= _TELLING


def is_local(folder: int) -> bool:
    """Tell if an open folder lies on a local disk, of a file system that is known here."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(folder, found) != 0:
        return False
    return ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF in _LOCAL  # its first field is the type
