"""One barrier for many files: everything of a file system reaches its disk in one step.

Where hundreds of small files wait, a sync of each costs five times as much, most of it in waiting
for turns. What `syncfs` promises differs between file systems, so that it is asked only of those on
local disks, where it is all that `fsync` does; a share or a FUSE mount may not even pass it on.
"""

from __future__ import annotations

import ctypes
import os

MANY = 16
"""From how many files or folders on one step is the shorter one, also where others have much to write."""

# Magic numbers of statfs(2) and linux/magic.h.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010})
"""ext2 to ext4, XFS, Btrfs, F2FS."""
_STATFS_BYTES = 256  # twice what the kernel writes


def sync_all(folder: int) -> bool:
    """Bring what was written to the file system of an open folder to its disk; False where that can't be relied on.

    Raises OSError where something could not be written, be it a file of somebody else.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not (hasattr(libc, "syncfs") and _is_local(libc, folder)):
        return False
    if libc.syncfs(folder) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return True


def _is_local(libc: ctypes.CDLL, folder: int) -> bool:
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.fstatfs(folder, found) != 0:
        return False
    return ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF in _LOCAL  # its first field is the type
