"""What a target of messages is, whoever it is: it words what happened, and is sent that.

`notify` has the one for people, `hooks` the one for programs, `telling` drives both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from syncd.config.telling import Told
from syncd.journal.happenings import Happening
from syncd.journal.outbox import Message


@dataclass(frozen=True, slots=True)
class Setback:
    """A message that did not arrive. `after` is the receiver's own wish, in seconds; `final`: it will never take it."""

    reason: str
    after: float | None = None
    final: bool = False


class Target(Protocol):
    """One table `[[notify]]` or `[[hooks]]`, ready for use. Two are equal if nothing about them differs."""

    @property
    def table(self) -> Told:
        """The table."""

    def compose(self, happened: Sequence[Happening]) -> tuple[str, str]:
        """Word a message: its title, and its body."""

    async def send(self, message: Message) -> Setback | None:
        """Send a message once; says what went wrong, if something did. It may arrive all the same."""


def public(base: str, happening: Happening) -> str | None:
    """The URL under which a happening's path is served, None where it has none."""
    path = happening.detail.get("path")
    if not base or not path:
        return None
    return f"{base}/{quote(path)}{'/' if happening.detail.get('folder') else ''}"
