"""The root of the tree as an open folder, and the marker that tells it from an empty mount point.

Whoever reads or writes the tree comes in through here, anew for each operation, and works
relative to the open folder from then on.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from syncd.errors import StoreUnavailable
from syncd.store.folders import opened

OWN = ".syncd"
"""The folder that is syncd's own: marker, lock, temp files, quarantine."""
MARKER = "root.json"
TEMPS = OWN + "/tmp"  # noqa: S108 - below the root, not the system's
QUARANTINE = OWN + "/quarantine"


@contextlib.contextmanager
def opened_root(path: Path, owner: str) -> Iterator[int]:
    """The root as an open folder, after a look at its marker.

    Raises StoreUnavailable where it is not there or not that of the journal called `owner`.
    """
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreUnavailable(
            f"the mirror {path} is not there", hint="mount it again, or restore the folder"
        ) from None
    try:
        check_marker(root, path, owner)
        yield root
    finally:
        os.close(root)


def check_marker(root: int, path: Path, owner: str) -> None:
    """Look at the marker of an open root, which is at `path`. Raises StoreUnavailable where it is not the right one."""
    try:
        with (
            opened(OWN, root) as own,
            open(MARKER, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=own)) as file,
        ):
            found = json.loads(file.read(4096)).get("journal")
    except FileNotFoundError:
        raise StoreUnavailable(
            f"the mirror {path} has lost its marker {OWN}/{MARKER}: is the mount absent?",
            hint="mount the file system again; nothing is written until the marker is back",
        ) from None
    except (ValueError, AttributeError, RecursionError):
        found = None
    if found != owner:
        raise StoreUnavailable(
            f"the mirror {path} belongs to another journal (see {OWN}/{MARKER})",
            hint="restore that journal, or give this one an empty mirror.root",
        )
