"""Manifests held against the journal: each parses, and names exactly what is published.

What a look at one says may be out of date when it is said, because the daemon writes them all the
time; who asks looks again before it counts. Only names, sizes and hashes are compared: the rest is
told by the journal alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from syncd.audit import Rewrite, What
from syncd.journal import auditing, awaiting
from syncd.journal.auditing import NamedExport
from syncd.journal.rows import index_of
from syncd.mirror.manifest import CHECKSUMS, INDEX
from syncd.store.inspecting import text_of

_LARGEST = 1 << 30  # bytes

_UNREADABLE = "it does not parse"
_BEHIND = "it is behind what is published"
_OTHERWISE = "it names something else than what is published"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a document.

    `mark` changes when it is written anew, wrong or not; `final`: no daemon at work can be the reason.
    """

    what: What
    reason: str
    mark: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest, or the list of checksums beside it. `judge` looks at it now; None where all is well."""

    path: str
    cure: Rewrite
    judge: Callable[[], Verdict | None]


def of_folder(db: sqlite3.Connection, root: int, folder: str, *, checksums: bool) -> Iterable[Document]:
    """What a folder of visuals has to say of itself."""
    path, cure = f"{folder}/{INDEX}", Rewrite(folder=folder)

    def judge() -> Verdict | None:
        should = auditing.folder_at(db, folder)
        if should is None:
            return None
        content = text_of(root, path, _LARGEST)
        said = _parsed(content)
        mark = _number(said, "sequence")
        if said is not None and mark >= should.sequence and _files(said.get("assets")) == should.files:
            return None
        return _verdict(content, said, mark, behind=should.behind or mark < should.sequence)

    yield Document(path, cure, judge)
    if checksums:
        yield _list_of(root, f"{folder}/{CHECKSUMS}", cure, lambda: _sums_of_folder(db, folder))


def of_export(db: sqlite3.Connection, root: int, export: NamedExport, *, checksums: bool) -> Iterable[Document]:
    """What lies beside an export."""
    path, cure = f"{export.stem}.json", Rewrite(export=export.asset)

    def judge() -> Verdict | None:
        should = auditing.export_of(db, export.asset)
        if should is None:
            return None
        content = text_of(root, path, _LARGEST)
        said = _parsed(content)
        files = frozenset((named.path, named.bytes, named.sha256, False) for named in should.parts())
        if said is not None and _files(said.get("files")) == files:
            return None
        return _verdict(content, said, hash(content), behind=not should.written)

    yield Document(path, cure, judge)
    if checksums:
        yield _list_of(root, f"{export.stem}.{CHECKSUMS}", cure, lambda: _sums_of_export(db, export.asset))


def of_all(db: sqlite3.Connection, root: int) -> Document:
    """The index."""

    def judge() -> Verdict | None:
        of_folders, of_exports = index_of(db)
        folders, exports = list(of_folders), list(of_exports)
        content = text_of(root, INDEX, _LARGEST)
        if content is None and not folders and not exports:
            return None
        said = _parsed(content)
        mark = _number(said, "sequence")
        if said is not None:
            named = {line.folder: (line.assets, line.bytes, line.sequence) for line in folders}
            totals = {
                "assets": sum(line.assets for line in folders),
                "bytes": sum(line.bytes for line in folders),
                "folders": len(folders),
                "exports": len(exports),
            }
            lines = _lines(said.get("folders"), "assets", "bytes", "sequence")
            theirs = _lines(said.get("exports"), "files", "bytes", "sha256")
            if (lines, theirs, said.get("totals")) == (named, _lines(exports, "files", "bytes", "sha256"), totals):
                return None
        return _verdict(content, said, mark, behind=awaiting.unwritten(db))

    return Document(INDEX, Rewrite(), judge)


def _list_of(root: int, path: str, cure: Rewrite, wanted: Callable[[], set[tuple[str, str]] | None]) -> Document:
    def judge() -> Verdict | None:
        should = wanted()
        content = text_of(root, path, _LARGEST)
        if should is None:
            return None
        lines = (content or b"").decode(errors="replace").splitlines()
        if content is not None and {(line[66:], line[:64]) for line in lines} == should:
            return None
        return _verdict(content, {}, hash(content), behind=False)

    return Document(path, cure, judge)


def _sums_of_folder(db: sqlite3.Connection, folder: str) -> set[tuple[str, str]] | None:
    should = auditing.folder_at(db, folder)
    return None if should is None else {(path.rpartition("/")[2], sha256) for path, _, sha256, _ in should.files}


def _sums_of_export(db: sqlite3.Connection, asset: int) -> set[tuple[str, str]] | None:
    should = auditing.export_of(db, asset)
    if should is None:
        return None
    above = len(should.key.rpartition("/")[0]) + 1
    return {(named.path[above:], named.sha256) for named in should.parts()}


def _verdict(content: bytes | None, said: dict[str, Any] | None, mark: int, *, behind: bool) -> Verdict:
    if content is None:
        return Verdict("missing", "it is not there", mark)
    reason = _UNREADABLE if said is None else _BEHIND if behind else _OTHERWISE
    return Verdict("changed", reason, mark, final=said is None)


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    try:
        said = orjson.loads(content or b"")
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


def _number(said: dict[str, Any] | None, name: str) -> int:
    value = said.get(name) if said else None
    return value if isinstance(value, int) else -1


def _files(said: Any) -> frozenset[Any] | None:
    """What a manifest names: path, bytes, SHA-256 and if it is superseded; None where that can't be told."""
    try:
        return frozenset((one["path"], one["bytes"], one["sha256"], one.get("superseded", False)) for one in said)
    except (TypeError, KeyError, AttributeError):
        return None


def _lines(said: Any, *names: str) -> dict[Any, tuple[Any, ...]] | None:
    try:
        return {one["path"]: tuple(one[name] for name in names) for one in said}
    except (TypeError, KeyError, AttributeError):
        return None
