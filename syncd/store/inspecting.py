"""The tree as one who trusts nothing in it sees it: what is at a path, what is in a folder, and out of the way with it.

Functions over the open root that follow no links. They only look, or move things into the
quarantine, where nothing is lost; what should be where is not known here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from syncd.store.folders import FOLDER, Folders, content_of, exists, parent_of
from syncd.store.root import OWN, QUARANTINE, TEMPS

Kind = Literal["file", "folder", "link", "other"]

_READ = 1 << 20
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_LINK = frozenset({errno.ELOOP, errno.EMLINK})
_MODE = 0o700
_NOREUSE = getattr(os, "POSIX_FADV_NOREUSE", None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is at a path. `fault` says in words why it is no file that can be read; else it is empty."""

    bytes: int = 0
    sha256: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; `path` is below the root."""

    path: str
    kind: Kind


def look(root: int, path: str, advance: Callable[[int], None]) -> Seen | None:
    """Read the file at `path` and hash it; None where nothing is. `advance` is told of bytes as they are read."""
    try:
        with parent_of(root, path) as (folder, name), content_of(folder, name) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return Seen(fault="it is no file")
            if _NOREUSE is not None:  # what readers use stays in the page cache
                os.posix_fadvise(file.fileno(), 0, 0, _NOREUSE)
            count, digest = 0, hashlib.sha256()
            buffer = memoryview(bytearray(min(_READ, found.st_size + 1)))
            while read := file.readinto(buffer):
                digest.update(buffer[:read])
                count += read
                advance(read)
            return Seen(count, digest.hexdigest())
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno in _LINK:
            return Seen(fault="it is a link")
        if error.errno == errno.EISDIR:
            return Seen(fault="it is a folder")
        return Seen(fault=f"it can't be read: {error.strerror}")


def text_of(root: int, path: str, limit: int) -> bytes | None:
    """A file as a whole; None where nothing is, empty where it is no file that can be read, or beyond `limit` bytes."""
    try:
        with parent_of(root, path) as (folder, name), content_of(folder, name) as file:
            found = os.fstat(file.fileno())
            return file.readall() if stat.S_ISREG(found.st_mode) and found.st_size <= limit else b""
    except OSError as error:
        return None if error.errno in _GONE else b""


def kind_of(root: int, path: str) -> Kind | None:
    """What is at a path, None where nothing is."""
    found = _found(root, path)
    if found is None:
        return None
    if stat.S_ISLNK(found.st_mode):
        return "link"
    return "folder" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"


def same(root: int, one: str, other: str) -> bool:
    """Tell if two paths lead to one file or folder."""
    first, second = _found(root, one), _found(root, other)
    return first is not None and second is not None and os.path.samestat(first, second)


def _found(root: int, path: str) -> os.stat_result | None:
    try:
        with parent_of(root, path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def entries(root: int, folder: str) -> Iterator[Entry]:
    """Go through what is in a folder, in no order; nothing where there is no such folder. The root is ""."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor, _ = stack.enter_context(parent_of(root, f"{folder}/" if folder else ""))
        except OSError as error:
            if error.errno in _GONE | _LINK:
                return
            raise
        for entry in stack.enter_context(os.scandir(descriptor)):
            kind: Kind = "other"
            if entry.is_symlink():
                kind = "link"
            elif entry.is_dir(follow_symlinks=False):
                kind = "folder"
            elif entry.is_file(follow_symlinks=False):
                kind = "file"
            yield Entry(f"{folder}/{entry.name}" if folder else entry.name, kind)


def set_aside(root: int, path: str, batch: str) -> str | None:
    """Move what is at `path` into the quarantine, durably; returns where it is now, None where nothing was.

    `batch` names the folder there. Raises OSError where it can't be moved.
    """
    kept = f"{QUARANTINE}/{batch}/{path}"
    with Folders(root) as source, Folders(root, _make) as quarantine:
        try:
            folder, name = source.of(path)
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        into, kept_name = quarantine.of(kept)
        while exists(into, kept_name):  # something that was in this folder was set aside before it
            kept, kept_name = f"{kept}~", f"{kept_name}~"
        os.rename(name, kept_name, src_dir_fd=folder, dst_dir_fd=into)
        quarantine.sync()
        source.sync()
    return kept


def _make(parent: int, name: str) -> int:
    os.mkdir(name, _MODE, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that lies in a folder of syncd's own. `since` is when it was changed last, in unix seconds."""

    name: str
    bytes: int
    since: float


def temps(root: int) -> Iterator[Leftover]:
    """Go through the temp files and folders, whosever they are."""
    yield from _leftovers(root, TEMPS)


def quarantined(root: int) -> Iterator[Leftover]:
    """Go through what was set aside, batch by batch."""
    yield from _leftovers(root, QUARANTINE)


def _leftovers(root: int, folder: str) -> Iterator[Leftover]:
    for entry in list(entries(root, folder)):
        with contextlib.suppress(FileNotFoundError), parent_of(root, entry.path) as (descriptor, name):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            yield Leftover(name, _size(root, entry), found.st_mtime)


def _size(root: int, entry: Entry) -> int:
    size, waiting = 0, [entry]
    while waiting:
        one = waiting.pop()
        if one.kind == "folder":
            waiting += entries(root, one.path)
        else:
            found = _found(root, one.path)
            size += found.st_size if found else 0
    return size


def remove_own(root: int, kind: Literal["tmp", "quarantine"], name: str) -> None:
    """Remove one thing from a folder of syncd's own. Raises OSError where that can't be."""
    with Folders(root) as folders:
        folder, _ = folders.of(f"{OWN}/{kind}/")
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            shutil.rmtree(Path(name), dir_fd=folder)
