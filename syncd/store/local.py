"""The mirror as a folder tree on a local or mounted file system.

Every operation opens the root anew, finds its marker there, and then works relative to that
open folder without following links: an absent mount, a replaced one or a planted symlink ends
the operation before anything is written. One thread does it all, so that operations happen in
the order in which they were asked for; a publication is one barrier for all files that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from syncd.errors import StoreUnavailable
from syncd.owner import sole_owner
from syncd.store import Move

log = logging.getLogger(__name__)

OWN = ".syncd"
MARKER = "root.json"
_HASHED_AT_ONCE = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_ONE_FILES_FAULT = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ})
"""What a single path can be guilty of; every other error is the file system's."""

Result = TypeVar("Result")


class LocalTree:
    """The tree below one root, owned by the journal called `owner`. Attach it before use."""

    def __init__(self, root: Path, owner: str, *, file_mode: int, dir_mode: int) -> None:
        self.root = root
        self.file_mode = file_mode
        self.dir_mode = dir_mode
        self._owner = owner
        self._temps = root / OWN / "tmp"
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._lock = contextlib.ExitStack()
        self._chmod_refused = False
        self._attached = False

    async def attach(self, *, make: bool) -> None:
        """Own the root; with `make`, create it and its marker where this is the first use.

        Leftovers of an earlier process are cleared. Raises StoreUnavailable where the root
        is not the one that this journal knows, InUse where another daemon owns it.
        """
        await self._run(lambda: self._attach(make=make))

    async def close(self) -> None:
        """Give the root up."""
        await self._run(self._lock.close)
        self._thread.shutdown()

    def temp(self) -> Path:
        """A fresh path for a temp file or folder, on the file system of the tree."""
        return self._temps / f"{os.getpid()}-{next(self._numbers)}"

    async def publish(self, moves: Sequence[Move]) -> Sequence[str | None]:
        """Make temp files visible, durably; for each None, or why it could not be."""
        return await self._run(lambda: self._publish(moves))

    async def write(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Replace small files atomically and durably."""
        await self._run(lambda: self._write(files))

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files; one that is not there is removed already."""
        await self._run(lambda: self._remove(keys))

    async def holds(self, key: str, size: int, sha256: str) -> bool:
        """Tell if exactly this content is visible under `key`."""
        return await self._run(lambda: self._holds(key, size, sha256))

    async def free(self) -> int:
        """Bytes that may still be written."""
        return await self._run(self._free)

    async def _run(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            raise StoreUnavailable(f"the mirror {self.root} can't be used: {error.strerror or error}") from error

    def _attach(self, *, make: bool) -> None:
        self._lock.close()
        own = self.root / OWN
        if make:
            if not self.root.exists():
                self.root.mkdir(parents=True)
                self._set_mode(self.root, self.dir_mode)
            if not (own / MARKER).exists():
                own.mkdir(mode=0o700, exist_ok=True)
                self._make_marker(own)
        with self._opened_root():
            pass
        self._lock.enter_context(sole_owner(own / "lock", f"the mirror {self.root}"))
        if not self._attached:  # what lies there is an earlier process's; later it is our own
            shutil.rmtree(self._temps, ignore_errors=True)
            self._attached = True
        self._temps.mkdir(mode=0o700, exist_ok=True)

    def _make_marker(self, own: Path) -> None:
        temp = own / f"{MARKER}.new"
        with temp.open("w") as file:
            json.dump({"journal": self._owner, "what": "syncd writes below the folder that holds this one"}, file)
            file.flush()
            os.fsync(file.fileno())
        temp.rename(own / MARKER)
        for folder in (own, self.root):
            with _folder(str(folder)) as descriptor:
                os.fsync(descriptor)

    @contextlib.contextmanager
    def _opened_root(self) -> Iterator[int]:
        """The root as an open folder, after a look at its marker."""
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StoreUnavailable(
                f"the mirror {self.root} is not there", hint="mount it again, or restore the folder"
            ) from None
        try:
            self._check_marker(root)
            yield root
        finally:
            os.close(root)

    def _check_marker(self, root: int) -> None:
        try:
            with open(f"{OWN}/{MARKER}", "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=root)) as file:
                owner = json.loads(file.read(4096)).get("journal")
        except FileNotFoundError:
            raise StoreUnavailable(
                f"the mirror {self.root} has lost its marker {OWN}/{MARKER}: is the mount absent?",
                hint="mount the file system again; nothing is written until the marker is back",
            ) from None
        except (ValueError, AttributeError):
            owner = None
        if owner != self._owner:
            raise StoreUnavailable(
                f"the mirror {self.root} belongs to another journal (see {OWN}/{MARKER})",
                hint="restore that journal, or give this one an empty mirror.root",
            )

    def _publish(self, moves: Sequence[Move]) -> list[str | None]:
        with self._opened_root() as root, contextlib.ExitStack() as stack:
            for move in moves:
                self._sync_file(move.temp)
            folders = _Folders(self, root, stack)
            answers = [self._move(folders, move) for move in moves]
            folders.sync()
        return answers

    def _sync_file(self, temp: Path) -> None:
        """Bring a temp file to the disk; a folder was synced, file by file, as it was filled."""
        if temp.is_dir():
            return
        descriptor = os.open(temp, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._set_mode(descriptor, self.file_mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _move(self, folders: _Folders, move: Move) -> str | None:
        try:
            folder, name = folders.of(move.key)
            if move.keep_as is not None:
                _keep(folder, name, move.keep_as.rpartition("/")[2], self.temp())
            if move.temp.is_dir() and _exists(folder, name):
                # A crash came between this move and its record. Nothing names the folder yet.
                os.rename(name, self.temp(), src_dir_fd=folder)
            os.rename(move.temp, name, dst_dir_fd=folder)
        except OSError as error:
            if error.errno not in _ONE_FILES_FAULT:
                raise
            return f"{move.key} can't be written: {error.strerror}"
        return None

    def _write(self, files: Sequence[tuple[str, bytes]]) -> None:
        moves = []
        for key, content in files:
            temp = self.temp()
            temp.write_bytes(content)
            moves.append(Move(temp, key))
        faults = [fault for fault in self._publish(moves) if fault is not None]
        if faults:
            raise StoreUnavailable(faults[0])

    def _remove(self, keys: Sequence[str]) -> None:
        with self._opened_root() as root, contextlib.ExitStack() as stack:
            folders = _Folders(self, root, stack)
            for key in keys:
                folder, name = folders.of(key)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            folders.sync()

    def _holds(self, key: str, size: int, sha256: str) -> bool:
        with self._opened_root() as root, contextlib.ExitStack() as stack:
            folder, name = _Folders(self, root, stack).of(key)
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                return False
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                if os.fstat(descriptor).st_size != size:
                    return False
                digest = hashlib.sha256()
                while chunk := file.read(_HASHED_AT_ONCE):
                    digest.update(chunk)
            return digest.hexdigest() == sha256

    def _free(self) -> int:
        with self._opened_root() as root:
            room = os.fstatvfs(root)
        return room.f_bavail * room.f_frsize

    def _set_mode(self, where: int | Path, mode: int) -> None:
        """Apply a mode; shares that know none refuse it, which is said once and then tolerated."""
        try:
            os.chmod(where, mode)  # noqa: PTH101 - an open folder is no path
        except OSError as error:
            if not self._chmod_refused:
                log.warning("the mirror's file system refuses modes", extra={"mode": f"{mode:o}", "error": str(error)})
            self._chmod_refused = True


class _Folders:
    """The folders of one operation, opened once each below the root, made where they are missing."""

    def __init__(self, tree: LocalTree, root: int, stack: contextlib.ExitStack) -> None:
        self._tree = tree
        self._stack = stack
        self._open = {"": root}
        self._changed: set[int] = set()

    def of(self, key: str) -> tuple[int, str]:
        """The open folder that holds `key`, and the key's last part."""
        folder, _, name = key.rpartition("/")
        descriptor = self._enter(folder)
        self._changed.add(descriptor)
        return descriptor, name

    def _enter(self, folder: str) -> int:
        if folder in self._open:
            return self._open[folder]
        parent_path, _, name = folder.rpartition("/")
        parent = self._enter(parent_path)
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            os.mkdir(name, self._tree.dir_mode, dir_fd=parent)
            self._changed.add(parent)
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
            self._tree._set_mode(descriptor, self._tree.dir_mode)  # noqa: SLF001 - two halves of one file
        self._stack.callback(os.close, descriptor)
        self._open[folder] = descriptor
        return descriptor

    def sync(self) -> None:
        """Bring every name that was made, moved or removed to the disk."""
        for descriptor in self._changed:
            os.fsync(descriptor)


@contextlib.contextmanager
def _folder(path: str) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _keep(folder: int, name: str, keep_as: str, temp: Path) -> None:
    """Make the file `name` visible as `keep_as` too, whole at every moment.

    One that is there already is from before a crash; the newer file may have moved since.
    """
    if _exists(folder, keep_as) or not _exists(folder, name):
        return
    try:
        os.link(name, keep_as, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(source, "rb") as old, temp.open("xb") as new:  # a share without hard links
            shutil.copyfileobj(old, new, _HASHED_AT_ONCE)
            new.flush()
            os.fsync(new.fileno())
        os.rename(temp, keep_as, dst_dir_fd=folder)
