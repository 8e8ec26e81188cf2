"""The index of the tree, kept as it is printed (contract: "The manifest").

It names every folder and every export, however few have changed. So each line is printed once, when
its folder or export has a new manifest, and the index is what they make when put one behind the
other. Where lines come from and where the index goes is the pipeline's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from syncd.mirror.manifest import INDEX, LAYOUT
from syncd.model import FolderLine, rfc3339

_DEEPER = b"\n" + b" " * 4  # a line stands inside a list inside the index
_NOTHING = orjson.Fragment(b""), 0, 0


class Index:
    """What the index names by now. `exports` are `export_line`s; a new one comes last."""

    def __init__(self, folders: Iterable[FolderLine] = (), exports: Iterable[Mapping[str, Any]] = ()) -> None:
        self._folders: dict[str, tuple[orjson.Fragment, int, int]] = {}
        self._exports: dict[str, orjson.Fragment] = {}
        self._assets = self._bytes = 0
        self._in_order = True
        for folder in folders:
            self.name(folder)
        for export in exports:
            self.name_export(export)

    def name(self, folder: FolderLine) -> None:
        """Name a folder, or say what is so of it now."""
        self._in_order = self._in_order and folder.folder in self._folders
        printed = _printed({
            "path": folder.folder,
            "template": folder.template.name or folder.template.id or None,
            "format": folder.format_id or None,
            "assets": folder.assets,
            "bytes": folder.bytes,
            "manifest": f"{folder.folder}/{INDEX}",
            "sequence": folder.sequence,
        })  # fmt: skip
        _, assets, size = self._folders.get(folder.folder, _NOTHING)
        self._assets += folder.assets - assets
        self._bytes += folder.bytes - size
        self._folders[folder.folder] = printed, folder.assets, folder.bytes

    def drop(self, folder: str) -> None:
        """Name a folder no more."""
        _, assets, size = self._folders.pop(folder, _NOTHING)
        self._assets -= assets
        self._bytes -= size

    def name_export(self, export: Mapping[str, Any]) -> None:
        """Name an export, or say what is so of it now."""
        self._exports[export["manifest"]] = _printed(export)

    def printed(self, *, sequence: int, generated_at: float) -> bytes:
        """The index as it is to be written, folders in order of path. `generated_at` is in unix seconds."""
        if not self._in_order:
            self._folders = dict(sorted(self._folders.items()))
            self._in_order = True
        said = {
            "version": 1,
            "sequence": sequence,
            "generated_at": rfc3339(generated_at),
            "totals": {
                "assets": self._assets,
                "bytes": self._bytes,
                "folders": len(self._folders),
                "exports": len(self._exports),
            },
            "folders": [named[0] for named in self._folders.values()],
            "exports": list(self._exports.values()),
        }
        return orjson.dumps(said, option=LAYOUT)


def _printed(line: Mapping[str, Any]) -> orjson.Fragment:
    # A line break inside a text is not one in JSON.
    return orjson.Fragment(orjson.dumps(line, option=orjson.OPT_INDENT_2).replace(b"\n", _DEEPER))
