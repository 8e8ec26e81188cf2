"""A reader who never stops looking at a mirror, and remembers every broken promise.

Works from outside, on files alone: whatever is visible must be whole, manifests must parse and
never go back, and what they name must be there. Where nothing is left to do, everything on the
disk must also be named, counted and tidy.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LATEST = 3.0
"""Seconds after which a replaced file must be named: `manifest.delay`, and what a busy test machine is forgiven."""
PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a visible file; bytes, SHA-256 in hex, permissions."""

    bytes: int
    sha256: str
    mode: int


class Truth:
    """Looks at the tree below `root` in a thread of its own; `broken` lists what must never be."""

    def __init__(self, root: Path, *, file_mode: int = 0o644, dir_mode: int = 0o755) -> None:
        self.root = root
        self.broken: list[str] = []
        self.looks = 0
        self.modes = file_mode, dir_mode
        self._served: set[str] = set()
        self._exports: list[Counter[str]] = []
        self._hashed: dict[tuple[int, int, int], str] = {}
        self._sequences: dict[str, int] = {}
        self._folders: dict[str, Any] = {}
        self._late: dict[tuple[str, str], float] = {}
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._away = False

    def serves(self, *contents: bytes) -> None:
        """Allow these contents to be visible, each as a whole file."""
        self._served.update(hashlib.sha256(content).hexdigest() for content in contents)

    def exports(self, members: Iterable[bytes]) -> None:
        """Allow a folder of an export to hold exactly these contents."""
        self._exports.append(Counter(hashlib.sha256(content).hexdigest() for content in members))

    def look_away(self) -> None:
        """Look no more: from here on a test does damage itself."""
        with self._turn:
            self._away = True

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look again and again during the block, whose end fails if any look found something broken."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join)
        assert not self.broken, "\n".join(self.broken)
        assert self.looks

    def _watch(self) -> None:
        while not self._stop.is_set() and not self.broken:
            try:
                with self._turn:
                    if not self._away:
                        self.look()
            except Exception as error:
                self.broken.append(f"the look itself failed: {error!r}")
                raise
            self._stop.wait(PAUSE)

    def look(self) -> None:
        """Follow the manifests to every file they name, then judge every file there is."""
        self.looks += 1
        index = self._json("manifest.json")
        for line in index["folders"] if index else ():
            self._follow_folder(line)
        for line in index["exports"] if index else ():
            self._follow_export(line)
        for path in self._visible():
            self._judge(path)
        self._judge_exports()

    def _follow_folder(self, line: Mapping[str, Any]) -> None:
        manifest = self._json(line["manifest"])
        if manifest is None:
            if line["manifest"] in {again["manifest"] for again in self._json("manifest.json")["folders"]}:
                self._break(f"the index names {line['manifest']}, which is not there")
            return
        if manifest["sequence"] < line["sequence"]:
            self._break(f"{line['manifest']} is older than the index says: {manifest['sequence']} < {line['sequence']}")
        before, self._folders[line["path"]] = self._folders.get(line["path"]), manifest
        if before and before["sequence"] == manifest["sequence"] and before != manifest:
            self._break(f"{line['manifest']} says two things under the sequence {manifest['sequence']}")
        current = [entry for entry in manifest["assets"] if not entry.get("superseded")]
        counted = len(current), sum(entry["bytes"] for entry in current)
        if manifest["sequence"] == line["sequence"] and counted != (line["assets"], line["bytes"]):
            self._break(f"the index counts {line} and {line['manifest']} {counted}")
        for entry in manifest["assets"]:
            self._follow(line["manifest"], manifest["sequence"], entry)

    def _follow(self, where: str, sequence: int, entry: Mapping[str, Any]) -> None:
        """What is named is there, or the manifest has changed meanwhile, or soon names what is there."""
        path, wanted = entry["path"], entry["sha256"]
        seen = self._see(path)
        if seen and (seen.bytes, seen.sha256) == (entry["bytes"], wanted):
            return
        again = self._json(where) or {"sequence": -1, "assets": []}
        if seen is None:
            if again["sequence"] == sequence:
                self._break(f"{where} names {path}, which is not there")
        elif (path, seen.sha256) not in {(one["path"], one["sha256"]) for one in again["assets"]}:
            since = self._late.setdefault((path, seen.sha256), time.monotonic())
            if time.monotonic() - since > LATEST:
                self._break(f"{where} names {wanted} at {path}, where {seen} has been for {LATEST}s")

    def _follow_export(self, line: Mapping[str, Any]) -> None:
        manifest = self._json(line["manifest"])
        if manifest is None:
            self._break(f"the index names {line['manifest']}, which is not there")
            return
        total = sum(file["bytes"] for file in manifest["files"])
        if (len(manifest["files"]), total) != (line["files"], line["bytes"]):
            self._break(f"the index counts {line} and {line['manifest']} otherwise")
        for file in manifest["files"]:
            seen = self._see(file["path"])
            if seen is None or (seen.bytes, seen.sha256) != (file["bytes"], file["sha256"]):
                self._break(f"{line['manifest']} names {file}, but there is {seen}")

    def _judge(self, path: str) -> None:
        """A visible file is a manifest that parses, or one of the contents that were served, readable by all."""
        if is_json(path):
            self._json(path)
            return
        seen = self._see(path)
        if seen is None or path.endswith("SHA256SUMS"):
            return
        if seen.mode != self.modes[0]:
            self._break(f"{path} has the mode {seen.mode:o}")
        if not _is_unpacked(path) and seen.sha256 not in self._served:
            self._break(f"{path} is no whole file that was ever served: {seen}")

    def _judge_exports(self) -> None:
        """A folder below `_exports` is there with all its files or not at all."""
        above = self.root / "_exports"
        for folder in above.iterdir() if above.exists() else ():
            if not folder.is_dir():
                continue
            paths = [str(path.relative_to(self.root)) for path in folder.rglob("*") if path.is_file()]
            content = Counter(seen.sha256 for path in paths if (seen := self._see(path)))
            if content not in self._exports:
                self._break(f"the export {folder.name} is not whole: {sorted(paths)}")

    def untidy(self) -> list[str]:
        """Find what should not be where nothing is left to do; empty where all is named, counted and cleared up."""
        with self._turn:
            return self._untidy()

    def _untidy(self) -> list[str]:
        index = self._json("manifest.json")
        if index is None:
            return [path for path in self._visible() if not is_json(path)]
        found = []
        folders = {line["path"]: self._json(line["manifest"]) or {"assets": []} for line in index["folders"]}
        exports = [self._json(line["manifest"]) or {"files": []} for line in index["exports"]]
        entries = [entry for manifest in folders.values() for entry in manifest["assets"]]
        files = [*entries, *(file for manifest in exports for file in manifest["files"])]
        named = {file["path"]: file["sha256"] for file in files}
        named |= {export["archive"]: export["sha256"] for export in exports if export.get("archive")}
        seen = {path: self._see(path) for path in self._visible() if not is_json(path)}
        there = {path: one.sha256 for path, one in seen.items() if one and not path.endswith("SHA256SUMS")}
        if there != named:
            found.append(f"there and not named, or named and not there: {set(there.items()) ^ set(named.items())}")
        current = [entry for entry in entries if not entry.get("superseded")]
        counted = {
            "assets": len(current),
            "bytes": sum(entry["bytes"] for entry in current),
            "folders": len(folders),
            "exports": len(exports),
        }
        if index["totals"] != counted:
            found.append(f"the index counts {index['totals']}, there are {counted}")
        behind = [line for line in index["folders"] if line["sequence"] != folders[line["path"]].get("sequence")]
        found += [f"the index is behind {line['manifest']}" for line in behind]
        manifests = {f"{path}/manifest.json" for path in folders} | {line["manifest"] for line in index["exports"]}
        there_too = {path for path in self._visible() if is_json(path) and path != "manifest.json"}
        found += [f"a manifest that nobody names: {path}" for path in sorted(there_too - manifests)]
        for folder in self._kept_folders():
            try:
                mode, empty = stat.S_IMODE(folder.stat().st_mode), not any(folder.iterdir())
            except FileNotFoundError:  # it is removed just now
                continue
            if mode != self.modes[1]:
                found.append(f"{folder} has the mode {mode:o}")
            if empty:
                found.append(f"{folder} is empty")
        return found + [f"a temp file: {path}" for path in (self.root / ".syncd" / "tmp").iterdir()]

    def _kept_folders(self) -> Iterable[Path]:
        """All folders that a reader sees; one may be gone by the time that it is looked at."""
        for folder, folders, _ in os.walk(self.root):
            folders[:] = [name for name in folders if name != ".syncd"]
            yield from (Path(folder, name) for name in folders)

    def _visible(self) -> Iterable[str]:
        """Paths of all files that a reader sees, dot-folders aside."""
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.root)  # noqa: PTH118 - fast, and often

    def _see(self, path: str) -> Seen | None:
        """Open a file as any reader would; None where there is none."""
        try:
            with (self.root / path).open("rb") as file:
                found = os.fstat(file.fileno())
                known = found.st_ino, found.st_mtime_ns, found.st_size
                if known not in self._hashed:
                    self._hashed[known] = hashlib.file_digest(file, "sha256").hexdigest()
                return Seen(found.st_size, self._hashed[known], stat.S_IMODE(found.st_mode))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _json(self, path: str) -> Any:
        """Read a manifest, which must parse and never go back; None where there is none, or it is broken."""
        try:
            content = (self.root / path).read_bytes()
        except FileNotFoundError:
            if path == "manifest.json" and path in self._sequences:
                self._break(f"{path} has gone")
            return None
        try:
            said = json.loads(content)
        except ValueError as error:
            self._break(f"{path} does not parse: {error}")
            return None
        sequence = said.get("sequence", 0)
        if sequence < self._sequences.get(path, 0):
            self._break(f"{path} went back from {self._sequences[path]} to {sequence}")
        self._sequences[path] = sequence
        return said

    def _break(self, what: str) -> None:
        self.broken.append(what)


def _is_unpacked(path: str) -> bool:
    return path.startswith("_exports/") and path.count("/") > 1


def is_json(path: str) -> bool:
    """Tell a manifest by its place: the index, a folder's, or beside an export."""
    return path.endswith("/manifest.json") or path == "manifest.json" or (
        path.startswith("_exports/") and path.endswith(".json") and not _is_unpacked(path)
    )  # fmt: skip
