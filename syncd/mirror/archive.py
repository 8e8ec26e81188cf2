"""From an export's archive to a folder of safe names, whole and on stable storage, or a reason why not.

Every rule about names, limits and special files is checked before the first byte is written, and
nothing outside the given folder is ever touched. A few threads read, check, hash and write, which
Python lets run side by side. How a ZIP file is read is in `unzip`. Blocking: call it in a thread.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from errno import EACCES, ENOSYS, ENOTSUP, EPERM
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock

from syncd.barrier import MANY, barrier_of, start_writing
from syncd.errors import SyncdError
from syncd.mirror.portable import WHOLE, Style, candidates, clean
from syncd.mirror.space import check_space
from syncd.mirror.unzip import LZMA, ArchiveRefused, Entry, Read, read_content, read_directory
from syncd.model import ExportFile, fold

__all__ = ["ArchiveRefused", "ExtractionCancelled", "extract"]

log = logging.getLogger(__name__)

_LONGEST_PATH = WHOLE - 256
"""Bytes of a path inside the archive; the rest is for the export's own folder."""
_SMALL = 16 << 20
_MOST_EXPANSION = 200
"""Above `_SMALL` bytes no honest archive of pictures grows by this factor."""
_DRIVE = re.compile("[A-Za-z]:")
_REFUSED = frozenset({EPERM, EACCES, ENOTSUP, ENOSYS})
_THREADS = min(4, os.cpu_count() or 1)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ExtractionCancelled(SyncdError):
    """The caller wanted it to stop."""


def extract(
    archive: Path,
    into: Path,
    *,
    max_files: int,
    max_expanded: int,
    min_free: int,
    style: Style,
    file_mode: int,
    dir_mode: int,
    cancelled: Callable[[], bool],
) -> list[ExportFile]:
    """Unpack a ZIP archive into `into`, which must not exist yet, and sync all of it to disk.

    Lists the files in order of their paths. Raises ArchiveRefused if the archive is at fault, OSError if
    the disk is, StoreUnavailable where less than `min_free` bytes would stay free, ExtractionCancelled
    soon after `cancelled`, which is asked in any thread, says so; the caller then removes `into`, where
    nothing is written any more. Of several faulty entries it is the archive's first that is told.
    """
    with archive.open("rb") as file:
        entries = read_directory(file, max_files)
        _refuse_bombs(entries, os.fstat(file.fileno()).st_size, max_expanded)
        folders, places = _places(entries, style, max_files)
        check_space(into.parent, sum(entry.size for entry in entries), min_free)
        into.mkdir(mode=0o700)
        folder = os.open(into, _FOLDER)
        try:
            modes = (file_mode, dir_mode) if _modes_hold(into) else (None, None)
            barrier = barrier_of(folder) if len(places) >= MANY else None
            sync = start_writing if barrier else os.fsync
            for name in folders:
                (into / name).mkdir(mode=0o700, exist_ok=True)
            read = partial(os.pread, file.fileno())
            write = partial(_write, read=read, folder=folder, mode=modes[0], sync=sync, cancelled=cancelled)
            files = _write_all(places, write, cancelled)
            for name in (*reversed(folders), "."):
                _finish_folder(folder, name, modes[1], sync)
            if barrier:
                barrier()
        finally:
            os.close(folder)
    return sorted(files, key=lambda one: one.path)


def _refuse_bombs(entries: list[Entry], archive_size: int, max_expanded: int) -> None:
    """Hold the announced sizes against the limits; that they are true is seen while reading."""
    expanded = sum(entry.size for entry in entries)
    if expanded > max_expanded:
        raise ArchiveRefused(f"the archive expands to {expanded} bytes, more than {max_expanded}")
    if expanded > max(_SMALL, _MOST_EXPANSION * archive_size):
        raise ArchiveRefused(f"the archive of {archive_size} bytes expands to {expanded}, as only bombs do")


def _places(entries: list[Entry], style: Style, max_folders: int) -> tuple[list[str], dict[str, Entry]]:
    """Find the folders, parents first, and give every file its safe path, in the archive's order.

    Two entries that are one file to some file system, or a file that is another's folder, refuse the
    archive; names that only cleaning made equal get a short id.
    """
    folders = {"": ""}
    files: dict[str, tuple[str, str, Entry]] = {}
    for entry in entries:
        path = "/".join(_parts(entry))
        if _is_folder(entry):
            _folder(path, style, folders)
        else:
            folded = fold(path)
            if folded in files:
                raise entry.refused(f"is the same file as {files[folded][0][:120]!r}")
            parent, _, name = path.rpartition("/")
            files[folded] = (path, _below(_folder(parent, style, folders), name, style), entry)
        if len(folders) > max_folders + 1:
            raise ArchiveRefused(f"the archive has more than {max_folders} folders")
    if not files:
        raise ArchiveRefused("the archive holds no file")
    for folded, (_, _, entry) in files.items():
        if folded in folders:
            raise entry.refused("is a file and a folder")
    places = _kept_apart(files.values(), folders.values())
    for path in (*folders.values(), *places):
        if len(path.encode()) > _LONGEST_PATH:
            raise ArchiveRefused(f"the archive has a path of more than {_LONGEST_PATH} bytes: {path[:120]!r}")
    return sorted(set(folders.values()) - {""}), places


