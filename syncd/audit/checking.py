"""What is published held against what is there: every file hashed, every manifest read, every name looked for.

First what the journal names is looked for in the tree, then what is in the tree in the journal,
page by page and folder by folder, so that memory stays constant. The daemon may be at work all the
while: whatever looks wrong is asked about again, both sides, before it counts.
"""

from __future__ import annotations

import sqlite3
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from syncd.audit import ClearUp, Fetch, Finding, Seek, SetAside, documents
from syncd.audit.documents import Document, Verdict
from syncd.journal import auditing
from syncd.journal.auditing import Named, NamedExport
from syncd.mirror.manifest import CHECKSUMS, INDEX
from syncd.store.inspecting import Entry, Seen, entries, kind_of, look, same, temps
from syncd.store.root import TEMPS

_READERS = 2
_AHEAD = 16  # files that are read while the one before is judged
_LOOKS = 5
_PATIENCE = 5.0  # seconds beyond `delay` that the daemon has for a manifest
_PAUSE = 0.2
_RECORDED = 1.0  # seconds within which a file that has moved is in the journal


@dataclass(slots=True)
class Check:
    """One pass over the tree, or over what lies at or below the paths in `within`, where it is given.

    `runs` tells if a daemon is at work, which has `delay` seconds for its manifests; `advance` is
    told of bytes as they are read. `checked` and `bytes` count the files that are named.
    """

    db: sqlite3.Connection
    root: int
    delay: float
    runs: Callable[[], bool]
    checksums: bool = False
    within: frozenset[str] = frozenset()
    advance: Callable[[int], None] = lambda _: None
    checked: int = 0
    bytes: int = 0
    _stop: bool = field(default=False, init=False)

    def findings(self) -> Iterator[Finding]:
        """Go through all that is not as it should be. Raises JournalUnavailable, and OSError of the tree as a whole."""
        yield from self._lost()
        yield from self._named()
        yield from self._documents()
        yield from self._strays()

    # What is named

    def _lost(self) -> Iterator[Finding]:
        for lost in auditing.lost(self.db):
            if not self._wanted(lost.path):
                continue
            if not lost.waits:
                yield Finding("missing", lost.path, f"it can't be downloaded again: {lost.reason}", Seek(lost.asset))
            # Else it is in hand; one that is put off is of a repair that was cut off, perhaps.
            elif lost.path in self.within or lost.due > time.time() or not self.runs():
                yield Finding("missing", lost.path, "it waits to be downloaded again", Seek(lost.asset))

    def _named(self) -> Iterator[Finding]:
        visuals = (named for named in auditing.visuals(self.db) if self._wanted(named.path))
        parts = (
            named
            for export in auditing.exports(self.db)
            if export.published
            for named in export.named()
            if self._wanted(named.path)
        )
        for some in (visuals, parts):
            for named, seen in self._read(some):
                self.checked += 1
                self.bytes += named.bytes
                if _trouble(named, seen) and (finding := self._confirmed(named)):
                    yield finding

    def _read(self, some: Iterable[Named]) -> Iterator[tuple[Named, Seen | None]]:
        """Hash files in the order given, a few at a time."""
        ahead: deque[tuple[Named, Future[Seen | None]]] = deque()
        with ThreadPoolExecutor(_READERS, thread_name_prefix="hash") as readers:
            try:
                for named in some:
                    ahead.append((named, readers.submit(look, self.root, named.path, self.advance)))
                    if len(ahead) == _AHEAD:
                        first, seen = ahead.popleft()
                        yield first, seen.result()
                while ahead:
                    first, seen = ahead.popleft()
                    yield first, seen.result()
            finally:
                readers.shutdown(cancel_futures=True)

    def _confirmed(self, named: Named) -> Finding | None:
        """Look again at both sides until they agree, or stay as they are and do not."""
        for _ in range(_LOOKS):
            now = auditing.still(self.db, named)
            if now is None:
                return None
            seen = look(self.root, now.path, lambda _: None)
            trouble = _trouble(now, seen)
            if trouble is None or (seen and (seen.bytes, seen.sha256) in auditing.arriving(self.db, now.path)):
                return None
            if auditing.still(self.db, now) == now:
                return Finding("missing" if seen is None else "changed", now.path, trouble, Fetch(now))
            named = now
        return None  # it changes faster than it can be looked at: the daemon has it in hand

    # What names

    def _documents(self) -> Iterator[Finding]:
        """Manifests that are wrong, and stay so while the daemon has the time to write them."""
        suspects: list[tuple[Document, Verdict]] = [
            (document, verdict)
            for document in self._all_documents()
            if self._wanted(document.path) and (verdict := document.judge())
        ]
        until = time.monotonic() + self.delay + _PATIENCE
        while not all(verdict.final for _, verdict in suspects) and self.runs() and time.monotonic() < until:
            time.sleep(_PAUSE)
            # One that was written anew meanwhile is looked after, right or not.
            again = [(document, first, document.judge()) for document, first in suspects]
            suspects = [(document, now) for document, first, now in again if now and now.mark == first.mark]
        for document, verdict in suspects:
            yield Finding(verdict.what, document.path, verdict.reason, document.cure)

    def _all_documents(self) -> Iterator[Document]:
        for folder in auditing.folders(self.db):
            yield from documents.of_folder(self.db, self.root, folder, checksums=self.checksums)
        for export in auditing.exports(self.db):
            yield from documents.of_export(self.db, self.root, export, checksums=self.checksums)
        yield documents.of_all(self.db, self.root)

    # What is there

    def _strays(self) -> Iterator[Finding]:
        suspects = [finding for path in sorted(self.within) or [""] for finding in self._strays_at(path)]
        if suspects and self.runs():
            time.sleep(_RECORDED)
        for finding in suspects:
            if kind_of(self.root, finding.path) and not self._is_named(finding.path):
                yield finding
        if not self.runs():
            for temp in temps(self.root):
                path = f"{TEMPS}/{temp.name}"
                if self._wanted(path):
                    yield Finding("stray", path, "left over by a process that is gone", ClearUp())

    def _strays_at(self, path: str) -> Iterator[Finding]:
        kind = kind_of(self.root, path) if path else "folder"
        if kind is not None and not path.startswith("."):
            found = self._as_given(Entry(path, kind))
            yield from self._strays_below(found.path) if kind == "folder" else self._unnamed(found)

    def _strays_below(self, folder: str) -> Iterator[Finding]:
        waiting = [folder]
        while waiting:  # one is closed before the next is opened: how deep a tree is must not count
            folder = waiting.pop()
            export = auditing.export_at(self.db, folder) if folder else None
            if export is not None and export.key == folder:
                yield from self._strays_in(export)
                continue
            for inside in map(self._as_given, entries(self.root, folder)):
                if inside.kind != "folder":
                    yield from self._unnamed(inside)
                elif not inside.path.rpartition("/")[2].startswith("."):
                    waiting.append(inside.path)

    def _unnamed(self, entry: Entry) -> Iterator[Finding]:
        if not self._is_named(entry.path):
            yield Finding("stray", entry.path, _why_stray(entry), SetAside())

    def _strays_in(self, export: NamedExport) -> Iterator[Finding]:
        known, waiting = {named.path for named in export.parts()}, [export.key]
        while waiting:
            for inside in map(self._as_given, entries(self.root, waiting.pop())):
                if inside.kind == "folder":
                    waiting.append(inside.path)
                elif inside.path not in known and auditing.export_of(self.db, export.asset) == export:
                    yield Finding("stray", inside.path, "it is not part of the export", SetAside())

    def _as_given(self, entry: Entry) -> Entry:
        """An entry under the name that it was given: some shares list names in another normal form than ours."""
        path = unicodedata.normalize("NFC", entry.path)
        return replace(entry, path=path) if path != entry.path and same(self.root, path, entry.path) else entry

    def _is_named(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path == INDEX or auditing.is_visual(self.db, path):
            return True
        if name == INDEX or (name == CHECKSUMS and self.checksums):
            return auditing.keeps_manifest(self.db, folder)
        export = auditing.export_at(self.db, path)
        if export is None:
            return any(
                (above := auditing.export_at(self.db, parent)) and any(path == one.path for one in above.parts())
                for parent in _above(path)
            )
        beside = {f"{export.stem}.json", export.archive.path if export.archive else None}
        if self.checksums:
            beside.add(f"{export.stem}.{CHECKSUMS}")
        return path in beside or (path == export.key and not export.is_folder)

    def _wanted(self, path: str) -> bool:
        return not self.within or path in self.within or any(parent in self.within for parent in _above(path))


def _above(path: str) -> Iterator[str]:
    """The folders above a path, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _trouble(named: Named, seen: Seen | None) -> str | None:
    """What is wrong with a file, None where it is what it should be."""
    if seen is None:
        return "it is not there"
    if seen.fault:
        return seen.fault
    if seen.bytes != named.bytes:
        return f"it has {seen.bytes} bytes instead of {named.bytes}"
    return None if seen.sha256 == named.sha256 else f"its SHA-256 is {seen.sha256} instead of {named.sha256}"


def _why_stray(entry: Entry) -> str:
    return {"link": "a link that nothing names", "other": "no file, and nothing names it"}.get(
        entry.kind, "nothing names it"
    )
