"""Whether what lies outside can be reached: the hosts of files as a download would, and the platform's API.

Hosts are those that recent deliveries named and those that `download.allowed_hosts` spells
out. One that answers anything at all is reached: which file is where is not asked here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

import aiohttp

from syncd.cli.checks import Finding, Level
from syncd.cli.platform import session
from syncd.config import Config, Download, Loaded
from syncd.errors import SyncdError
from syncd.journal.schema import connect
from syncd.mirror.client import open_client
from syncd.mirror.guard import PrivateAddress, admit, server_of
from syncd.mirror.setback import Setback

_EACH = 8.0
"""Seconds for one host: name, connection, TLS and the head of an answer."""
_HOSTS, _RECENT = 10, 500
_SKEW = 30.0  # seconds
_FORBIDDEN = (401, 403)


def hosts(config: Config, journal: Path) -> Iterator[Finding]:
    """Ask the hosts of files, all at once."""
    download, named = config.download, [f"{url}/" for url in config.sources.hosts]
    spelt_out = [f"https://{host}/" for host in download.allowed_hosts if not set(host) & set("*?[")] + named
    # What files really came from has to be there; what may come from somewhere one day is only worth a warning.
    levels: dict[str, Level] = {**dict.fromkeys(spelt_out, "warning"), **dict.fromkeys(_recent(journal), "failure")}
    if levels:
        yield from asyncio.run(_ask_all(download, dict(list(levels.items())[-_HOSTS:]), named))
    else:
        yield Finding("ok", "hosts", "download.allowed_hosts", "no host is known by its whole name yet")


def _recent(journal: Path) -> list[str]:
    """List the servers of the newest assets' URLs."""
    query = "SELECT json_extract(detail, '$.url') FROM assets ORDER BY asset DESC LIMIT ?"
    try:
        with closing(connect(journal, "read")) as db:
            urls = [url for (url,) in db.execute(query, (_RECENT,))]
    except (SyncdError, sqlite3.Error):
        return []  # said where the journal is looked at
    named = ((url.partition(":")[0].lower(), server_of(url)) for url in urls)
    return list(dict.fromkeys(f"{scheme}://{server}/" for scheme, server in named if server))


async def _ask_all(download: Download, levels: dict[str, Level], named: Sequence[str]) -> list[Finding]:
    async with open_client(allow_private=download.allow_private, proxy=download.proxy) as client:
        asked = (_ask_one(client, root, download, level, named=root in named) for root, level in levels.items())
        return await asyncio.gather(*asked)


async def _ask_one(
    client: aiohttp.ClientSession, root: str, download: Download, level: Level, *, named: bool
) -> Finding:
    server, through = server_of(root), " through download.proxy" if download.proxy else ""
    try:
        url = admit(root, download, named=named)
    except Setback as refused:
        return Finding("warning", "hosts", server, f"recent files are refused: {refused.reason}", "see [download]")
    try:
        async with asyncio.timeout(_EACH), client.get(url, allow_redirects=False) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding(level, "hosts", server, f"{_words(error)}{through}", "names, routes, firewall, proxy?")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Finding("warning", "hosts", server, f"HTTP {status}{through}")
    return Finding("ok", "hosts", server, f"answers{through}")


def _words(error: aiohttp.ClientError | TimeoutError) -> str:
    """Say why there is no answer, without a URL, which may be a proxy's with its password."""
    match error:
        case aiohttp.ClientConnectorError(os_error=PrivateAddress() as refused):
            return f"is refused ({refused})"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "no connection (its certificate or its TLS is not good)"
        case aiohttp.ClientConnectorError(os_error=cause):
            return f"no connection ({cause.strerror or type(cause).__name__})"
        case TimeoutError():
            return f"no answer within {_EACH:g} s"
    return f"no answer ({type(error).__name__})"


def api(loaded: Loaded) -> Iterator[Finding]:
    """Ask the platform if the key is good, and what time it is there."""
    source = loaded.config.sources.abyssale
    if source is None or source.api_key is None:
        return
    said: list[str] = []
    platform = session(loaded, "`syncd doctor`", tell=said.append)

    async def authenticate() -> Finding:
        async with platform:
            answer = await platform.authenticate()
        if answer.reason:
            hint = (
                "give sources.abyssale.api_key another" if answer.status in _FORBIDDEN else "names, routes, firewall?"
            )
            return Finding("failure", "API", "api.abyssale.com", answer.reason, hint)
        skew = _skew(answer.date)
        if abs(skew) > _SKEW:
            message = f"our clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the platform's"
            return Finding("warning", "clock", "api.abyssale.com", message, "keep it by NTP")
        return Finding("ok", "API", "api.abyssale.com", "takes the key")

    yield asyncio.run(authenticate())


def _skew(date: str) -> float:
    """Seconds by which our clock is ahead of an HTTP date; 0 where there is none."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0
