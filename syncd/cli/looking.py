"""`status` and `deliveries`: how things are, with a running daemon or from its journal alone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd import __version__
from syncd.cli.asking import ask, state
from syncd.cli.show import document, plain, say, screen, table
from syncd.cli.where import ConfigOption, Places, config_path, places, reading
from syncd.config import load
from syncd.errors import ConfigInvalid, SyncdError
from syncd.journal.whereabouts import process
from syncd.model import Outcome
from syncd.observe.status import OUTCOMES
from syncd.observe.status import status as whole_status
from syncd.observe.text import size, span, wrong
from syncd.sources.table import SOURCES

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

_WATCH_EVERY = 1.0  # seconds
_AT_REST = "not running"
_FAILURES, _DELIVERIES = 10, 10  # lines of one screen

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


# ---- status ----


def status(
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until ^C.")] = False,
) -> None:
    """Show queue, rate, failures, disk, config and last deliveries."""
    if as_json and watch:
        raise typer.BadParameter("--watch draws a screen; it does not go with --json")
    path = config_path(config)
    where = places(path)
    now = _status(path, where)
    if as_json:
        document(now)
    else:
        terminal = screen()
        terminal.print(_drawn(path, where, now))
    while watch:
        time.sleep(_WATCH_EVERY)
        drawn = _drawn(path, where, _status(path, where))
        terminal.clear()  # does nothing where there is no terminal
        terminal.print(drawn)
    if now["started_at"] is None and now["reasons"] != [_AT_REST]:
        raise typer.Exit(1)


def _status(path: Path, where: Places) -> dict[str, Any]:
    """Ask the daemon; without one, read its journal."""
    said: dict[str, Any] | None = ask(where.admin, "/api/status")
    return _status_at_rest(path, where) if said is None else said


def _status_at_rest(path: Path, where: Places) -> dict[str, Any]:
    live = {
        "version": __version__,
        "started_at": None,
        "config": {
            "path": os.path.abspath(path),  # noqa: PTH100 - symlinks are kept
            "generation": 0,
            "loaded_at": None,
            "error": _error_in(path),
        },
        "disk": {"mirror_free": _free(where.root), "journal_free": _free(where.journal.parent)},
    }
    pid = process(where.journal)
    reason = _AT_REST if pid is None else f"process {pid} has the journal, but nobody answers at {where.admin}"
    with reading(path, where) as reader:
        return whole_status(
            live, reasons=[reason], deliveries=dict.fromkeys(OUTCOMES, 0), reader=reader, now=time.time()
        )


def _error_in(path: Path) -> dict[str, Any] | None:
    """The first thing that is wrong with a config, as the daemon tells it."""
    try:
        load(path)
    except ConfigInvalid as invalid:
        return invalid.problems[0].told()
    return None


def _free(folder: Path) -> int | None:
    return shutil.disk_usage(folder).free if folder.is_dir() else None


def _drawn(path: Path, where: Places, now: dict[str, Any]) -> Group:
    from rich.console import Group  # noqa: PLC0415 - only where something is drawn

    last = ask(where.admin, f"/api/deliveries?limit={_DELIVERIES}")
    if last is None:
        with reading(path, where) as reader:
            last = {"deliveries": reader.deliveries(limit=_DELIVERIES)}
    return Group(
        *_summary(now), *_failures(now["failures"]), "", _deliveries_table(last["deliveries"], "Last deliveries")
    )


def _summary(now: dict[str, Any]) -> Iterator[RenderableType]:
    if now["ready"]:
        yield plain(f"syncd {now['version']} is ready, up since {now['started_at']}", "green")
        if now["reasons"]:
            yield plain(f"deliveries wait: {'; '.join(now['reasons'])}", "red")
    elif now["started_at"] is None:
        why = "; ".join("syncd does not run" if reason == _AT_REST else reason for reason in now["reasons"])
        yield plain(f"{why}; this is from its journal", "yellow")
    else:
        yield plain(f"syncd {now['version']} is not ready: {'; '.join(now['reasons'])}", "red")
    config = now["config"]
    since = f", generation {config['generation']}, in force since {config['loaded_at']}" if now["started_at"] else ""
    yield plain(f"config {config['path']}{since}")
    if config["error"]:
        how = "in force" if now["started_at"] else "valid"
        yield plain(f"the file on disk is not {how}: {wrong(config['error'])}", "red")
    queue, disk = now["queue"], now["disk"]
    oldest = f", the oldest for {span(queue['oldest_seconds'])}" if queue["depth"] else ""
    rows = [
        ("queue", f"{queue['depth']} waiting{oldest}"),
        ("assets", _numbers(now["assets"])),
        *(_since_the_start(now) if now["started_at"] else ()),
        ("last delivery", now["last_delivery_at"] or "none yet"),
        ("messages", _numbers(now["messages"])),
        ("free space", f"mirror {size(disk['mirror_free'])}, journal {size(disk['journal_free'])}"),
    ]
    yield table(("", ""), rows)


def _since_the_start(now: dict[str, Any]) -> Iterator[tuple[str, str]]:
    up = (datetime.now(UTC) - datetime.fromisoformat(now["started_at"])).total_seconds()
    yield "deliveries", f"{_numbers(now['deliveries'])} (since the start)"
    yield "rate", f"{now['deliveries']['accepted'] * 60 / max(1.0, up):.1f} deliveries a minute (since the start)"


def _numbers(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _failures(failures: list[dict[str, Any]]) -> Iterator[RenderableType]:
    if not failures:
        return
    columns = ("id", "path", "reason", "attempts", "since", "next attempt")
    rows = (
        (row["id"], row["path"], row["reason"], row["attempts"], row["since"], row["next_attempt_at"] or "given up")
        for row in failures[:_FAILURES]
    )
    more = f", the newest {_FAILURES}" if len(failures) > _FAILURES else ""
    yield ""
    yield table(columns, rows, f"Failures ({len(failures)}{more})")


# ---- deliveries ----

deliveries = typer.Typer(help="Show the inbox.", invoke_without_command=True)


def _source(name: str | None) -> str | None:
    if name is not None and name not in SOURCES:
        raise typer.BadParameter(f"must be one of {', '.join(SOURCES)}")
    return name


@deliveries.callback()
def list_deliveries(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 100,
    source: Annotated[str | None, typer.Option(callback=_source, help="Only from this platform.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only those that ended like this.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List what was received, or show one delivery as a whole."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = as_json  # for `show`: it counts wherever it stands
        return
    path = config_path(config)
    with reading(path, state(path)) as reader:
        listed = reader.deliveries(limit=limit, source=source, outcome=outcome)
    if as_json:
        document({"deliveries": listed})
    else:
        screen().print(_deliveries_table(listed))


def _deliveries_table(listed: list[dict[str, Any]], title: str = "") -> RenderableType:
    columns = ("received", "id", "source", "event", "outcome", "assets", "attempts", "reason")
    rows = (
        (one["received_at"], one["id"], one["source"], one["event"], one["outcome"],
         len(one["assets"]), one["attempts"], one["reason"])
        for one in listed
    )  # fmt: skip
    return table(columns, rows, title)


@deliveries.command("show")
def show_delivery(
    ctx: typer.Context,
    delivery: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.", show_default=False)],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one delivery with its headers and its payload."""
    path = config_path(config)
    with reading(path, state(path)) as reader:
        found = reader.delivery(delivery)
    if found is None:
        raise SyncdError(f"no delivery has an id that begins with {delivery}", hint="`syncd deliveries` lists them")
    if as_json or ctx.obj:
        document(found)
        return
    terminal = screen()
    facts = ("id", "source", "event", "received_at", "outcome", "reason", "attempts")
    terminal.print(table(("", ""), ((name.replace("_", " "), found[name]) for name in facts)))
    assets = ((asset["id"], asset["state"], asset["path"], asset["reason"]) for asset in found["assets"])
    terminal.print(table(("id", "state", "path", "reason"), assets, "Assets"))
    terminal.print(table(("", ""), found["headers"].items(), "Headers"))
    terminal.print(plain("Payload"))
    say(*found["payload"].split("\n"))
