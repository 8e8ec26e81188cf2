"""Two names change places in one step: Linux can, Python's `os` can't say it.

So a folder is replaced as a file is, with no moment at which a reader finds neither. Where the
C library or the file system (NFS, SMB) doesn't have it, the caller is told and does without.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# From linux/fcntl.h and linux/fs.h: a path that is relative to no folder, and the wish.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANT = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(path: Path, folder: int, name: str) -> bool:
    """Swap what is at `path` and `name` in an open folder; False where that can't be done. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(path), folder, os.fsencode(name), _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in _CANT:
        return False
    raise OSError(error, os.strerror(error))
