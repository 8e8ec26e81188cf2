"""The held files: whole and verified, on the file system of the tree, and out of every reader's sight.

Functions over the open root. They lie in one private folder, each under the number of its asset;
why they are held, and until when, is not known here.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence

from syncd.model import HELD, held_key
from syncd.store import Move
from syncd.store.folders import Folders

log = logging.getLogger(__name__)

_NO_FILE = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def set_aside(root: int, files: Sequence[tuple[str, int]], make: Callable[[int, str], int]) -> None:
    """Move files of the tree to the held ones, durably; one that is not there is held already, or lost."""
    with Folders(root) as tree, Folders(root, make) as held:
        for key, row in files:
            into, number = held.of(held_key(row))
            try:
                folder, name = tree.of(key)
                os.rename(name, number, src_dir_fd=folder, dst_dir_fd=into)
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
                log.info("a file that was to be held is not there", extra={"path": key})
        held.sync()  # first this: a power cut may leave a file in both places, never in none
        tree.sync()


def all_held(root: int) -> dict[int, int]:
    """The held files that there are: number to bytes."""
    with Folders(root) as folders:
        try:
            descriptor, _ = folders.of(HELD)
        except FileNotFoundError:
            return {}
        with os.scandir(descriptor) as found:
            return {
                int(entry.name): entry.stat(follow_symlinks=False).st_size for entry in found if entry.name.isdecimal()
            }


def fault_of(move: Move) -> str | None:
    """Say why a file that was held can't be published, if so."""
    if move.bytes is None:
        return None
    try:
        found = move.temp.lstat()
    except FileNotFoundError:
        return "the file that was held is gone"
    whole = stat.S_ISREG(found.st_mode) and found.st_size == move.bytes
    return None if whole else "the file that was held is damaged"
