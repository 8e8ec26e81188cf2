"""Where published files live: `local` keeps them in a folder tree.

The verbs a store needs are few: take verified temp files in under their keys as one durable
step, write a manifest, remove a file, say if a file is what it should be, and tell how much
room is left. It knows paths and bytes, and nothing of visuals or versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Move:
    """One temp file or folder that becomes visible as `key`.

    Where `keep_as` is given, the file that is at `former` now, or else at `key`, stays
    visible under that. Where `bytes` is, the file is an old one, which may be gone or damaged by now.
    """

    temp: Path
    key: str
    keep_as: str | None = None
    former: str | None = None
    bytes: int | None = None
    folder: bool = False


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

    def held(self, row: int) -> Path:
        """Where the held file of an asset lies, given its number."""

    async def all_held(self) -> Mapping[int, int]:
        """The held files that there are: number to bytes. Raises StoreUnavailable."""

    async def set_aside(self, files: Sequence[tuple[str, int]]) -> None:
        """Move files out of sight, durably, each given with its asset's number. Raises StoreUnavailable.

        One that is not there is held already, or lost.
        """

    async def holds(self, key: str, size: int, sha256: str) -> bool:
        """Tell if exactly this content is visible under `key`. Raises StoreUnavailable."""

    async def free(self) -> int:
        """Bytes that may still be written. Raises StoreUnavailable."""
