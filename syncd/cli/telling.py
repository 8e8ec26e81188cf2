"""`notify test`, `hooks test` and `messages`: if those can be reached who are to be told, and what they were told.

A test is sent from here, now, and leaves no trace in the journal; everything else that is sent is a
message there, and the daemon's to send.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer

from syncd.cli.asking import state
from syncd.cli.looking import JsonOption
from syncd.cli.mending import promise, runs
from syncd.cli.show import complain, document, plain, say, screen, table
from syncd.cli.where import ConfigOption, config_path, reading
from syncd.config import load
from syncd.errors import SyncdError
from syncd.journal import finding, outbox
from syncd.journal.orders import order

notify = typer.Typer(help="Reach the people that the config names.", no_args_is_help=True)
hooks = typer.Typer(help="Reach the programs that the config names.", no_args_is_help=True)
messages = typer.Typer(help="Show what was told.", invoke_without_command=True)

_AT_ONCE = 500

# ---- tests ----


@notify.callback()
def _before_people(config: ConfigOption = None) -> None:
    """Reach the people that the config names."""


@hooks.callback()
def _before_programs(config: ConfigOption = None) -> None:
    """Reach the programs that the config names."""


@notify.command("test")
def reach_people(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Send a test message to every [[notify]] of the config, now and from here."""
    _test("notify", config, as_json=as_json)


@hooks.command("test")
def reach_programs(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Send a signed test request, about the path syncd-test, to every one of the [[hooks]] of the config."""
    _test("hook", config, as_json=as_json)


def _test(kind: str, config: ConfigOption, *, as_json: bool) -> None:
    from syncd.journal.happenings import Happening  # noqa: PLC0415 - other commands do without its weight
    from syncd.observe.telling import new_message, targets_of  # noqa: PLC0415 - the same

    targets = [target for target in targets_of(load(config_path(config)).config).values() if kind == target.table.KIND]
    if not targets:
        raise SyncdError(f"the config has no [[{'hooks' if kind == 'hook' else kind}]]")
    now = time.time()
    facts = {"title": "This is a test of syncd: who reads it, will be told.", "path": "syncd-test"}
    happening = Happening(0, now, "syncd.test", "syncd-test", facts)

    async def send() -> list[Any]:
        return await asyncio.gather(*(target.send(new_message(target, [happening], now)) for target in targets))

    setbacks = asyncio.run(send())
    ended = list(zip(targets, setbacks, strict=True))
    if as_json:
        document(
            {
                "tests": [
                    {
                        "target": target.table.shown,
                        "listener": target.table.id,
                        "sent": setback is None,
                        "reason": setback and setback.reason,
                    }
                    for target, setback in ended
                ]
            }
        )
    else:
        for target, setback in ended:
            say(f"{target.table.shown}: {'sent' if setback is None else f'not sent: {setback.reason}'}")
    if any(setbacks):
        raise typer.Exit(1)


# ---- messages ----


@messages.callback()
def list_messages(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 100,
    config: ConfigOption = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what people and programs were told or are to be told, or show one message as a whole."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = as_json  # for the subcommand: it counts wherever it stands
        return
    path = config_path(config)
    with reading(path, state(path)) as reader:
        listed = reader.messages(limit=limit, state="failed" if failed else None)
    if as_json:
        document({"messages": listed})
        return
    columns = ("made", "id", "kind", "target", "events", "state", "attempts", "next attempt", "reason")
    facts = ("made_at", "id", "kind", "target", "events", "state", "attempts", "next_attempt_at", "reason")
    screen().print(table(columns, ([one[name] for name in facts] for one in listed)))


@messages.command("show")
def show_message(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.", show_default=False)],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one message with what it says."""
    path = config_path(config)
    with reading(path, state(path)) as reader:
        found = reader.message(message)
    if found is None:
        raise SyncdError(f"no message has an id that begins with {message}", hint="`syncd messages` lists them")
    if as_json or ctx.obj:
        document(found)
        return
    facts = ((name.replace("_", " "), value) for name, value in found.items() if name not in ("title", "body"))
    terminal = screen()
    terminal.print(table(("", ""), facts))
    terminal.print(plain(found["title"]))
    say(*found["body"].split("\n"))


@messages.command("replay")
def replay_messages(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", show_default=False, help="Ids of messages, or the beginnings of them."),
    ] = None,
    config: ConfigOption = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All that were given up.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send messages again, with the same id and content, to the same target."""
    if bool(names) == failed:
        raise typer.BadParameter("name messages by their ids, or say --failed", param_hint="ID")
    from syncd.observe.telling import PATIENCE  # noqa: PLC0415 - other commands do without its weight

    where = state(config_path(config))
    with order(where.journal) as db:
        if failed:
            chosen = outbox.given_up(db)
        else:
            found = {name: finding.message_id(db, name) for name in names or ()}
            chosen = list(dict.fromkeys(filter(None, found.values())))
            unknown = [name for name, known in found.items() if known is None]
    lost = [] if failed else unknown
    again: list[str] = []
    gone: list[str] = []
    for start in range(0, len(chosen), _AT_ONCE):
        with order(where.journal) as db:
            for name in chosen[start : start + _AT_ONCE]:
                (again if outbox.replay(db, name, time.time(), PATIENCE) else gone).append(name)
    for name in lost:
        complain(f"syncd: no message has an id that begins with {name}")
    daemon = runs(where)
    if as_json or ctx.obj:
        document({"replayed": again, "gone": gone, "unknown": lost, "running": daemon})
    else:
        say(*(f"{name}: is sent again" for name in again), *(f"{name}: {outbox.GONE}" for name in gone))
        say(promise(daemon) if again else "nothing is sent again")
    if lost or gone:
        raise typer.Exit(1)