def _kept_apart(files: Iterable[tuple[str, str, Entry]], folders: Iterable[str]) -> dict[str, Entry]:
    """Give each file the path it wants, or with a short id where another file or a folder has that."""
    taken = set(map(fold, folders))
    places: dict[str, Entry] = {}
    for path, wanted, entry in files:
        place = next(name for name in candidates(wanted, path) if fold(name) not in taken)
        taken.add(fold(place))
        places[place] = entry
    return places


def _parts(entry: Entry) -> list[str]:
    """Split an entry's name where any system would, and refuse what leads elsewhere or is no plain file."""
    path = entry.name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if "\0" in path:
        raise entry.refused("has a NUL in its name")
    if path.startswith("/") or _DRIVE.match(path):
        raise entry.refused("has an absolute path")
    if ".." in path and any(part.strip() == ".." for part in parts):
        raise entry.refused("leads out of the archive's folder")
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise entry.refused("is a link or another special file")
    if _is_folder(entry) and entry.size:
        raise entry.refused("is a folder with content")
    return parts


def _is_folder(entry: Entry) -> bool:
    return entry.name.endswith(("/", "\\")) or stat.S_ISDIR(entry.mode)


def _folder(path: str, style: Style, folders: dict[str, str]) -> str:
    """Give a folder's safe path, and remember it in `folders` by its folded name: its first spelling wins."""
    folded = fold(path)
    if folded not in folders:
        parent, _, name = path.rpartition("/")
        folders[folded] = _below(_folder(parent, style, folders), name, style)
    return folders[folded]


def _below(folder: str, name: str, style: Style) -> str:
    safe = clean(name, style, exported=True)
    return f"{folder}/{safe}" if folder else safe


def _write_all(
    places: Mapping[str, Entry], write: Callable[[str, Entry], ExportFile], cancelled: Callable[[], bool]
) -> list[ExportFile]:
    """Write every entry to its place, in a few threads, all of which have ended at the end.

    They take the entries in the archive's order and end what they took, so that the first fault is always found.
    """
    waiting = iter([(number, path, entry) for number, (path, entry) in enumerate(places.items())])
    files: list[ExportFile] = []
    faults: dict[int, Exception] = {}
    memory = Lock()  # only one at a time looks as far back as LZMA may

    def work() -> None:
        while not faults and not cancelled() and (taken := next(waiting, None)):
            number, path, entry = taken
            try:
                with memory if entry.method == LZMA else nullcontext():
                    files.append(write(path, entry))
            except Exception as fault:  # noqa: BLE001 - raised below
                faults[number] = fault

    threads = min(_THREADS, len(places))
    with ThreadPoolExecutor(threads, "unpack") as pool:
        for _ in range(threads):
            pool.submit(work)
    if faults:
        raise faults[min(faults)]
    if len(files) < len(places):
        raise ExtractionCancelled("the extraction was cancelled")
    return files


def _write(
    path: str,
    entry: Entry,
    *,
    read: Read,
    folder: int,
    mode: int | None,
    sync: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> ExportFile:
    """Write one entry to its path below an open folder, and have it synced."""
    digest = sha256()
    out = os.open(path, _NEW_FILE, 0o666, dir_fd=folder)
    try:
        for piece in read_content(read, entry):
            if cancelled():
                raise ExtractionCancelled("the extraction was cancelled")
            digest.update(piece)
            written = os.write(out, piece)
            while written < len(piece):
                written += os.write(out, memoryview(piece)[written:])
        if mode is not None:
            os.fchmod(out, mode)
        sync(out)
    finally:
        os.close(out)
    return ExportFile(path, entry.size, digest.hexdigest())


def _finish_folder(folder: int, name: str, mode: int | None, sync: Callable[[int], None]) -> None:
    """Give a folder its mode and have its names synced."""
    handle = os.open(name, _FOLDER, dir_fd=folder)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
        sync(handle)
    finally:
        os.close(handle)


def _modes_hold(folder: Path) -> bool:
    """Try if modes can be set here. A NAS may refuse: then it decides itself, and we say so once."""
    try:
        folder.chmod(0o700)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        log.warning("the file system refuses to set modes; it decides them itself", extra={"folder": str(folder)})
        return False
    return True
