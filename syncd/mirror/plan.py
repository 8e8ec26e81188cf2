"""Which assets of an event are wanted: the source's filters, and in plain words why nothing passed.

Pure, and about wishes only: which version is newer and who has which key is decided elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from syncd.mirror.naming import extensions
from syncd.model import Asset, Event, Template, TemplateStatus, fold


class Filters(Protocol):
    """The part of a source's config that is asked here. Patterns are globs; a leading `!` excludes."""

    @property
    def events(self) -> Sequence[str]: ...  # noqa: D102 - the config documents its keys

    @property
    def templates(self) -> Sequence[str]: ...  # noqa: D102 - the config documents its keys

    @property
    def formats(self) -> Sequence[str]: ...  # noqa: D102 - the config documents its keys

    @property
    def types(self) -> Sequence[str]: ...  # noqa: D102 - the config documents its keys


@dataclass(frozen=True, slots=True)
class Selection:
    """What passes the filters. `ignored` is the reason where they left nothing, else empty.

    An event that announced nothing to begin with (a batch that failed as a whole) is not ignored.
    """

    assets: tuple[Asset, ...] = ()
    status: TemplateStatus | None = None
    ignored: str = ""


def select(event: Event, filters: Filters) -> Selection:
    """Apply a source's filters to an event. The order of assets stays."""
    if event.name not in filters.events:
        return Selection(ignored=f"{event.name} is not among the events of the config")
    stopped = [(asset, _stopped_by(asset, filters)) for asset in event.assets]
    assets = tuple(asset for asset, key in stopped if not key)
    status = event.status if event.status and _passes(filters.templates, *_words(event.status.template)) else None
    if assets or status or not (event.assets or event.status):
        return Selection(assets, status)
    keys = Counter(key for _, key in stopped) if event.assets else Counter({"templates": 1})
    return Selection(ignored="filtered out by " + ", ".join(f"{key} ({n})" for key, n in keys.items()))


def _stopped_by(asset: Asset, filters: Filters) -> str:
    """Name the config key that keeps an asset out; empty if it passes. Exports have nothing to filter by."""
    if asset.kind == "export":
        return ""
    type_ = "zip" if asset.kind == "fallback" else asset.type  # a fallback image goes where its zip goes
    if not _passes(filters.templates, *_words(asset.template)):
        return "templates"
    if not _passes(filters.formats, asset.format.id):
        return "formats"
    return "" if _passes(filters.types, *(extensions(type_) if type_ else ())) else "types"


def _words(template: Template) -> tuple[str, str]:
    return template.id, template.name


def _passes(patterns: Sequence[str], *words: str) -> bool:
    """Match case-insensitively any of the words a thing is known by. Only exclusions mean: all but those."""
    known = tuple(filter(None, words)) or ("",)  # what has no name is met by `*` alone

    def met(pattern: str) -> bool:
        return any(fnmatchcase(fold(word), fold(pattern)) for word in known)

    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return not any(map(met, unwanted)) and (not wanted or any(map(met, wanted)))
