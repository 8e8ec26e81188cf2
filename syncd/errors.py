"""The one error tree: what failed, on what, and what to do about it.

Expected failures of a job are values (see `model`), not exceptions. What is raised
here either stops a command with a readable message or says that a resource is not
usable right now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class SyncdError(Exception):
    """Something a person can act on. The message is complete; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config. `line` is 1-based; None where no line can be named."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        """Read as `file:line: key: message`, the form that editors can jump to."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)

    def told(self) -> dict[str, str | int | None]:
        """As a status tells it; `key` is None where no key is at fault."""
        return {"message": self.message, "file": self.file, "line": self.line, "key": self.key or None}


class ConfigInvalid(SyncdError):
    """A config that can't be used, with every problem that was found.

    `files` are those whose change may mend it, a secret file that is missing yet among them.
    """

    def __init__(self, problems: Iterable[Problem], *, files: Iterable[Path] = ()) -> None:
        self.problems = tuple(problems)
        self.files = frozenset(files)
        super().__init__("\n".join(map(str, self.problems)))


class InUse(SyncdError):
    """Another daemon owns this journal or this mirror root."""


class JournalUnavailable(SyncdError):
    """The journal could not commit: nothing of what was asked for has happened."""


class StoreUnavailable(SyncdError):
    """The mirror root can't be written now: missing, replaced, read-only, full."""


class Ambiguous(SyncdError):
    """A shortened id that several things begin with; `matches` are the first of them."""

    def __init__(self, prefix: str, matches: Sequence[str], *, more: bool) -> None:
        named = ", ".join(matches) + (", ..." if more else "")
        super().__init__(f"{prefix} is the beginning of several ids: {named}", hint="give more of it")
