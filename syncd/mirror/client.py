"""The connection settings of downloads, and how one URL is asked until an answer with the file.

Redirects are followed by hand, because every hop has to pass the guard. What the body holds
is `body`'s business, and whether to ask again is `fetch`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from syncd import __version__
from syncd.config import Download, Secret
from syncd.door import LONGEST_WISH, Door, reset_after, retry_after
from syncd.mirror.guard import PrivateAddress, admit, parse, proxy_of, server_of, socket_factory
from syncd.mirror.setback import Lasting, Setback

READ_BUFFER = 256 << 10
"""Bytes aiohttp holds ready per download; it stops reading the socket at twice this."""
DNS_TTL = 10
MAX_REDIRECTS = 5
NOTHING_YET: Mapping[str, str] = MappingProxyType({})

_REDIRECTS = {301, 302, 303, 307, 308}
_MISSING = {403, 404, 410}  # storage says 403 for what isn't there and may not be listed
_PASSING = {408, 425, 429}
_FOR_THE_REST = {206, 416}


def open_client(
    *, allow_private: bool, proxy: Secret | None = None, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Open the session that downloads share; the caller closes it. Needs a running loop.

    It keeps no cookies, reads no proxy settings of the environment, never unpacks a body and
    dials public addresses only, unless `allow_private`. With a `proxy` that is all it dials,
    wherever that may be. All other settings come with each request.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # slots are counted before a connection is asked for
            ttl_dns_cache=DNS_TTL,
            resolver=resolver,
            socket_factory=socket_factory(allow_private=allow_private or proxy is not None),
        ),
        proxy=URL(proxy.text) if proxy else None,
        headers={"User-Agent": f"syncd/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        trust_env=False,
    )


@asynccontextmanager
async def ask(
    client: aiohttp.ClientSession,
    url: str | URL,
    download: Download,
    *,
    rest: Mapping[str, str] = NOTHING_YET,
    door: Door | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for a URL and hand over the 200 that has the file, its body still to be read.

    Where the headers of `rest` ask for the rest of a file, a 206 or 416 is handed over as well. What the
    `door` asks for is shown to the URL's own server, never to where that leads.

    Whatever goes wrong, while the body is read as well, is raised as a Setback. Headers have
    to be complete in `stall_timeout`, then each piece of the body has. The client is one that was
    opened for the proxy of `download`, if it has one.
    """
    hop, proxy, answered = url, proxy_of(download), False
    timeout = aiohttp.ClientTimeout(total=None, connect=download.connect_timeout, sock_read=download.stall_timeout)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            hop = admit(hop, download, named=door is not None)
            headers = {**rest, **door.headers} if door else rest
            door = None
            async with asyncio.timeout(download.connect_timeout + download.stall_timeout):
                response = await client.get(hop, headers=headers, allow_redirects=False, timeout=timeout)
            async with response:
                if response.status not in _REDIRECTS:
                    if proxy and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                        raise _refused_by(proxy, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, server_of(url))
                    _judge(response, now(), url, continuing=bool(rest))
                    answered = True
                    yield response
                    return
                hop = parse(_target(response, str(hop)))
    except (aiohttp.ClientError, TimeoutError) as error:
        # A body that breaks is the file's trouble: it may be continued, and others may pass. The error itself
        # stays here, because it may hold the proxy's password.
        raise _setback(error, download, proxy, "" if answered else server_of(url)) from None
    raise Setback(f"more than {MAX_REDIRECTS} redirects")


def _judge(response: aiohttp.ClientResponse, now: float, url: str | URL, *, continuing: bool) -> None:
    """Let a 200 with a plain body pass, and what answers for the rest; raise what any other answer means."""
    status = response.status
    if continuing and status in _FOR_THE_REST:
        return
    if status == HTTPStatus.OK:
        coding = ", ".join(response.headers.getall("Content-Encoding", [])).strip().lower()
        if coding not in ("", "identity"):
            raise Setback(f"a body in Content-Encoding {coding[:40]!r}")
        return
    if status in _MISSING:
        raise Setback(f"HTTP {status}", Lasting.MISSING)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING:
        raise Setback(f"HTTP {status}", Lasting.FINAL)
    wishes = response.headers.getall("Retry-After", [])
    wish = retry_after(wishes[0].strip(), now) if len(wishes) == 1 else None
    flooded = status == HTTPStatus.TOO_MANY_REQUESTS
    if (
        flooded
        and wish is None
        and (reset := reset_after(response.headers.get("RateLimit-Reset", ""), now)) is not None
    ):
        wish = min(reset, LONGEST_WISH)
    troubled = flooded or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise Setback(f"HTTP {status}", after=wish, troubled=server_of(url) if troubled else "")


def _target(response: aiohttp.ClientResponse, text: str) -> str:
    location = response.headers.get("Location", "")
    try:
        if location:
            return urljoin(text, location)
    except ValueError:
        pass
    raise Setback(f"HTTP {response.status} without a usable Location")


def _refused_by(proxy: str, status: int, server: str) -> Setback:
    """Say what a proxy answered in its own name. A server that it can't or won't reach is no trouble of its own."""
    unknown = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    return Setback(f"HTTP {status} of the proxy {proxy}", troubled=proxy if unknown else server)


def _setback(error: aiohttp.ClientError | TimeoutError, download: Download, proxy: str, server: str) -> Setback:
    """Say what a network error was, in words that hold no URL, and whose, unless `server` is ""."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status):
            return _refused_by(proxy, status, server)
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientConnectorDNSError() if proxy:
            return Setback(f"no connection to the proxy {proxy} ({_told(error.os_error)})", troubled=proxy)
        case aiohttp.ClientConnectorError(os_error=PrivateAddress() as refused):
            return Setback(f"a refused URL ({refused})", Lasting.FINAL)
        case aiohttp.InvalidURL():  # a number as the host, among others
            return Setback("a refused URL (not a URL)", Lasting.FINAL)
        case aiohttp.ClientConnectorError(os_error=cause):
            reason = f"no connection ({_told(cause)})"
        case aiohttp.ConnectionTimeoutError():
            reason = f"no connection within {download.connect_timeout:g}s"
        case TimeoutError():
            reason = f"nothing for {download.stall_timeout:g}s"
        case aiohttp.ClientPayloadError():
            reason = "a body cut short"
        case aiohttp.ClientResponseError():
            reason = "an answer that is not HTTP"
        case _:
            reason = f"a broken connection ({type(error).__name__})"
    return Setback(reason, troubled=server)


def _told(cause: OSError) -> str:
    return cause.strerror or type(cause).__name__
