"""Where published files live: `local` keeps them in a folder tree.

The verbs a store needs are few: take verified temp files in under their keys as one durable
step, write a manifest, remove a file, say if a file is what it should be, and tell how much
room is left. It knows paths and bytes, and nothing of visuals or versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Move:
    """One temp file or folder that becomes visible as `key`.

    Where `keep_as` is given, the file that is at `former` now, or else at `key`, stays
    visible under that.
    """

    temp: Path
    key: str
    keep_as: str | None = None
    former: str | None = None


class Store(Protocol):
    """What the pipeline asks of the place where files are published."""

    def temp(self) -> Path:
        """A fresh path for a temp file or folder, on the file system of the tree."""

    async def publish(self, moves: Sequence[Move]) -> Sequence[str | None]:
        """Make temp files visible, durably; for each None, or why it could not be.

        Raises StoreUnavailable where nothing can be written now.
        """

    async def write(self, files: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Replace small files atomically and durably; for each None, or why it could not be.

        Raises StoreUnavailable where nothing can be written now.
        """

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files; one that is not there is removed already. Raises StoreUnavailable."""

    async def clear(self, folders: Sequence[str]) -> None:
        """Remove folders that hold nothing, and those above them that hold nothing then. Raises StoreUnavailable."""

    async def holds(self, key: str, size: int, sha256: str) -> bool:
        """Tell if exactly this content is visible under `key`. Raises StoreUnavailable."""

    async def free(self) -> int:
        """Bytes that may still be written. Raises StoreUnavailable."""
