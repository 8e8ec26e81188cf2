"""If there is room on the disk for what is about to be written: `mirror.min_free` stays free.

Asked by who writes, before and while it does; how the disk is in general is the pipeline's
business. What others are about to write is not known here, so ask again as it grows.
"""

from __future__ import annotations

import os
from pathlib import Path

from syncd.errors import StoreUnavailable


def check_space(folder: Path, wanted: int, min_free: int) -> None:
    """Raise StoreUnavailable where `wanted` bytes more in `folder` leave less than `min_free`; 0 never does.

    Some network shares report no free space at all, so that 0 means not to look.
    """
    if not min_free:
        return
    try:
        room = os.statvfs(folder)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: {error.strerror or error}") from error
    check_room(room, wanted, min_free)


def check_room(room: os.statvfs_result, wanted: int, min_free: int) -> None:
    """Raise StoreUnavailable where `wanted` bytes more leave less than `min_free` of this room."""
    free = room.f_bavail * room.f_frsize
    if free - wanted < min_free:
        raise StoreUnavailable(
            f"{wanted} bytes more would leave less than mirror.min_free ({min_free} bytes) of the {free} bytes free"
        )
