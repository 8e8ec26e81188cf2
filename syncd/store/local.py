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
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import TypeVar

from syncd.barrier import MANY, barrier_of, check_written, make_folder, sync_folder
from syncd.errors import StoreUnavailable
from syncd.model import HELD
from syncd.owner import sole_owner
from syncd.store import Move
from syncd.store.aside import all_held, fault_of, set_aside
from syncd.store.exchange import exchange
from syncd.store.folders import FOLDER, Folders, content_of, exists, opened, remove_empty
from syncd.store.root import MARKER, OWN, TEMPS, opened_root

log = logging.getLogger(__name__)

_PROBE = 4096  # bytes, so that a file system with room for names alone is found out
_COPIED_AT_ONCE = 1 << 20

_ONE_FILES_FAULT = frozenset(
    {
        errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ,
        errno.EXDEV,  # a folder of the tree is a mount of its own: a copy could be seen half done
    }
)  # fmt: skip
"""What a single path can be guilty of; every other error is the file system's."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})

Result = TypeVar("Result")


class LocalTree:
    """The tree below one root, owned by the journal called `owner`. Attach it before use."""

    def __init__(self, root: Path, owner: str, *, file_mode: int, dir_mode: int) -> None:
        self.root = root
        self.file_mode = file_mode
        self.dir_mode = dir_mode
        self._owner = owner
        self._temps = root / TEMPS
        self._held = root / HELD
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

    async def write(self, files: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Replace small files atomically and durably; for each None, or why it could not be."""
        return await self._run(lambda: self._write(files))

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files; one that is not there is removed already."""
        await self._run(lambda: self._remove(keys))

    async def clear(self, folders: Sequence[str]) -> None:
        """Remove folders that hold nothing, and those above them that hold nothing then."""
        await self._run(lambda: self._clear(folders))

    async def holds(self, key: str, size: int, sha256: str) -> bool:
        """Tell if exactly this content is visible under `key`."""
        return await self._run(lambda: self._holds(key, size, sha256))

    def held(self, row: int) -> Path:
        """Where the held file of an asset lies, given its number."""
        return self._held / str(row)

    async def all_held(self) -> Mapping[int, int]:
        """The held files that there are: number to bytes."""
        return await self._run(self._all_held)

    async def set_aside(self, files: Sequence[tuple[str, int]]) -> None:
        """Move files out of sight, durably; one that is not there is held already, or lost."""
        await self._run(lambda: self._set_aside(files))

    async def free(self) -> int:
        """Bytes that may still be written."""
        return await self._run(self._free)

    async def probe(self) -> int:
        """Write something small and remove it again; returns the bytes that may still be written."""
        return await self._run(self._probe)

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
                make_folder(self.root)
                self._set_folder_mode(self.root)
            if not (own / MARKER).exists():
                own.mkdir(mode=0o700, exist_ok=True)
                self._make_marker(own)
        self._check_root()
        self._lock.enter_context(sole_owner(own / "lock", f"the mirror {self.root}"))
        if not self._attached:  # what lies there is an earlier process's; later it is our own
            shutil.rmtree(self._temps, ignore_errors=True)
            self._attached = True
        for folder in (self._temps, self._held):
            folder.mkdir(mode=0o700, exist_ok=True)
            with opened(str(folder)):
                pass  # a link here would take what is downloaded out of the tree

    def _make_marker(self, own: Path) -> None:
        temp = own / f"{MARKER}.new"
        with temp.open("w") as file:
            json.dump({"journal": self._owner, "what": "syncd writes below the folder that holds this one"}, file)
            file.flush()
            os.fsync(file.fileno())
        temp.rename(own / MARKER)
        sync_folder(own)
        sync_folder(self.root)

    def _check_root(self) -> None:
        with self._opened_root():
            pass

    def _opened_root(self) -> AbstractContextManager[int]:
        return opened_root(self.root, self._owner)

    def _publish(self, moves: Sequence[Move]) -> list[str | None]:
        with self._opened_root() as root, Folders(root, self._make_folder) as folders:
            faults = [fault_of(move) for move in moves]
            self._sync_files(
                root,
                [move.temp for move, fault in zip(moves, faults, strict=True) if fault is None and not move.folder],
            )
            answers = [fault or self._move(folders, move) for move, fault in zip(moves, faults, strict=True)]
            folders.sync()
        return answers

    def _sync_files(self, root: int, temps: Sequence[Path]) -> None:
        """Bring temp files to the disk under the mode of the config; a folder was synced as it was filled."""
        barrier = barrier_of(root) if len(temps) >= MANY else None
        if barrier is None:
            for temp in temps:
                self._sync_file(temp)
            return
        for temp in temps:
            with _opened_file(temp) as descriptor:
                self._set_mode(descriptor, self.file_mode)
        barrier()
        for temp in temps:
            with _opened_file(temp) as descriptor:
                check_written(descriptor)

    def _sync_file(self, temp: Path) -> None:
        with _opened_file(temp) as descriptor:
            self._set_mode(descriptor, self.file_mode)
            os.fsync(descriptor)

    def _move(self, folders: Folders, move: Move) -> str | None:
        try:
            if move.keep_as is not None:
                folder, name = folders.of(move.former or move.key)
                self._keep(move.temp, folder, name, move.keep_as.rpartition("/")[2])
            folder, name = folders.of(move.key)
            if move.folder and exists(folder, name):
                self._replace_folder(move.temp, folder, name)
            else:
                os.rename(move.temp, name, dst_dir_fd=folder)
        except OSError as error:
            if error.errno not in _ONE_FILES_FAULT:
                raise
            return f"{move.key} can't be written: {error.strerror}"
        return None

    def _replace_folder(self, temp: Path, folder: int, name: str) -> None:
        """Put a folder where something is, in one step if the file system can, and clear away what was there."""
        former = temp
        if not exchange(temp, folder, name):
            former = self.temp()
            os.rename(name, former, src_dir_fd=folder)
            os.rename(temp, name, dst_dir_fd=folder)
        shutil.rmtree(former, ignore_errors=True)

    def _keep(self, temp: Path, folder: int, name: str, keep_as: str) -> None:
        """Make the file `name`, which `temp` is to replace, visible as `keep_as` too, whole at every moment.

        One that is there already gives way, be it somebody else's, unless `temp` has moved before: it is what was kept
        then, before a crash.
        """
        if not exists(folder, name) or (exists(folder, keep_as) and _has_moved(temp, folder, name)):
            return
        kept = self.temp()
        try:
            self._link(folder, name, kept)
            os.rename(kept, keep_as, dst_dir_fd=folder)
        finally:
            kept.unlink(missing_ok=True)

    def _link(self, folder: int, name: str, temp: Path) -> None:
        """Give a file a second name, or what is in it where that can't be."""
        try:
            os.link(name, temp, src_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            with content_of(folder, name) as old, temp.open("xb") as new:
                shutil.copyfileobj(old, new, _COPIED_AT_ONCE)
            self._sync_file(temp)

    def _write(self, files: Sequence[tuple[str, bytes]]) -> list[str | None]:
        self._check_root()
        moves = [Move(self.temp(), key) for key, _ in files]
        try:
            for move, (_, content) in zip(moves, files, strict=True):
                move.temp.write_bytes(content)
            return self._publish(moves)
        finally:
            for move in moves:
                move.temp.unlink(missing_ok=True)

    def _remove(self, keys: Sequence[str]) -> None:
        with self._opened_root() as root, Folders(root) as folders:
            for key in keys:
                try:
                    folder, name = folders.of(key)
                    os.unlink(name, dir_fd=folder)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno not in _ONE_FILES_FAULT:
                        raise
                    log.warning("something else is where a file was to be removed", extra={"path": key})
            folders.sync()

    def _set_aside(self, files: Sequence[tuple[str, int]]) -> None:
        with self._opened_root() as root:
            set_aside(root, files, self._make_folder)

    def _all_held(self) -> dict[int, int]:
        with self._opened_root() as root:
            return all_held(root)

    def _clear(self, folders: Sequence[str]) -> None:
        with self._opened_root() as root:
            for folder in folders:
                remove_empty(root, folder)

    def _holds(self, key: str, size: int, sha256: str) -> bool:
        with self._opened_root() as root, Folders(root) as folders:
            try:
                folder, name = folders.of(key)
                with content_of(folder, name) as file:
                    found = os.fstat(file.fileno()).st_size == size and _sha256(file) == sha256
            except OSError as error:
                if error.errno not in _ONE_FILES_FAULT | {errno.ENOENT}:
                    raise
                return False
            folders.sync()  # the move may be from a moment before a crash
        return found

    def _free(self) -> int:
        with self._opened_root() as root:
            room = os.fstatvfs(root)
        return room.f_bavail * room.f_frsize

    def _probe(self) -> int:
        free = self._free()  # looks at the marker first
        temp = self.temp()
        try:
            with temp.open("xb") as file:
                file.write(bytes(_PROBE))
                os.fsync(file.fileno())
        finally:
            temp.unlink(missing_ok=True)
        return free

    def _set_mode(self, where: int | Path, mode: int) -> None:
        """Apply a mode; shares that know none refuse it, which is said once and then tolerated."""
        try:
            os.chmod(where, mode)  # noqa: PTH101 - an open folder is no path
        except OSError as error:
            if not self._chmod_refused:
                log.warning("the mirror's file system refuses modes", extra={"mode": f"{mode:o}", "error": str(error)})
            self._chmod_refused = True

    def _make_folder(self, parent: int, name: str) -> int:
        """Make a folder in an open one."""
        os.mkdir(name, self.dir_mode, dir_fd=parent)
        descriptor = os.open(name, FOLDER, dir_fd=parent)
        self._set_folder_mode(descriptor)
        return descriptor

    def _set_folder_mode(self, folder: int | Path) -> None:
        """Give a new folder its mode; what it has from its parent's set-group-id bit stays.

        One that is right already is left alone: where that bit may not be set, it may yet be inherited.
        """
        found = stat.S_IMODE(os.stat(folder).st_mode)  # noqa: PTH116 - an open folder is no path
        wanted = self.dir_mode | found & stat.S_ISGID
        if found != wanted:
            self._set_mode(folder, wanted)


@contextlib.contextmanager
def _opened_file(temp: Path) -> Iterator[int]:
    """A temp file that is no link, open."""
    descriptor = os.open(temp, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _has_moved(temp: Path, folder: int, name: str) -> bool:
    """Tell if what is in `temp` is at `name` already."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_size != temp.stat().st_size:
        return False
    with content_of(folder, name) as there, temp.open("rb", buffering=0) as new:
        return _sha256(there) == _sha256(new)


def _sha256(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
