"""`retry` and `replay`: try again what failed, and read again what was received.

Both only tell the journal; the daemon does the work, now if it runs, else once it is started.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from syncd.cli.asking import ask, state
from syncd.cli.show import complain, document, say
from syncd.cli.where import ConfigOption, Places, below, config_path, judging, reading
from syncd.cli.writing import JsonOption
from syncd.config import Config
from syncd.config.units import parse_duration
from syncd.errors import SyncdError
from syncd.journal import finding, mending
from syncd.journal.orders import order
from syncd.journal.whereabouts import process

if TYPE_CHECKING:
    from syncd.journal import Decision, Rules
    from syncd.journal.mending import Mended

_AT_ONCE = 500
"""Changes in one transaction: the daemon can't acknowledge anything meanwhile."""

# ---- retry ----


def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID|PATH", show_default=False, help="As `status` shows them; an id may be shortened."),
    ] = None,
    config: ConfigOption = None,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Everything that failed and waits, or was given up.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Try failed assets again now, also those given up, and also where their host is paused."""
    if bool(names) == failed:
        raise typer.BadParameter("name assets by id or path, or say --failed", param_hint="ID")
    path = config_path(config)
    where, rules = state(path), _rules(judging(path))
    given = {name: below(where.root, name) for name in names or ()}
    unknown: list[str] = []
    if failed:
        tried = [_all_failed(where, rules)]
    else:
        tried = []
        with order(where.journal) as db:
            for name, paths in given.items():
                rows = mending.named(db, name, paths)
                tried.append(mending.retry(db, rows, rules, time.time()))
                if not rows:
                    unknown.append(name)
    _say_tried([one for some in tried for one in some], unknown, where, as_json=as_json)
    if not failed and not all(any(one.due for one in some) for some in tried):
        raise typer.Exit(1)


def _all_failed(where: Places, rules: Rules) -> list[Mended]:
    tried: list[Mended] = []
    before = time.time()
    more = True
    while more:
        with order(where.journal) as db:
            rows = mending.failing(db, before, _AT_ONCE)
            tried += mending.retry(db, rows, rules, time.time())
        more = len(rows) == _AT_ONCE
    return tried


def _say_tried(tried: list[Mended], unknown: list[str], where: Places, *, as_json: bool) -> None:
    again, left = [one for one in tried if one.due], [one for one in tried if not one.due]
    for name in unknown:
        complain(f"syncd: no asset has the id or path {name}")
    if unknown:
        complain("hint: `syncd status` names what failed")
    daemon = runs(where)
    if as_json:
        document({"retried": _json(again), "left": _json(left), "unknown": unknown, "running": daemon})
        return
    say(*(f"{_called(one)}: is tried again" for one in again), *(f"{_called(one)}: {one.reason}" for one in left))
    if again:
        say(promise(daemon))
    elif not tried and not unknown:
        say("nothing has failed")


def _json(mended: Iterable[Mended]) -> list[dict[str, Any]]:
    fields = ("id", "path", "version", "state", "reason")
    return [{name: said for name, said in asdict(one).items() if name in fields} for one in mended]


def _called(one: Mended) -> str:
    return f"{one.path or one.id}{'' if one.version is None else f' (version {one.version})'}"


# ---- replay ----


def _since(text: str | None) -> float | None:
    """Read how long ago, or a date and time, which is in UTC where it says nothing else, as unix seconds."""
    if text is None:
        return None
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            'must be a duration such as "2h" or "7d", or a time such as 2026-11-20T08:00Z'
        ) from None


def replay(
    deliveries: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", show_default=False, help="Ids of deliveries, or the beginnings of them."),
    ] = None,
    outcome: Annotated[
        Literal["ignored", "quarantined", "processed"] | None, typer.Option(help="All that ended like this, instead.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --outcome: received since; 2h, or a time."),
    ] = None,
    config: ConfigOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Process deliveries again, under the filters and names in force now.

    Their files are fetched again, those published too; an older version never replaces a newer one.
    """
    if bool(deliveries) == (outcome is not None):
        raise typer.BadParameter("name deliveries by their ids, or say --outcome", param_hint="ID")
    if since is not None and outcome is None:
        raise typer.BadParameter("it goes with --outcome", param_hint="--since")
    path, after = config_path(config), _since(since)
    where = state(path)
    unknown: list[str] = []
    if outcome is not None:
        with reading(path, where) as reader:
            chosen = reader.ended(outcome, after or 0.0)
    else:
        chosen, unknown = _identified(where, deliveries or [])
    for name in unknown:
        complain(f"syncd: no delivery has an id that begins with {name}")
    if unknown:
        complain("hint: `syncd deliveries` lists them")
    if dry_run:
        _say_planned(_plans(where, judging(path), chosen), unknown, as_json=as_json)
    else:
        _say_replayed(dict(_replayed(where, chosen)), unknown, where, as_json=as_json)
    if unknown:
        raise typer.Exit(1)


