"""The nouns of syncd as frozen values: delivery, event, asset, job and how a job ends.

They carry no behaviour beyond what follows from their own fields, know no platform, no
database and no file system, and are what every other room hands to the next.
Times are unix seconds (UTC) until they are printed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["file", "html5", "fallback", "export"]
"""What an asset is: a plain file, an HTML5 zip, the fallback image of one, or an export's archive."""

AssetState = Literal["pending", "held", "published", "superseded", "failed"]
Outcome = Literal["accepted", "processed", "ignored", "quarantined"]
Lane = Literal["visuals", "exports"]
"""Exports have slots of their own, so that a large one never holds up a banner."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An authentic request that is not stored yet.

    `platform_id` is the platform's own delivery id, where it sent a usable one.
    `signed_at` is the text that was signed together with the body, None where there was none.
    `hint` is the event named by the URL. Headers that carry secrets are masked already. `caught_up`: it was not
    sent but fetched, so that it is news only if its body has never come.
    """

    source: str
    platform_id: str | None
    signed_at: str | None
    hint: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: float
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class Missed:
    """A delivery that the platform could not make, by its own record; `at` is when it tried, if it says so."""

    body: bytes
    at: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the journal says of an arrival: the id it is stored under, and if it was there before."""

    delivery: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """One stored request. `seq` counts up in order of receipt; `replayed_at` is when it was last to be read anew."""

    seq: int
    id: str
    source: str
    hint: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: float
    replayed_at: float | None = None

    @property
    def asked_at(self) -> float:
        """From when on the patience with its assets counts."""
        return self.received_at if self.replayed_at is None else self.replayed_at


@dataclass(frozen=True, slots=True)
class Template:
    """The design a visual was made from. A payload may leave out either field, or both."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """The size variant of a design. Without an id the visual is a multi-page one."""

    id: str = ""
    width: float | None = None
    height: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file that an event announces. `type` is the platform's word for it, in lower case.

    `patient`: it may be announced before it is there, so that a 404 says nothing for good.
    """

    source: str
    kind: Kind
    id: str
    url: str
    type: str = ""
    fallback_url: str = ""
    sharing_id: str = ""
    version: int | None = None
    filename: str = ""
    template: Template = Template()
    format: Format = Format()
    project: Template = Template()
    branch: Template = Template()
    patient: bool = False
    view_url: str = ""
    edit_url: str = ""
    requested_at: float | None = None
    generated_at: float | None = None

    @property
    def identities(self) -> tuple[str, ...]:
        """Every text this visual is known by, the strongest first.

        All versions of a visual share its `sharing_id`; where a payload leaves it out, the
        `id` has to do. An HTML5 visual and its fallback image are two different visuals.
        """
        known = [f"sharing:{self.sharing_id}"] if self.sharing_id else []
        known.append(f"id:{self.id}")
        family = self.kind if self.kind in ("fallback", "export") else "visual"
        return tuple(f"{family}:{self.source}:{name}" for name in known)

    @property
    def lane(self) -> Lane:
        """Where this asset queues."""
        return "exports" if self.kind == "export" else "visuals"


def rank(version: int | None, seq: int) -> tuple[int, int, int]:
    """Sort key of a visual's versions, the newest last.

    A higher version is newer; a versioned one is newer than one without; without versions
    the later receipt (`seq`) is.
    """
    return (0, 0, seq) if version is None else (1, version, 0)


@dataclass(frozen=True, slots=True)
class TemplateStatus:
    """A design's place in the review: APPROVED, IN_REVIEW, ..., an open set."""

    template: Template
    status: str
    updated_at: float | None


