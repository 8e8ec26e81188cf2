"""`send`: deliver signed test events to a running daemon, as the platform would."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
import typer

from syncd.cli.show import say
from syncd.cli.where import ConfigOption, config_path, public, reachable
from syncd.config import load
from syncd.errors import ConfigInvalid, SyncdError
from syncd.sources.table import SOURCES

_NOWHERE = "https://syncd-test.invalid/banner.png"  # a name that is reserved never to exist (RFC 2606)
_ACCEPTED = 200
_SOURCES = {event: name for name, source in SOURCES.items() for event in source.EVENTS}


def known_event(event: str, events: Iterable[str]) -> str:
    """Read the name of one of these events in any case."""
    names = {name.lower(): name for name in events}
    if event.lower() not in names:
        raise typer.BadParameter(f"must be one of {', '.join(names.values())}")
    return names[event.lower()]


def web_url(url: str | None) -> str | None:
    """Take a URL that deliveries can be sent to."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        raise typer.BadParameter("is not a URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not url.isprintable():
        raise typer.BadParameter("must be https://HOST/... or http://HOST/...")
    return url


def _any_event(event: str) -> str:
    return known_event(event, _SOURCES)


def send(
    event: Annotated[str, typer.Argument(callback=_any_event, help=f"One of {', '.join(_SOURCES)}, in any case.")],
    to: Annotated[
        str | None, typer.Option(metavar="URL", callback=web_url, help="Where to; else where the config listens.")
    ] = None,
    secret: Annotated[str | None, typer.Option(help="What to sign with; else the config's first secret.")] = None,
    asset_url: Annotated[str, typer.Option(metavar="URL", help="The file that the event names.")] = _NOWHERE,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many, each about another visual.")] = 1,
    payload: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, metavar="FILE", help="Send this body instead."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Deliver a signed test event, as the platform would."""
    source = _SOURCES[event]
    # To the path of its event, where it has one, so that EVENT says how a file is to be read.
    tail = f"/{event.lower()}" if payload and SOURCES[source].hint_of(event.lower()) else ""
    if to and secret:
        target = _Target(source, with_path(to, f"/webhooks/{source}"), secret)
    else:
        target = _target(source, config_path(config), tail, to, secret)
    try:
        accepted = asyncio.run(_send_all(target, _bodies(event, asset_url, count, payload)))
    except OSError as error:  # aiohttp's among them
        raise SyncdError(
            f"no answer from {target.url}: {error or 'too late'}",
            hint="is the daemon running? --to names another address, as of a socket unit",
        ) from error
    if not accepted:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where deliveries go, and whose they seem. `socket` is the path of a unix socket, empty for TCP."""

    source: str
    url: str
    secret: str | None
    socket: str = ""
    verify_tls: bool = True


def _target(name: str, path: Path, tail: str, to: str | None, secret: str | None) -> _Target:
    """Fill in from the config what was not said. Raises ConfigInvalid where it does not hear this platform."""
    loaded = load(path)
    config, source = loaded.config, getattr(loaded.config.sources, name)
    if source is None:
        raise ConfigInvalid([loaded.problem(("sources", name), "is missing: the config does not hear this platform")])
    if secret is None and source.secret:
        secret = source.secret[0].text
    if to is not None:
        return _Target(name, with_path(to, source.path), secret)
    listen, scheme = public(config), "https" if config.server.tls else "http"
    # It is this machine's own listener, reached by its address, to which no certificate is made out.
    return _Target(name, f"{scheme}://{reachable(listen)}{source.path}{tail}", secret, listen.path, verify_tls=False)


def with_path(url: str, path: str = "/webhooks/abyssale") -> str:
    """Fill in the source's path where a URL names only the host."""
    return url.rstrip("/") + path if urlsplit(url).path in ("", "/") else url


def _bodies(event: str, asset_url: str, count: int, payload: Path | None) -> Iterator[bytes]:
    from syncd.demo.send import sample  # noqa: PLC0415 - other commands do without its weight

    first = time.time_ns() // 1_000_000  # numbers that no earlier call has used: each is news to the daemon
    for n in range(first, first + count):
        yield payload.read_bytes() if payload else orjson.dumps(sample(event, asset_url, n))


async def _send_all(target: _Target, bodies: Iterator[bytes]) -> bool:
    """Send one after the other, print each answer, and tell if all were accepted. Raises OSError where none comes."""
    import aiohttp  # noqa: PLC0415 - other commands do without its weight

    from syncd.demo.send import deliver  # noqa: PLC0415 - see above

    connector = aiohttp.UnixConnector(target.socket) if target.socket else aiohttp.TCPConnector(ssl=target.verify_tls)
    all_accepted = True
    async with aiohttp.ClientSession(connector=connector) as session:
        for body in bodies:
            try:
                status, answer = await deliver(
                    target.url,
                    body,
                    secret=target.secret,
                    delivery_id=str(uuid.uuid4()),
                    session=session,
                    source=target.source,
                )
            except (aiohttp.ClientError, TimeoutError) as error:
                raise OSError(_why(error)) from error
            say(f"{status} {_words(answer)}")
            all_accepted &= status == _ACCEPTED
    return all_accepted


def _why(error: Exception) -> str:
    """Say why no answer came; what aiohttp says of a refused connection is about its own arguments."""
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error) or "it took too long"


def _words(answer: Any) -> str:
    """Put an answer into one line: `accepted ID`, `signature`, or whatever something else said."""
    return " ".join(map(str, answer.values())) if isinstance(answer, dict) else str(answer)