def _identified(where: Places, prefixes: list[str]) -> tuple[list[str], list[str]]:
    """Find the ids that are meant, each once, and the prefixes that no id has."""
    with order(where.journal) as db:
        found = {prefix: finding.delivery_id(db, prefix) for prefix in prefixes}
    unknown = [prefix for prefix, name in found.items() if name is None]
    return list(dict.fromkeys(name for name in found.values() if name is not None)), unknown


def _replayed(where: Places, chosen: list[str]) -> Iterator[tuple[str, str]]:
    """Have them read again; gives how each had ended."""
    waiting = iter(chosen)
    while some := list(islice(waiting, _AT_ONCE)):
        with order(where.journal) as db:
            done = [(name, mending.replay(db, name, time.time())) for name in some]
        yield from ((name, was) for name, was in done if was is not None)


def _say_replayed(replayed: dict[str, str], unknown: list[str], where: Places, *, as_json: bool) -> None:
    daemon = runs(where)
    if as_json:
        said = [{"id": name, "was": outcome} for name, outcome in replayed.items()]
        document({"replayed": said, "unknown": unknown, "running": daemon})
        return
    say(*(f"{name}: was {outcome}, is read again" for name, outcome in replayed.items()))
    if replayed:
        say(promise(daemon), "`syncd deliveries show ID` tells what comes of it")
    elif not unknown:
        say("no delivery ended like that")


def _plans(where: Places, config: Config, chosen: list[str]) -> Iterator[tuple[Decision, list[Mended]]]:
    from syncd.pipeline.reading import decide  # noqa: PLC0415 - other commands do without its weight

    rules = _rules(config)
    for name in chosen:
        with order(where.journal) as db:
            delivery = mending.stored(db, name)
        if delivery is None:
            continue
        decision = decide(delivery, config)
        with order(where.journal) as db:
            planned = mending.rehearse(db, decision, rules, time.time())
        yield decision, planned


def _say_planned(plans: Iterator[tuple[Decision, list[Mended]]], unknown: list[str], *, as_json: bool) -> None:
    said: list[dict[str, Any]] = []
    for decision, planned in plans:
        name, event, reason = decision.delivery.id, decision.event, decision.reason
        if as_json:
            assets = [{**one, "fetch": mended.due} for one, mended in zip(_json(planned), planned, strict=True)]
            outcome = decision.outcome
            said.append({"id": name, "event": event, "outcome": outcome, "reason": reason, "assets": assets})
            continue
        because = f" ({reason})" if reason else ""
        say(f"{name}: {event or 'unknown event'}, would be {decision.outcome}{because}")
        say(*(f"  {_called(one)}: {_planned(one)}" for one in planned))
    if as_json:
        document({"deliveries": said, "unknown": unknown})


def _planned(one: Mended) -> str:
    if not one.due:
        return one.reason
    return "is published, would be fetched again" if one.shown else "would be fetched"


# ---- both ----


def _rules(config: Config) -> Rules:
    from syncd.pipeline import rules_of  # noqa: PLC0415 - other commands do without its weight

    return rules_of(config)


def runs(where: Places) -> bool | None:
    """Tell if the daemon runs; None where that can't be found out."""
    try:
        if ask(where.admin, "/api/status") is not None:
            return True
    except SyncdError:
        return None
    return False if process(where.journal) is None else None


def promise(daemon: bool | None) -> str:  # noqa: FBT001 - what `runs` says
    """When what was ordered is done."""
    if daemon:
        return "the daemon does it now"
    if daemon is None:
        return "the daemon does it now, or at its next start if it does not run"
    return "recorded: the daemon does not run, and does it at its next start"
