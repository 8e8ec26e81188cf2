"""The journal: the durable record of deliveries, assets, keys and what is still to be done.

This file holds the protocol and the values that cross it; `sqlite` is the embedded
implementation. Every verb that changes something returns once the change is on stable
storage, and raises `JournalUnavailable` where it could not be stored, in which case nothing
of it has happened. Naming comes in from outside: the journal only keeps names unique.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from syncd.model import (
    Arrival,
    Asset,
    Delivery,
    ExportContents,
    ExportFile,
    Failed,
    Fetched,
    FolderContents,
    FolderLine,
    Job,
    Lane,
    News,
    Outcome,
    Receipt,
    Retry,
    TemplateStatus,
)

INDEX_ASKED, INDEX_ANSWERED = "index asked for", "index answered"
"""Facts that differ while a command waits for an index that is newer than it."""

Result = TypeVar("Result")

Reserve = Callable[[str, str, Iterable[str]], str]
"""(scope, owner, candidates) → the name this owner has in the scope, else the first free candidate."""


class Naming(Protocol):
    """How assets are called; pure, and built from the config in force."""

    def per_version(self, asset: Asset) -> bool:
        """Tell if each version has a key of its own instead of following its visual."""

    def wanted(self, asset: Asset, received_at: float, reserve: Reserve, sha256: str | None) -> str | None:
        """The key an asset would have if it were alone; None while its content must be known first."""

    def candidates(self, key: str, owner: str, *, folder: bool) -> Iterator[str]:
        """The key itself, then ever longer distinctions of it; those of a folder come at its end."""

    def retyped(self, key: str, asset: Asset) -> str:
        """A visual's key with the extension of this version's type."""

    def versioned(self, key: str, label: str) -> str:
        """The key under which an older version is kept beside the newest."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the journal must know of the config to rank versions, to give up, and to note what somebody wants to know.

    `wanted` are globs on the names of what may happen. Designs `reviewed` by these sources may be visible
    while their status is one of `approved` (in upper case; None: whatever it is). With `whole_batches`,
    the assets of a batch become visible in one step.
    """

    naming: Naming
    keep_versions: int
    give_up_after: float
    wanted: frozenset[str] = frozenset()
    reviewed: frozenset[str] = frozenset()
    approved: frozenset[str] | None = None
    whole_batches: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one delivery once it was read: its outcome so far, and the assets it wants.

    `ask_at` is when the platform is to be asked what it announces; until then it counts as unread.
    """

    delivery: Delivery
    event: str
    outcome: Outcome
    reason: str = ""
    assets: tuple[Asset, ...] = ()
    status: TemplateStatus | None = None
    news: tuple[News, ...] = ()
    batch: str = ""
    notes: tuple[str, ...] = ()
    ask_at: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A delivery of which the platform is to be asked what it announces; `asked` counts how often it was in vain."""

    delivery: Delivery
    ask_at: float
    asked: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A delivery of which nothing waits any more."""

    source: str
    event: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """One job whose file came too late: a newer version is wanted or there already."""

    job: Job
    why: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Leave to publish a fetched file under `key`.

    Where `keep_as` is given, the newest file so far stays visible under that; it is at
    `former` now, or at `key` itself. `closed` is why it may not be visible yet, if so: `key` is
    where it is held then. The `first` file of a visual changes nothing that a manifest says.
    """

    row: int
    key: str
    keep_as: str | None
    superseded: bool
    former: str | None = None
    closed: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """One file that is visible now, or held, for the journal to record."""

    placement: Placement
    job: Job
    fetched: Fetched
    at: float
    key: str
    files: tuple[ExportFile, ...] | None = None
    archive_key: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """One job that waits in the journal until `next_at` for its next go."""

    job: Job
    why: Retry
    next_at: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """One job that ends without a file."""

    job: Job
    why: Failed


Ending = Published | Dropped | Again | GaveUp


@dataclass(frozen=True, slots=True)
class Manifested:
    """A folder manifest that is on disk: what it counted, and up to which change."""

    line: FolderLine
    change: int


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a step of a review came to: files that are to be taken back, and if there is more to review."""

    withdrawn: int
    more: bool


class Holding(Protocol):
    """What the daemon asks of its record of files that are fetched and may not be visible yet, or no more."""

    async def review(self, rules: Rules, limit: int, now: float) -> Reviewed:
        """Hold some of what has to be looked at again against the gates, about `limit` assets."""

    async def opened(self) -> Sequence[tuple[Job, Fetched]]:
        """Held files that may be visible now, newer versions first; of a batch all or none."""

    async def withdrawn(self, limit: int) -> Sequence[tuple[str, int]]:
        """Keys of files to be held that no manifest names any more, each with its asset's number."""

    async def set_aside(self, files: Sequence[tuple[str, int]], rules: Rules, now: float) -> None:
        """Record that these files are held now."""

    async def match(self, there: Mapping[int, int], rules: Rules, now: float) -> Sequence[int]:
        """Have held files fetched again that are not there, number to bytes; names those that nobody claims."""


