"""The index of the tree, kept as it is printed (contract: "The manifest").

It names every folder and every export, however few have changed. So what it says is printed once, and the
index is made of the pieces put one behind the other: a piece for some folders that follow each other, as
one for each would weigh twice as much, and one for each export. Until the first change those of the folders are
packed, a tenth of their size. Where lines come from and where the index goes is the pipeline's business.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

import orjson

from syncd.mirror.manifest import INDEX, LAYOUT
from syncd.model import FolderLine, rfc3339

_IN_A_PIECE = 16  # folders: a change reads and prints as many anew
_CUT = b"\0"  # between two of them, as it is in no JSON
_FASTEST = 1
_AT_ONCE = 4096  # bytes that are unpacked
_path = itemgetter("path")


class Index:
    """What the index names by now: `folders` in order of path, and `exports`, `export_line`s, a new one last."""

    def __init__(self, folders: Iterable[FolderLine] = (), exports: Iterable[Mapping[str, Any]] = ()) -> None:
        self._starts: list[str] = []  # the first path of each piece
        self._pieces: list[bytes] = []
        self._packed = b""  # what the pieces are made of, until then
        self._exports: dict[str, orjson.Fragment] = {}
        self._folders = self._assets = self._bytes = 0
        lines, packed = map(_line, folders), list[bytes]()
        packer = zlib.compressobj(_FASTEST, wbits=12, memLevel=5)  # of 40 KB instead of 260
        while some := list(islice(lines, _IN_A_PIECE)):
            packed.append(packer.compress((_CUT if packed else b"") + _printed(some)))
            self._starts.append(_path(some[0]))
            self._count(some, 1)
        if packed:
            self._packed = b"".join((*packed, packer.flush()))
        for export in exports:
            self.name_export(export)

    def name(self, folder: FolderLine) -> None:
        """Name a folder, or say what is so of it now."""
        self._replace(folder.folder, [_line(folder)])

    def drop(self, folder: str) -> None:
        """Name a folder no more."""
        self._replace(folder, [])

    def name_export(self, export: Mapping[str, Any]) -> None:
        """Name an export, or say what is so of it now."""
        self._exports[export["manifest"]] = orjson.Fragment(_printed([export]))

    def printed(self, *, sequence: int, generated_at: float) -> bytes:
        """The index as it is to be written, folders in order of path. `generated_at` is in unix seconds."""
        said = {
            "version": 1,
            "sequence": sequence,
            "generated_at": rfc3339(generated_at),
            "totals": {
                "assets": self._assets,
                "bytes": self._bytes,
                "folders": self._folders,
                "exports": len(self._exports),
            },
            "folders": [orjson.Fragment(piece) for piece in self._pieces or self._in_one_piece()],
            "exports": list(self._exports.values()),
        }
        return orjson.dumps(said, option=LAYOUT)

    def _replace(self, path: str, new: list[dict[str, Any]]) -> None:
        """Let `new`, one line or none, stand for a folder from now on."""
        if self._packed:
            self._pieces, self._packed = zlib.decompress(self._packed).split(_CUT), b""
        at = max(bisect_right(self._starts, path) - 1, 0)
        piece = slice(at, at + 1)  # of nothing, in an index of nothing
        lines = orjson.loads(b"[%b]" % b"".join(self._pieces[piece]))
        where = bisect_left(lines, path, key=_path)
        old = [line for line in lines[where : where + 1] if line["path"] == path]
        lines[where : where + len(old)] = new
        middle = len(lines) // 2 if len(lines) > _IN_A_PIECE else len(lines)
        self._put(piece, [some for some in (lines[:middle], lines[middle:]) if some])
        self._count(old, -1)
        self._count(new, 1)

    def _in_one_piece(self) -> list[bytes]:
        """All that is packed. It grows in place, bit by bit, and leaves no holes that would stay in memory."""
        text, unpacker = bytearray(), zlib.decompressobj()
        for at in range(0, len(self._packed), _AT_ONCE):
            text += unpacker.decompress(self._packed[at : at + _AT_ONCE]).replace(_CUT, b",\n    ")
        return [bytes(text)] if text else []

    def _put(self, at: slice, pieces: list[list[dict[str, Any]]]) -> None:
        self._starts[at] = [_path(lines[0]) for lines in pieces]
        self._pieces[at] = [_printed(lines) for lines in pieces]

    def _count(self, lines: list[dict[str, Any]], sign: int) -> None:
        self._folders += sign * len(lines)
        for line in lines:
            self._assets += sign * line["assets"]
            self._bytes += sign * line["bytes"]


def _line(folder: FolderLine) -> dict[str, Any]:
    return {
        "path": folder.folder,
        "template": folder.template.name or folder.template.id or None,
        "format": folder.format_id or None,
        "assets": folder.assets,
        "bytes": folder.bytes,
        "manifest": f"{folder.folder}/{INDEX}",
        "sequence": folder.sequence,
    }


def _printed(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Lines of a list as it is printed inside the index, without its brackets and what is next to them."""
    # A line break inside a text is not one in JSON.
    return orjson.dumps(lines, option=orjson.OPT_INDENT_2)[len(b"[\n  ") : -len(b"\n]")].replace(b"\n", b"\n  ")
