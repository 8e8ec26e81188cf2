"""From an asset to its key: the path below the mirror root that it would like to have.

A layout is rendered with the asset's own words, each part is made safe, folders of templates
and formats are reserved so that they keep their first name. Pure: time is an argument, and who
has a name already is asked through `Reserve`, which the journal answers inside its transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from syncd.config.units import layout_fields
from syncd.mirror.portable import (
    PART,
    SHORTEST,
    WHOLE,
    Style,
    candidates,
    clean,
    split_extension,
    suffixed,
)
from syncd.model import Asset, Template

Reserve = Callable[[str, str, Iterable[str]], str]
"""`(scope, owner, candidates)` to the name this owner has in that scope, else the first that is free by
`fold`, which is the owner's from now on. Candidates never end: stop at the first free one."""

_SUFFIXES = len("~") + 64 + len(".v") + len(str(2**53))
"""Bytes that an id of the owner and a version may add to a wanted file name."""

_SHORT_ID = re.compile(r"(?<=.)~[0-9a-f]{8,64}\Z")

_ALIASES = {"jpeg": ("jpeg", "jpg"), "jpg": ("jpeg", "jpg")}


def key_for(
    asset: Asset,
    layout: str,
    style: Style,
    received_at: float,
    reserve: Reserve,
    *,
    sha256: str | None = None,
) -> str | None:
    """Render a layout to the key that a visual wants; None while it needs the content's `sha256` (hex).

    The wish is not reserved: the caller does that with `candidates`, under the visual's identity,
    and there is room left for the ids. `received_at` is in unix seconds.
    """
    fields = _fields(layout)
    if "hash" in fields and sha256 is None:
        return None

    stem, ext = _typed(_filename(asset, style), asset.type)
    wish = _Wish(asset, style, received_at, reserve, sha256, stem, ext)
    values = {field: _WORDS[field](wish) for field in fields}
    *folders, last = [clean(part.format_map(values), style) for part in layout.split("/")]
    name = ".".join(_typed(last, asset.type))
    return _joined(folders, clean(name, style, limit=PART - _SUFFIXES), style)


class _Wish(NamedTuple):
    """What a layout's fields are rendered from."""

    asset: Asset
    style: Style
    received_at: float
    reserve: Reserve
    sha256: str | None
    stem: str
    ext: str

    def folder(self, scope: str, owner: str, text: str) -> str:
        wanted = clean(text, self.style, limit=PART - _SUFFIXES)
        return self.reserve(scope, owner, candidates(wanted, owner, folder=True))

    def named(self, kind: str, thing: Template, within: str = "") -> str:
        scope = f"{kind}:{within}" if within else kind
        return self.folder(scope, thing.id or thing.name, thing.name or thing.id or f"no-{kind}")


def export_key(asset: Asset, layout: str, style: Style, received_at: float) -> str:
    """Render the layout of exports to the folder that an export wants.

    A `_` that the operator put in front of a part stays. An id has no dots in it, so that no
    export's folder is called like the manifest (`NAME.json`) of another.
    """
    values = {"date": _day(received_at), "export_id": asset.id.replace(".", "_")}
    *folders, last = [_kept_underscores(part, values, style) for part in layout.split("/")]
    return _joined(folders, last, style)


def is_per_version(layout: str) -> bool:
    """Tell if each version of a visual gets a key of its own; else all of them share one."""
    return not _fields(layout).isdisjoint({"version", "hash", "id", "date"})


_fields = lru_cache(maxsize=16)(layout_fields)  # every asset is asked for its layout; there are as many as sources


def with_extension(key: str, type_: str) -> str:
    """Give the key that a visual wants whose type has changed: the same stem, the new type's extension."""
    parent, slash, name = key.rpartition("/")
    stem, ext = split_extension(name)
    if ext[1:].lower() in extensions(type_):
        return key
    # The name was made safe in its style already; only syncd's own names could have come about.
    return parent + slash + clean(f"{stem}.{extensions(type_)[0]}", "unicode")


def version_key(key: str, label: str) -> str:
    """Name the place beside `key` where an older version stays: `NAME.vN.EXT` for the label N."""
    return suffixed(key, f".v{label}")