class Journal(Protocol):
    """What the daemon asks of its durable record."""

    arrived: asyncio.Event
    """Set when a delivery was stored; the one who reads the inbox clears it."""

    @property
    def trouble(self) -> str | None:
        """Why the last transaction failed; None once one that wrote something has succeeded."""

    def misplaced(self) -> str | None:
        """Why nobody would find after a restart what is stored now, None where all is in its place."""

    @property
    def holding(self) -> Holding:
        """The record of held files."""

    puzzled: asyncio.Event
    """Set when there is a question to ask; the one who asks them clears it."""

    def accept(self, arrival: Arrival) -> asyncio.Future[Receipt]:
        """Store a delivery, or find that it is here already."""

    async def inbox(self, limit: int) -> Sequence[Delivery]:
        """Deliveries that nobody has read yet, oldest first."""

    async def decide(self, decisions: Sequence[Decision], rules: Rules, now: float) -> Sequence[Finished]:
        """Record what deliveries say: names, jobs and their new states, in one transaction; says what that finished."""

    async def questions(self, limit: int, held: frozenset[int]) -> Sequence[Question]:
        """Deliveries that wait for the platform's answer and are not `held`, by when it is to be asked."""

    async def claim(self, lane: Lane, limit: int, now: float, held: frozenset[int]) -> Sequence[Job]:
        """Jobs that are due and not `held`, those that wait longest first."""

    async def next_due(self, lane: Lane, after: float) -> float | None:
        """When the next waiting job becomes due, None where there is none."""

    async def set_back(self, now: float, back: float | None) -> None:
        """Let nothing wait for a clock that was ahead, by so many seconds; None: before the start, if it was."""

    async def place(self, fetched: Sequence[tuple[Job, Fetched]], rules: Rules) -> Sequence[Placement | str]:
        """For each fetched file its place in the tree, or why it is no longer wanted.

        At most one file of a visual may be in one call.
        """

    async def interrupted(self) -> Sequence[tuple[Job, Fetched, Placement]]:
        """Placements that a crash left open: their files may have moved or not."""

    async def forget_placing(self) -> None:
        """Answer the open placements that are left: their files never moved."""

    async def settle(self, endings: Sequence[Ending], rules: Rules, now: float) -> Sequence[Finished]:
        """Record how jobs ended, and what that means for their visuals and deliveries; returns the finished."""

    async def stale(self, limit: int) -> tuple[Sequence[FolderContents], Sequence[ExportContents]]:
        """Folders and exports whose manifests are behind what is published."""

    async def use_up_sequences(self) -> None:
        """Pass over the sequence that manifests which are behind may have on disk already, unrecorded."""

    async def rewrite_all(self) -> None:
        """Mark every manifest as behind, for when the way they are written has changed."""

    async def manifested(self, done: Sequence[Manifested], exports: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Record which manifests are on disk, and what the index says of them.

        The files that a folder's manifest no longer names are free for removal from then on.
        """

    async def index(self, use: Callable[[Iterator[FolderLine], Iterator[dict[str, Any]]], Result]) -> Result:
        """What `use` makes of all that the index names, in the journal's thread and as it is read.

        Folders come in order of path, exports in order of publication.
        """

    async def removable(self, limit: int) -> Sequence[str]:
        """Keys of files that no manifest names any more and nobody claims."""

    async def removed(self, keys: Sequence[str], rules: Rules, now: float) -> None:
        """Record that these files are gone."""

    async def emptied(self, limit: int) -> Sequence[tuple[str, int]]:
        """Folders of which no manifest names a file any more, each with the change since which it is so."""

    async def clearing(self, empty: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
        """Record that these folders' manifests are about to go; returns those that nothing is in any more.

        The index names none of them until their manifest is written anew.
        """

    async def cleared(self, empty: Sequence[tuple[str, int]]) -> None:
        """Record that these folders are gone, unless something has come there since; their names stay theirs."""

    async def prune(self, before: float) -> int:
        """Forget some finished deliveries received before, and what they left without a file; 0 when none is left."""

    def stirs(self) -> bool:
        """Tell, at no cost, if anything may have been committed since `disturbed` was asked last."""

    async def disturbed(self) -> bool:
        """Tell if somebody else has committed something since this was asked last, an operator's command."""

    async def standing(self) -> tuple[int, int]:
        """Count what waits, unread deliveries and jobs, and the assets that have failed."""

    async def recall(self, name: str) -> str | None:
        """A fact noted about this installation, such as the id of its mirror root."""

    async def note(self, name: str, value: str) -> None:
        """Keep such a fact."""


def lock_path(path: Path) -> Path:
    """The file that says who owns the journal at `path`."""
    return path.with_name(path.name + ".lock")
