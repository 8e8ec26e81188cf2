"""`webhooks`: which of its events the platform sends, and where to.

The platform's calls for this are known from its own integrations and not promised to stay. None
of them lists what there is, so what is subscribed here is remembered in the journal; what was
subscribed elsewhere is seen in the platform's dashboard.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from syncd.cli.platform import session
from syncd.cli.sending import known_event, web_url, with_path
from syncd.cli.show import complain, document, say, screen, table
from syncd.cli.where import ConfigOption, config_path
from syncd.cli.writing import JsonOption
from syncd.config import Config, load
from syncd.errors import Ambiguous, SyncdError
from syncd.journal import subscriptions
from syncd.journal.orders import order
from syncd.journal.subscriptions import Subscription
from syncd.model import rfc3339
from syncd.sources.abyssale import EVENTS

if TYPE_CHECKING:
    from syncd.sources.abyssale_session import AbyssaleSession, Answer

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_GONE = (404, 410)
_NAMED, _SHOWN = 5, 80

webhooks = typer.Typer(help="Manage the platform's subscriptions, which send its events.", no_args_is_help=True)


@webhooks.callback()
def _before(config: ConfigOption = None) -> None:
    """Manage the platform's subscriptions, which send its events."""


@webhooks.command("list")
def list_(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the subscriptions made from here, and ask the platform if each is still there."""
    loaded = load(config_path(config))
    platform, known = session(loaded, "`syncd webhooks`"), subscriptions.remembered(loaded.config.journal.path)
    answers = asyncio.run(_each(platform, known, lambda one: platform.subscription(one.id)))
    rows = [{**_shown(one), **_state(said)} for one, said in zip(known, answers, strict=True)]
    if as_json:
        document({"subscriptions": rows})
    elif rows:
        columns = ("id", "event", "url", "made_at", "state", "reason")
        screen().print(table((name.replace("_", " ") for name in columns), ([row[c] for c in columns] for row in rows)))
    else:
        complain("no subscription was made from here; others are in the platform's dashboard, which alone lists them")
    if any(row["state"] == "unknown" for row in rows):
        raise typer.Exit(1)


@webhooks.command("subscribe")
def subscribe(
    url: Annotated[
        str, typer.Option(metavar="URL", callback=web_url, help="Where the daemon is reached from outside.")
    ],
    events: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EVENT]...", show_default=False, help=f"Of {', '.join(EVENTS)}; all without."),
    ] = None,
    config: ConfigOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Take a URL without TLS, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have the platform send events to this daemon, each to a path of its own."""
    wanted = list(dict.fromkeys(known_event(event, EVENTS) for event in events or EVENTS))
    loaded = load(config_path(config))
    base = _base(url, loaded.config, force=force)
    platform, journal = session(loaded, "`syncd webhooks`"), loaded.config.journal.path
    known = {(one.event, one.url): one for one in subscriptions.remembered(journal)}
    with order(journal):
        pass  # what can't be noted is better not made

    async def subscribe_one(event: str) -> dict[str, Any]:
        target = f"{base}/{event.lower()}"
        if before := known.get((event, target)):
            found = _state(await platform.subscription(before.id))
            if found["state"] != "gone":
                outcome = "known" if found["state"] == "active" else "failed"
                return {**_shown(before), "outcome": outcome, "reason": found["reason"]}
        said = await platform.subscribe(event.lower(), target)
        made = Subscription(_id_in(said), event, target, time.time())
        if not made.id:
            return {**_shown(made), "id": None, "outcome": "failed", "reason": said.reason or "no usable id came back"}
        try:
            with order(journal) as db:
                subscriptions.remember(db, made)
        except SyncdError as error:
            raise SyncdError(f"subscription {made.id} for {event} is made, but not noted: {error}") from error
        return {**_shown(made), "outcome": "subscribed", "reason": None}

    _report(asyncio.run(_each(platform, wanted, subscribe_one)), as_json=as_json)


@webhooks.command("unsubscribe")
def unsubscribe(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", show_default=False, help="As `list` shows them.")
    ] = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that were made from here.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have the platform send no more."""
    if bool(ids) == every:
        raise typer.BadParameter("give ids, or --all")
    loaded = load(config_path(config))
    platform, journal = session(loaded, "`syncd webhooks`"), loaded.config.journal.path
    known = {one.id: one for one in subscriptions.remembered(journal)}
    wanted = list(known) if every else [_whole(name, known) for name in dict.fromkeys(ids or [])]

    async def unsubscribe_one(name: str) -> dict[str, Any]:
        row = _shown(known[name]) if name in known else {"id": name, "event": None, "url": None, "made_at": None}
        said = await platform.unsubscribe(name)
        if _state(said)["state"] == "unknown":
            return {**row, "outcome": "failed", "reason": said.reason}
        with order(journal) as db:
            subscriptions.forget(db, name)
        return {**row, "outcome": "gone" if said.status in _GONE else "unsubscribed", "reason": None}

    _report(asyncio.run(_each(platform, wanted, unsubscribe_one)), as_json=as_json)


async def _each(platform: AbyssaleSession, of: Any, ask: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """Ask one after the other, and close the session."""
    async with platform:
        return [await ask(one) for one in of]


def _report(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        document({"subscriptions": rows})
    else:
        for row in rows:
            to = f" {row['event']} to {row['url']}" if row["event"] else ""
            say(f"{row['outcome']}: {row['id'] or '-'}{to}{': ' + row['reason'] if row['reason'] else ''}")
    if any(row["outcome"] == "failed" for row in rows):
        raise typer.Exit(1)


def _base(url: str, config: Config, *, force: bool) -> str:
    """Check a URL, and fill in the source's path where it names only the host."""
    parts = urlsplit(url)
    if not url.isascii():
        raise typer.BadParameter("must be in ASCII", param_hint="--url")
    if "@" in parts.netloc or parts.query or parts.fragment or " " in url:
        raise typer.BadParameter("must have no user, query or fragment", param_hint="--url")
    if parts.scheme == "http" and not force:
        raise typer.BadParameter("must be https: what is sent can be read on its way; --force", param_hint="--url")
    source = config.sources.abyssale
    return with_path(url, source.path).rstrip("/") if source else url.rstrip("/")


def _whole(name: str, known: dict[str, Subscription]) -> str:
    """Complete a shortened id. One that nobody here knows may still be the platform's."""
    matches = [one for one in known if one.startswith(name)]
    if name in known or not matches:
        if not _ID.fullmatch(name):
            raise typer.BadParameter(f"{name[:_SHOWN]!a} is not an id", param_hint="ID")
        return name
    if len(matches) > 1:
        raise Ambiguous(name, matches[:_NAMED], more=len(matches) > _NAMED)
    return matches[0]


def _shown(one: Subscription) -> dict[str, Any]:
    return {**asdict(one), "made_at": rfc3339(one.made_at)}


def _state(said: Answer) -> dict[str, Any]:
    """Say if a subscription is `active`, `gone`, or `unknown` for a reason."""
    if said.status in _GONE:
        return {"state": "gone", "reason": None}
    return {"state": "unknown" if said.reason else "active", "reason": said.reason or None}


def _id_in(said: Answer) -> str:
    """Find the id of a new subscription, "" where the answer has none that can be used."""
    try:
        name = json.loads(said.body).get("id")
    except (ValueError, AttributeError, RecursionError):
        return ""
    text = str(name) if isinstance(name, str | int) else ""
    return text if _ID.fullmatch(text) else ""