@dataclass(frozen=True, slots=True)
class News:
    """What people may be told of an event that needs no more than telling.

    `name` is the event's among all platforms' (`abstract.comment.created`), `subject` the id of what it is about.
    """

    name: str
    subject: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A change in a design of which only the platform's API knows the files. `version` ranks them."""

    id: str
    project: str
    branch: Template
    version: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """What a delivery says.

    `notes` are the platform's own remarks (visuals that it failed to generate); `unclear`
    names the parts that could not be understood, while the rest could. `commits` are still
    to be looked up: what they changed are the event's assets. `batch` is the id of the generation
    that made all of these assets, empty where they are not one's whole result.
    """

    name: str
    assets: tuple[Asset, ...] = ()
    status: TemplateStatus | None = None
    notes: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    news: tuple[News, ...] = ()
    commits: tuple[Commit, ...] = ()
    batch: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An authentic delivery about something that syncd does not mirror."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """An authentic delivery that can't be understood."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """One asset to be fetched and published. `row` is its number in the journal, `visual` that of its visual.

    `attempts` counts requests made so far, `goes` the finished rounds of them.
    `give_up_at` is when the last go begins at the latest.
    `held`: its file is here already, verified, and may be visible now.
    """

    row: int
    visual: int
    asset: Asset
    key: str | None
    delivery: str
    received_at: float
    attempts: int
    goes: int
    give_up_at: float
    held: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified download in a temp file on the mirror's file system.

    `type` is what the content is (`png`, `zip`, ...).
    `attempts` counts the requests of this go, `seconds` the time of the one that worked.
    """

    path: Path
    bytes: int
    sha256: str
    type: str
    url: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Retry:
    """A go that did not work but may work later. `after` is the server's own wish, in seconds from now.

    Without a `reason` nothing went wrong: it is not its turn.

    `parked`: the server is known to be down, so this was no go; the next one is due `after` so long.
    """

    reason: str
    attempts: int
    after: float | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A go that no later one would mend."""

    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of a published export. `path` is relative to the export's folder, empty where the file is the export."""

    path: str
    bytes: int
    sha256: str


class Listed(NamedTuple):
    """One visible file with what its folder's manifest says of it.

    A tuple, for a folder of a hundred files makes a hundred of them whenever one has changed.
    """

    key: str
    id: str
    sharing_id: str
    version: int | None
    kind: Kind
    type: str
    bytes: int
    sha256: str
    template: Template
    format: Format
    source_url: str
    received_at: float
    published_at: float
    view_url: str
    edit_url: str
    delivery: str
    superseded: bool


@dataclass(frozen=True, slots=True)
class FolderContents:
    """What is in a folder, up to `change`; `sequence` is the last that it may have on disk, 0 before the first."""

    folder: str
    change: int
    sequence: int
    listed: tuple[Listed, ...]
    status: TemplateStatus | None


@dataclass(frozen=True, slots=True)
class ExportContents:
    """A published export and its files; `archive_key` is where its archive lies, if it is kept."""

    row: int
    key: str
    asset: Asset
    bytes: int
    sha256: str
    source_url: str
    files: tuple[ExportFile, ...]
    archive_key: str | None
    received_at: float
    published_at: float
    delivery: str

    @property
    def manifest_key(self) -> str:
        """Where its manifest lies: beside it, under its name without an extension."""
        folder, _, name = self.key.rpartition("/")
        return f"{folder}/{name if self.is_folder else name.rpartition('.')[0]}.json"

    @property
    def is_folder(self) -> bool:
        """False where the export is published as one plain file, which is then its only entry."""
        return not any(file.path == "" for file in self.files)

    def path_of(self, file: ExportFile) -> str:
        """A file's path below the root."""
        return f"{self.key}/{file.path}" if file.path else self.key


@dataclass(frozen=True, slots=True)
class FolderLine:
    """A folder as the index names it."""

    folder: str
    template: Template
    format_id: str
    assets: int
    bytes: int
    sequence: int


def rfc3339(seconds: float | None) -> str | None:
    """Render a time as RFC 3339 in UTC with milliseconds, as every manifest and API does."""
    if seconds is None:
        return None
    whole = int(seconds)
    micros = int((seconds - whole) * 1_000_000 + 0.5)
    seconds_up, millis = divmod(micros // 1000, 1000)  # the last half of a microsecond is the next second's
    return _whole_second(whole + seconds_up) + _MILLIS[millis]


_MILLIS = tuple(f".{millis:03}Z" for millis in range(1000))


@lru_cache(maxsize=256)  # what a manifest names has come in bursts
def _whole_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


HELD = ".syncd/held/"
"""Where files lie, below the root, that are fetched and may not be visible yet."""


def held_key(row: int) -> str:
    """Where the file of the asset with this number lies while it is held."""
    return f"{HELD}{row}"


OWN_NAMES = frozenset({"manifest.json", "sha256sums"})
"""What files of syncd's own are called in any folder of the tree, as `fold` gives it."""


def fold(name: str) -> str:
    """Bring a name or path to the form in which names are compared: what any file system merges is equal.

    Upper case comes first because `casefold` alone keeps the dotless i apart from the i that
    case tables of file systems make of it.
    """
    if name.isascii():
        return name.lower()  # the same, and most names are
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).upper().casefold())
