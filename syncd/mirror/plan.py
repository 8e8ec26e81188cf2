"""Which assets of an event are wanted: the source's filters, and in plain words why nothing passed.

Pure, and about wishes only: which version is newer and who has which key is decided elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

from syncd.mirror.naming import extensions
from syncd.model import Asset, Event, Template, TemplateStatus, fold


class Filters(Protocol):
    """The part of a source's config that is asked here: `events`, and lists of globs, where a leading `!` excludes.

    These are called `projects`, `templates`, `formats` and `types`. One that a source does not have stops nothing.
    """

    @property
    def events(self) -> Sequence[str]: ...  # noqa: D102 - the config documents its keys


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
    told = event.status
    status = told if told and _passes(_globs(filters, "templates"), *_words(told.template)) else None
    if assets or status or not (event.assets or event.status):
        return Selection(assets, status)
    keys = Counter(key for _, key in stopped) if event.assets else Counter({"templates": 1})
    return Selection(ignored="filtered out by " + ", ".join(f"{key} ({n})" for key, n in keys.items()))


def _stopped_by(asset: Asset, filters: Filters) -> str:
    """Name the config key that keeps an asset out; empty if it passes. Exports have nothing to filter by."""
    if asset.kind == "export":
        return ""
    type_ = "zip" if asset.kind == "fallback" else asset.type  # a fallback image goes where its zip goes
    words = {
        "projects": _words(asset.project),
        "templates": _words(asset.template),
        "formats": (asset.format.id,),
        "types": extensions(type_) if type_ else (),
    }
    return next((key for key, known in words.items() if not _passes(_globs(filters, key), *known)), "")


def _globs(filters: Filters, key: str) -> tuple[str, ...]:
    return tuple(getattr(filters, key, ("*",)))


def _words(template: Template) -> tuple[str, str]:
    return template.id, template.name


@lru_cache(maxsize=512)  # a burst has few templates, formats and types
def _passes(patterns: tuple[str, ...], *words: str) -> bool:
    """Match case-insensitively any of the words a thing is known by. Only exclusions mean: all but those."""
    known = tuple(filter(None, words)) or ("",)  # what has no name is met by `*` alone

    def met(pattern: str) -> bool:
        return any(fnmatchcase(fold(word), fold(pattern)) for word in known)

    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return not any(map(met, unwanted)) and (not wanted or any(map(met, wanted)))
