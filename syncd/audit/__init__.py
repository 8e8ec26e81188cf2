"""What is published held against what is there, and put right: verify, repair, prune.

One file a step: `checking` finds what is missing, changed or stray, with `documents` for the
manifests; `repairing` plans and applies, `pruning` lets go of what the rules no longer keep. All
of it works through the journal and beside a running daemon; nothing here moves what is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from syncd.journal.auditing import Named

What = Literal["missing", "changed", "stray"]


@dataclass(frozen=True, slots=True)
class Fetch:
    """To be downloaded again; an export as a whole."""

    named: Named


@dataclass(frozen=True, slots=True)
class Seek:
    """To be downloaded again, which has failed before."""

    asset: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A manifest to be written anew: that of a folder, of an export, or, without either, the index."""

    folder: str | None = None
    export: int | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """Nothing names it: to be moved into the quarantine."""


@dataclass(frozen=True, slots=True)
class ClearUp:
    """What a process that is gone has left: whoever owns the root next clears it up."""


Cure = Fetch | Seek | Rewrite | SetAside | ClearUp


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `path` is below the root."""

    what: What
    path: str
    reason: str
    cure: Cure
