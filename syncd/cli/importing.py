"""`import`: what was missed while nobody listened, asked of the platform by its id.

An answer goes into the journal as a delivery of its own, marked as imported, and from there
the way of any other: filters, names, newer wins, retries. Nothing lists what there is to
ask for, so the ids come from people or from their own records.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import orjson
import typer

from syncd.cli.asking import state
from syncd.cli.platform import session
from syncd.cli.show import complain, document, say
from syncd.cli.where import ConfigOption, config_path
from syncd.cli.writing import JsonOption
from syncd.config import load
from syncd.journal import imports
from syncd.journal.orders import order
from syncd.model import Arrival, Malformed, Unknown
from syncd.sources import abyssale

if TYPE_CHECKING:
    from syncd.sources.abyssale_session import AbyssaleSession, Answer

Kind = Literal["banner", "generation request"]

_EVENTS: dict[Kind, str] = {"banner": abyssale.BANNER, "generation request": abyssale.BATCH}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_MOST = 100_000
_LINE, _SHOWN = 1000, 80  # characters
_PENDING, _NOT_FOUND = 202, 404
_REASONS = {
    _NOT_FOUND: "the platform knows no {} of this id",
    410: "the platform has forgotten this generation request: it keeps them for 7 days",
    401: "the platform does not take the API key (HTTP 401): look at sources.abyssale.api_key",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one id. `files` is how many its delivery announces."""

    id: str
    outcome: Literal["stored", "known", "pending", "failed"]
    kind: Kind | None = None
    delivery: str | None = None
    files: int = 0
    reason: str | None = None

    def __str__(self) -> str:
        """Read as one line."""
        if self.delivery is None:
            return f"{self.id}: {self.reason}"
        how = "stored as" if self.outcome == "stored" else "here already by"
        return f"{self.id}: {self.kind}, {self.files} file{'' if self.files == 1 else 's'}, {how} {self.delivery}"


def import_(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID...", show_default=False, help="Of banners or generation requests; - reads stdin."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Read ids from it, one a line.")
    ] = None,
    config: ConfigOption = None,
    *,
    banner: Annotated[bool, typer.Option("--banner", help="They are all banners'.")] = False,
    request: Annotated[bool, typer.Option("--request", help="They are all generation requests'.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch what was missed, by the ids of banners or generation requests, over the platform's API."""
    if banner and request:
        raise typer.BadParameter("--banner and --request exclude each other; without them both are tried")
    wanted = _ids(ids or [], file)
    kinds: tuple[Kind, ...] = ("banner",) if banner else ("generation request",) if request else tuple(_EVENTS)
    path = config_path(config)
    platform, journal = session(load(path), "`syncd import`"), state(path).journal
    with order(journal):
        pass  # a journal that can't be written is better known before the platform is asked
    results: list[Result] = []
    try:
        asyncio.run(_import(platform, wanted, kinds, journal, results, quiet=as_json))
    finally:
        if len(results) < len(wanted):
            complain(f"stopped after {len(results)} of {len(wanted)} ids; what is stored stays")
        if as_json:
            document({"imported": [asdict(result) for result in results]})
    if any(result.outcome in ("pending", "failed") for result in results):
        raise typer.Exit(1)


def _ids(given: list[str], file: Path | None) -> list[str]:
    """Put the ids together, each once. Empty lines and what follows a # are passed over."""
    lines = [line for name in given for line in (_lines(sys.stdin) if name == "-" else [name])]
    if file is not None:
        with file.open(encoding="utf-8", errors="replace") as opened:
            lines += _lines(opened)
    found = list(dict.fromkeys(filter(None, (line.partition("#")[0].strip() for line in lines))))
    if not found:
        raise typer.BadParameter("no id was given", param_hint="ID...")
    for name in found:
        if not _ID.fullmatch(name):
            raise typer.BadParameter(f"{name[:_SHOWN]!a} is not an id", param_hint="ID...")
    return found


def _lines(source: TextIO) -> list[str]:
    lines = list(islice(iter(lambda: source.readline(_LINE), ""), _MOST + 1))
    if len(lines) > _MOST:
        raise typer.BadParameter(f"more than {_MOST} ids at once", param_hint="ID...")
    return lines


async def _import(
    platform: AbyssaleSession,
    wanted: list[str],
    kinds: tuple[Kind, ...],
    journal: Path,
    results: list[Result],
    *,
    quiet: bool,
) -> None:
    """Ask for one after the other, and store each answer before the next question."""
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.progress import Progress  # noqa: PLC0415 - same

    drawn = sys.stderr.isatty() and (quiet or not sys.stdout.isatty())  # else the lines themselves are the progress
    hopeless = ""
    with Progress(console=Console(stderr=True), transient=True, disable=not drawn) as progress:
        async with platform:
            for name in progress.track(wanted, description="asking"):
                if hopeless:
                    result = Result(name, "failed", reason=f"not asked: {hopeless}")
                else:
                    result, hopeless = await _import_one(platform, name, kinds, journal)
                results.append(result)
                if not quiet:
                    say(str(result))


async def _import_one(
    platform: AbyssaleSession, name: str, kinds: tuple[Kind, ...], journal: Path
) -> tuple[Result, str]:
    """Ask for one id; returns what became of it, and why no other needs to be asked for, if so."""
    for kind in kinds:
        said = await (platform.banner(name) if kind == "banner" else platform.generation_request(name))
        if said.status != _NOT_FOUND:
            break
    if said.reason:
        reason = _REASONS.get(said.status or 0, said.reason).format(" or ".join(kinds))
        return Result(name, "failed", reason=reason), said.reason if said.hopeless else ""
    return _store(name, kind, said, journal), ""


def _store(name: str, kind: Kind, answer: Answer, journal: Path) -> Result:
    """Make an answer a delivery, unless it has nothing yet, or nothing new."""
    pending = Result(name, "pending", kind, reason="the generation request is not finished: import it again later")
    if answer.status == _PENDING:
        return pending
    event = abyssale.decode(answer.body, _EVENTS[kind])
    if isinstance(event, Unknown | Malformed):
        return Result(name, "failed", kind, reason=f"the API's answer can't be understood: {event.reason}")
    if orjson.loads(answer.body).get("is_finalized") is False:
        return pending
    now = time.time()
    arrival = Arrival(
        source="abyssale",
        platform_id=f"import-{name}-{time.time_ns() // 1_000_000:x}",
        signed_at=None,
        hint=_EVENTS[kind],
        headers=(("Content-Type", "application/json"), ("X-Syncd-Imported", f"{kind} {name}")),
        body=answer.body,
        received_at=now,
    )
    with order(journal) as db:
        receipt = imports.bring_in(db, arrival, event.assets)
    return Result(name, "known" if receipt.duplicate else "stored", kind, receipt.delivery, len(event.assets))
