"""Deliveries as the platform makes them, for `syncd send`, the demo and the tests.

One attempt each: what comes back is the caller's business, and so is trying again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import orjson

from syncd.demo import payloads
from syncd.errors import SyncdError
from syncd.sources import abstract, abyssale
from syncd.sources.table import SOURCES

_TIMEOUT = aiohttp.ClientTimeout(total=15)  # the platform waits no longer
_LONGEST_ANSWER = 1 << 16


async def deliver(
    url: str,
    body: bytes,
    *,
    secret: str | None,
    delivery_id: str | None,
    session: aiohttp.ClientSession,
    t: int | None = None,
    source: str = "abyssale",
) -> tuple[int, Any]:
    """Post a body, signed now or at `t` (unix seconds) if there is a secret, and return the answer.

    That is the status, and the JSON of the body, or else its text. Raises what aiohttp raises
    when no answer comes: `aiohttp.ClientError`, or `TimeoutError` after 15 seconds.
    """
    signed = SOURCES[source].request_headers(body, secret, delivery_id, time.time() if t is None else t)
    headers = {"Content-Type": "application/json", **signed}
    async with session.post(
        url,
        data=body,
        headers=headers,
        skip_auto_headers=("User-Agent",),
        allow_redirects=False,
        timeout=_TIMEOUT,
    ) as response:
        return response.status, _parsed(await _read(response.content))


async def _read(stream: aiohttp.StreamReader) -> bytes:
    try:
        return await stream.readexactly(_LONGEST_ANSWER)
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def _parsed(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer.decode(errors="replace")


def sample(event: str, asset_url: str, n: int) -> payloads.Payload:
    """Make a test payload for an event, in any case; another `n` is another visual, request or export.

    Raises `SyncdError` for an event that no platform knows.
    """
    if event in abstract.EVENTS:
        return payloads.abstract(event, n)
    match event.upper():
        case abyssale.BANNER:
            return _banner(asset_url, n)
        case abyssale.BATCH:
            return payloads.batch([_banner(asset_url, n)], request=n)
        case abyssale.EXPORT:
            return payloads.export(asset_url, export=n)
        case abyssale.STATUS:
            return payloads.template_status("APPROVED", id=f"d1e2f3a4-b5c6-4d7e-8f90-{n:012x}", name=f"Test {n}")
    raise SyncdError(f"no such event: {event}", hint=f"one of {', '.join((*abyssale.EVENTS, *abstract.EVENTS))}")


def _banner(url: str, n: int) -> payloads.Payload:
    file = payloads.file(url)
    return payloads.new_banner(url, visual=n, file={**file, "filename": f"test_{n}.{file['type'] or 'bin'}"})
