"""Ways below an open folder that no link can lead astray.

Everything is named relative to a folder that is open already and opened without following
links, so that what was checked is what is used. Nothing here knows what lies in the folders.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Self

from syncd.barrier import MANY, sync_all

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_AT_ONCE = 100
"""Folders that one operation keeps open, well below the 1024 descriptors that a process usually has."""


class Folders:
    """The folders of one operation below `root`, which the caller keeps open.

    Missing ones are made with `make` (given the open parent and a name, it returns the new
    folder, open); without it they are a FileNotFoundError.
    """

    def __init__(self, root: int, make: Callable[[int, str], int] | None = None) -> None:
        self._root = root
        self._make = make
        self._open: dict[str, int] = {}
        self._changed: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def of(self, key: str) -> tuple[int, str]:
        """The open folder that holds `key`, good until the next call, and the key's last part."""
        if len(self._open) >= _AT_ONCE:
            self.sync()
            self._close()
        folder, _, name = key.rpartition("/")
        descriptor = self._enter(folder)
        self._changed.add(descriptor)
        return descriptor, name

    def _enter(self, folder: str) -> int:
        if not folder:
            return self._root
        if folder in self._open:
            return self._open[folder]
        above, _, name = folder.rpartition("/")
        parent = self._enter(above)
        try:
            descriptor = os.open(name, FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if self._make is None:
                raise
            descriptor = self._make(parent, name)
            self._changed.add(parent)
        self._open[folder] = descriptor
        return descriptor

    def sync(self) -> None:
        """Bring every name that was made, moved or removed to the disk."""
        if len(self._changed) < MANY or not sync_all(self._root):
            for descriptor in self._changed:
                os.fsync(descriptor)
        self._changed.clear()

    def _close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


@contextlib.contextmanager
def parent_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The open folder that holds `path`, which is below an open one, and the path's last part.

    The folders on the way there are closed again: how deep it lies must not count.
    """
    *above, name = path.split("/")
    descriptor = os.open(".", FOLDER, dir_fd=root)
    try:
        for part in above:
            inside = os.open(part, FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inside
        yield descriptor, name
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(path: str, within: int | None = None) -> Iterator[int]:
    """A folder that is no link, open."""
    descriptor = os.open(path, FOLDER, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def content_of(folder: int, name: str) -> FileIO:
    """A file of an open folder, to be read and closed."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(name, "rb", buffering=0, opener=lambda path, _: os.open(path, flags, dir_fd=folder))


def exists(folder: int, name: str) -> bool:
    """Tell if anything has this name in an open folder."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_empty(root: int, folder: str) -> list[str]:
    """Remove a folder that holds nothing, and those above it that hold nothing then; returns which.

    One that holds something, is not there or is none of ours to remove stays as it is.
    """
    removed = []
    with contextlib.suppress(OSError), Folders(root) as folders:
        while folder:
            above, name = folders.of(folder)
            os.rmdir(name, dir_fd=above)
            removed.append(folder)
            folder = folder.rpartition("/")[0]
    return removed
