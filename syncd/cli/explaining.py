"""`explain`: where a file of the tree came from, or why it is not there.

What the journal remembers of a path is set beside what is on the disk and in the manifest
there. Nothing is changed, and no link is followed below the root.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.asking import state
from syncd.cli.show import document, plain, say, screen, table
from syncd.cli.where import ConfigOption, below, config_path, reading
from syncd.cli.writing import JsonOption
from syncd.journal.reading import SqliteReader
from syncd.observe.text import size
from syncd.store.folders import Folders, content_of

if TYPE_CHECKING:
    from rich.console import RenderableType

_LARGEST_MANIFEST = 256 << 20

_OWN = {
    "manifest.json": "the manifest of its folder, written by syncd; in the root, the index of all of them",
    "SHA256SUMS": "the checksums of its folder, written by syncd because of manifest.checksums",
}
_STATES = {
    "published": "is published",
    "pending": "is waited for",
    "failed": "could not be fetched, and was given up",
    "held": "is fetched, and held until it may be visible",
    "superseded": "was passed over",
    "removed": "was here once, and is not any more",
    "folder": "is a folder of the mirror",
    "own": "is syncd's own",
    "stray": "is on the disk, and syncd did not put it there",
    "unknown": "is nothing that syncd has heard of",
}
_VERSION = ("version", "id", "state", "published_at", "sha256", "delivery", "path", "reason")
_TABLES = (
    ("deliveries", "Announced by", ("id", "event", "received_at", "replayed_at")),
    ("newer", "Newer versions", _VERSION),
    ("replaced", "What it replaced", _VERSION),
)


def explain(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Below the root, or from here; or an id.", show_default=False)
    ],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Tell which delivery, event, attempts and URL put a file here, and what it replaced; or why there is none."""
    named = config_path(config)
    where = state(named)
    paths = below(where.root, path)
    with reading(named, where) as reader:
        found = _explained(reader, where.root, path, paths)
    if as_json:
        document(found)
    else:
        _draw(found)
    if found["state"] in ("stray", "unknown") or found["as_recorded"] is False:
        raise typer.Exit(1)


# ---- finding it ----


def _explained(reader: SqliteReader, root: Path, text: str, paths: list[str]) -> dict[str, Any]:
    """What is known of the first of these paths that is known, or else of an id, as one JSON value.

    `disk` is what is there now, `as_recorded` if that is what should be, null where nothing can
    tell; `in_manifest` if the manifest on the disk names it.
    """
    known = next(filter(None, (_own(path) or reader.trace(path) for path in paths)), None)
    if known is None and (called := reader.path_of(text)) is not None:
        known = reader.trace(called)
    if known is None:
        path = next((path for path in paths if _on_disk(root, path)), paths[0])
        known = {"path": path, "state": "unknown", "near": reader.near(path)}
    disk = _on_disk(root, known["path"])
    if known["state"] == "unknown" and disk is not None:
        known["state"] = "stray"
    manifest = known.get("manifest")
    return {
        **known,
        "disk": disk,
        "as_recorded": _agrees(known, disk),
        "in_manifest": known["path"] in _named_by(root, manifest) if manifest else None,
    }


def _own(path: str) -> dict[str, Any] | None:
    """What syncd keeps in the tree for itself, told by its name."""
    if path in (".", ".syncd") or path.startswith(".syncd/"):
        what = "the mirror's root" if path == "." else "where syncd keeps its marker and what is not whole yet"
    elif (name := path.rpartition("/")[2]) in _OWN:
        what = _OWN[name]
    else:
        return None
    return {"path": path, "state": "own", "what": what}


def _on_disk(root: Path, path: str) -> dict[str, Any] | None:
    """What is at a path: its kind, and a file's size and hash; None where nothing is, or no root."""
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with Folders(top) as folders:
            folder, name = folders.of(path)
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode):
                return {"kind": "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"}
            with content_of(folder, name) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return {"kind": "file", "bytes": os.fstat(file.fileno()).st_size, "sha256": digest}
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EIO):
            return {"kind": "unreadable", "reason": error.strerror}
        return None
    except ValueError:  # a path with a NUL in it
        return None
    finally:
        os.close(top)


def _agrees(known: dict[str, Any], disk: dict[str, Any] | None) -> bool | None:
    """Tell if the disk is as the journal says; None where it says nothing of it."""
    if known.get("sha256"):
        return disk is not None and (disk.get("bytes"), disk.get("sha256")) == (known["bytes"], known["sha256"])
    if known["state"] == "folder":
        return disk is not None and disk["kind"] == "folder"
    return None


def _named_by(root: Path, manifest: str) -> set[str]:
    """The paths that a manifest on the disk names; none where it can't be read."""
    try:
        with (root / manifest).open("rb") as file:
            said = json.loads(file.read(_LARGEST_MANIFEST))
        return {entry["path"] for entry in said.get("assets") or said["files"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


# ---- saying it ----


def _draw(found: dict[str, Any]) -> None:
    say(f"{found['path']} {_headline(found)}")
    terminal = screen()
    if facts := [(name, value) for name, value in _facts(found) if value not in (None, "")]:
        terminal.print(table(("", ""), facts))
    for part in _histories(found):
        terminal.print(part)
    if found.get("near"):
        say("near it:", *(f"  {path}" for path in found["near"]))


def _headline(found: dict[str, Any]) -> str:
    state = found["state"]
    if state == "pending" and found.get("sha256"):
        return "is published, and is fetched again"
    if state == "superseded" and found.get("sha256"):
        return "is an older version, kept beside the newest"
    if state == "own":
        return f"{_STATES[state]}: {found.get('what', 'the record of an export')}"
    return _STATES[state]


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "on the disk", _disk_line(found)
    if found.get("manifest"):
        yield "manifest", f"{'named' if found['in_manifest'] else 'not named'} by {found['manifest']}"
    if found["state"] == "folder":
        yield "holds", f"{found['files']} files, {size(found['bytes'])}"
    yield "newest", found.get("newest") or ""
    if "id" not in found:
        return
    yield "reason", found["reason"]
    yield "next attempt", found["next_attempt_at"]
    yield "id", found["id"]
    yield "shared by its versions", found["sharing_id"]
    yield "version", found["version"]
    yield "what", found["type"] if found["kind"] == "file" else f"{found['kind']}, {found['type'] or 'unknown type'}"
    yield "template", found["template"]["name"] or found["template"]["id"]
    yield "format", found["format"]["id"]
    if export := found.get("export"):
        yield "export", f"{export['path']}, archive {export['sha256']}"
    yield "URL", found["url"]
    yield "attempts", found["attempts"]
    yield "SHA-256", found["sha256"]
    yield "received", found["received_at"]
    yield "published", found["published_at"]


def _disk_line(found: dict[str, Any]) -> str:
    disk = found["disk"]
    if disk is None:
        return "nothing" if not found.get("sha256") else "missing; `syncd verify --repair` fetches it again"
    what = f"a file, {size(disk['bytes'])}, SHA-256 {disk['sha256']}" if disk["kind"] == "file" else f"a {disk['kind']}"
    if found["as_recorded"] is None:
        return what
    return "as recorded" if found["as_recorded"] else f"not as recorded: {what}"


def _histories(found: dict[str, Any]) -> Iterator[RenderableType]:
    for name, title, columns in _TABLES:
        if rows := found.get(name):
            yield plain("")
            headings = (column.removesuffix("_at") for column in columns)
            yield table(headings, ([row[column] for column in columns] for row in rows), title)
