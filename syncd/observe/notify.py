"""Notifications: what happened, in words for people, by way of Apprise.

Everything that a platform has said is cleaned before it is worded: no control characters, nothing
that a chat takes for markup, a link or a mention. How a message travels is in `courier`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncd import courier
from syncd.config.telling import LINE_FIELDS, Notify
from syncd.config.units import fill
from syncd.journal.happenings import Happening
from syncd.journal.outbox import Message
from syncd.model import rfc3339
from syncd.observe.target import Setback, public
from syncd.observe.text import printable, size

LINES = 10
"""The most that are told one by one; the rest is counted."""
LONGEST = 60.0
"""Seconds after which a message is taken not to have arrived."""

_TOLD_BY_A_PLATFORM = ("status", "by", "branch", "file", "layer", "commits")
_VALUE_LENGTH = 300
_ERRORS = 5
_REASON_LENGTH = 200
_MARKUP = str.maketrans({"<": "(", ">": ")", "`": "'", "|": "/"})

_MENTION = re.compile(r"(?<!\w)@(?=\w)")  # not that of banner@2x.png

_TITLES = {
    "asset.published": "{count} published",
    "asset.removed": "{count} removed",
    "asset.failed": "{count} failed",
    "export.published": "Export published",
    "batch.completed": "Batch completed",
    "template.status": "Template status",
    "config.rejected": "Config rejected",
    "disk.low": "Disk low",
    "disk.usable": "Disk usable again",
    "mirror.lost": "Mirror lost",
    "source.silent": "Source silent",
}
_LINES = {
    "asset.published": "{path} ({size}) {url}",
    "asset.removed": "{path} was removed",
    "asset.failed": "{subject} could not be fetched: {reason} (attempts: {attempts}, delivery {delivery})",
    "export.published": "{path}: {files} files, {size} {url}",
    "batch.completed": "Batch {batch}: {published} published, {failed} failed{errors}",
    "template.status": "{template}: {old_status} -> {status}{folders}",
    "config.rejected": "The config on disk is not in force: {reason}",
    "disk.low": "{reason}",
    "disk.usable": "The {subject} is usable again",
    "mirror.lost": "{reason}",
    "source.silent": "{subject}: {reason}",
}


@dataclass(frozen=True)
class NotifyTarget:
    """One Apprise URL. `public_url` is where the tree is served."""

    table: Notify
    public_url: str

    def compose(self, happened: Sequence[Happening]) -> tuple[str, str]:
        """A title, and a line for each of the first few."""
        lines = [self._line(happening, len(happened)) for happening in happened[:LINES]]
        if (more := len(happened) - LINES) > 0:
            lines.append(f"… and {more} more")
        return self._title(happened), "\n".join(lines)

    def _title(self, happened: Sequence[Happening]) -> str:
        if self.table.title:
            return fill(self.table.title, self._values(happened[0], len(happened))).strip()
        counts = Counter(happening.event for happening in happened)
        return "syncd: " + ", ".join(_headline(event, count, happened[0]) for event, count in counts.items())

    def _line(self, happening: Happening, count: int) -> str:
        template = self.table.text or _LINES.get(happening.event, "{event}: {title}{about}")
        return fill(template, self._values(happening, count)).strip()

    def _values(self, happening: Happening, count: int) -> Mapping[str, str]:
        """Every field of a template as clean text, empty where there is nothing to say."""
        facts = happening.detail
        values = {name: _clean(facts.get(name)) for name in LINE_FIELDS} | {
            "event": happening.event,
            "subject": _clean(happening.subject),
            "title": _clean(facts.get("title") or happening.subject),
            "at": rfc3339(happening.at) or "",
            "url": public(self.public_url, happening) or "",
            "size": size(facts["bytes"]) if "bytes" in facts else "",
            "errors": _errors(facts),
            "folders": _list("made from it: ", facts.get("folders", ())),
            "about": _about(facts),
            "count": str(count),
        }
        return values | {"old_status": values["old_status"] or "new"}

    async def send(self, message: Message) -> Setback | None:
        """Hand a message to Apprise."""
        url = self.table.url.text
        try:
            said = await courier.send(url, message.title, message.body, LONGEST)
        except TimeoutError:
            return Setback(f"not sent within {LONGEST:g}s")
        except OSError as error:
            return Setback(f"Apprise can't be started ({error.strerror})")
        return None if said is None else Setback(_masked(said, url))


def _headline(event: str, count: int, first: Happening) -> str:
    known = _TITLES.get(event)
    if known is None:
        title = _clean(first.detail.get("title") or event)
        return title if count == 1 and first.event == event else f"{event} ({count})"
    if "{count}" in known:
        noun = "file" if count == 1 else "files"
        return known.format(count=f"{count} {noun}")
    return known if count == 1 else f"{known} ({count})"


def _about(facts: Mapping[str, Any]) -> str:
    """What a platform's own event says beside its title."""
    told = [f"{name} {_clean(facts[name])}" for name in _TOLD_BY_A_PLATFORM if facts.get(name)]
    return f" ({', '.join(told)})" if told else ""


def _errors(facts: Mapping[str, Any]) -> str:
    """What went wrong with a batch: what the platform could not make, and what could not be fetched."""
    fetched = (f"{failure['path'] or failure['id']}: {failure['reason']}" for failure in facts.get("failures", ()))
    return _list("", [*facts.get("errors", ()), *fetched])


def _list(before: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    more = [f"… and {len(items) - _ERRORS} more"] if len(items) > _ERRORS else []
    return f"; {before}" + "; ".join([_clean(item) for item in items[:_ERRORS]] + more)


def _clean(value: object) -> str:
    """What was said outside, as plain text."""
    if value is None:
        return ""
    text = printable(str(value))
    text = f"{text[:_VALUE_LENGTH]}…" if len(text) > _VALUE_LENGTH else text
    return _MENTION.sub("@ ", text.translate(_MARKUP))


def _masked(text: str, url: str) -> str:
    """A text without any part of the URL, whose every part may be secret."""
    for part in sorted(filter(None, re.split(r"[/:@?&=,#]+", url.partition("://")[2])), key=len, reverse=True):
        if len(part) > 3:  # noqa: PLR2004 - shorter ones are in every other word
            text = text.replace(part, "***")
    return printable(text)[:_REASON_LENGTH]