@lru_cache(maxsize=256)
def extensions(type_: str) -> tuple[str, ...]:
    """List the extensions that files of a type may have, the type's own first. Never empty, plain ASCII."""
    word = re.sub("[^a-z0-9]", "", type_.lower())[:16] or "bin"
    return _ALIASES.get(word, (word,))


def _filename(asset: Asset, style: Style) -> str:
    """Find what the platform calls the file: its name, else the end of its URL, else its id."""
    name = clean(asset.filename if asset.filename.strip() else _end_of(asset.url) or asset.id, style)
    if asset.kind == "fallback":  # it bears the name of its zip
        stem, ext = split_extension(name)
        return stem if ext.lower() == ".zip" else name
    return name


def _end_of(url: str) -> str:
    """The last part of a URL's path, empty where there is nothing to see in it."""
    path = re.split("[?#]", url, maxsplit=1)[0].partition("://")[2].partition("/")[2]
    name = unquote(path.rpartition("/")[2])
    return name if name.strip() else ""


@lru_cache(maxsize=256)  # a name is asked for twice
def _typed(name: str, type_: str) -> tuple[str, str]:
    """Split a name into stem and extension; what is no extension of the type belongs to the stem."""
    stem, ext = split_extension(name)
    accepted = extensions(type_)
    return (stem, ext[1:]) if ext[1:].lower() in accepted else (name, accepted[0])


def _kept_underscores(part: str, values: dict[str, str], style: Style) -> str:
    rest = part.lstrip("_")
    front = part[: len(part) - len(rest)]
    return front + clean(rest.format_map(values), style, limit=PART - _SUFFIXES) if rest else front


def _joined(folders: list[str], name: str, style: Style) -> str:
    """Join parts to a path with room for suffixes; where it gets too long, all parts share alike."""
    parts = [*folders, name]
    path = "/".join(parts)
    if len(path.encode()) <= WHOLE - _SUFFIXES:
        return path
    share = max(SHORTEST, (WHOLE - _SUFFIXES + 1) // len(parts) - 1)
    return "/".join(part if part.startswith("_") else _shortened(part, share, style) for part in parts)


def _shortened(part: str, limit: int, style: Style) -> str:
    """Cut a part to `limit` bytes, but not the short id that tells it from another of its name."""
    short_id = _SHORT_ID.search(part)
    suffix = short_id[0] if short_id else ""
    return clean(part.removesuffix(suffix), style, limit=max(SHORTEST, limit - len(suffix))) + suffix


def _length(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.10g}"


def _day(received_at: float) -> str:
    return datetime.fromtimestamp(received_at, UTC).date().isoformat()


# Called only if the layout has the field: a folder that nobody uses is not reserved.
_WORDS: dict[str, Callable[[_Wish], str]] = {
    "template": lambda wish: wish.named("template", wish.asset.template),
    "template_id": lambda wish: wish.asset.template.id or "no-template",
    "project": lambda wish: wish.named("project", wish.asset.project),
    # Every project may have a branch and a file of one name.
    "branch": lambda wish: wish.named("branch", wish.asset.branch, wish.asset.project.id),
    "file": lambda wish: wish.named("file", wish.asset.template, wish.asset.project.id),
    "format": lambda wish: wish.folder("format", wish.asset.format.id, wish.asset.format.id or "multipage"),
    "format_id": lambda wish: wish.asset.format.id or "multipage",
    "width": lambda wish: _length(wish.asset.format.width),
    "height": lambda wish: _length(wish.asset.format.height),
    "type": lambda wish: extensions(wish.asset.type)[0],
    "id": lambda wish: wish.asset.id,
    "sharing_id": lambda wish: wish.asset.sharing_id or wish.asset.id,
    "version": lambda wish: str(wish.asset.version or 0),
    "date": lambda wish: _day(wish.received_at),
    "filename": lambda wish: f"{wish.stem}.{wish.ext}",
    "stem": lambda wish: wish.stem,
    "layer": lambda wish: wish.stem,
    "ext": lambda wish: wish.ext,
    "hash": lambda wish: (wish.sha256 or "")[:8],
}
