"""One request, from its first header to its answer: bounded, verified, stored, 200.

The checks come in the contract's order, and the body is not interpreted where its signature
vouches for it, so that a payload nobody understands is not lost. Which config is in force is
asked once a request. Connections and their deadlines are `server`'s business.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from syncd.config import Config, Platform
from syncd.errors import JournalUnavailable
from syncd.intake import answers
from syncd.intake.answers import Refused, Word
from syncd.intake.senders import IPAddress, Strikes, sender, within
from syncd.model import Arrival, Receipt
from syncd.sources.payload import parse
from syncd.sources.protocol import Rejected
from syncd.sources.table import SOURCES

log = logging.getLogger(__name__)

_RETRY_LATER = {"Retry-After": "5"}
_CONFIDENTIAL = re.compile("authorization|cookie|signature|token|secret|password|api-?key", re.IGNORECASE)
_HEADER_VALUE = 1024  # characters of one that are kept
_SHOWN = 200  # characters of a path in the log


class Intake:
    """The handler of the public listener.

    `accept` stores an arrival and returns once it is on disk. `closed` gives the reason why
    nothing can be stored now, or None. `count` is told (source, `accepted` | `duplicate` |
    `rejected`) for every answered request, with an empty source where the path names none;
    `refused` is told the word of each answer that says no.
    `clock` gives unix seconds.
    """

    def __init__(
        self,
        *,
        current: Callable[[], Config],
        accept: Callable[[Arrival], Awaitable[Receipt]],
        closed: Callable[[], str | None],
        count: Callable[[str, str], None],
        refused: Callable[[Word], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._current = current
        self._accept = accept
        self._closed = closed
        self._count = count
        self._refused = refused
        self._clock = clock
        self._strikes = Strikes(burst=100, rate=1.0)
        self._lines = Strikes(burst=50, rate=5.0)  # of the log
        self._unlogged = 0

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        config = self._current()
        name, source, tail = _route(config, request.path)
        try:
            receipt = await self._store(request, config, name, source, tail)
        except Refused as refused:
            return self._refuse(request, config, name, refused)
        outcome = "duplicate" if receipt.duplicate else "accepted"
        self._count(name, outcome)
        facts = {"delivery": receipt.delivery, "source": name, "address": _text(_sender(request, config))}
        log.info("delivery %s", outcome, extra=facts)
        return answers.stored(receipt)

    def never_whole(self, word: Word, peer: str, reason: str) -> None:
        """Count and log what was answered before it was a request; from which path or sender, nobody knows."""
        self._refused(word)
        if word != "internal":  # that is a bug of ours, and in the log already
            self._count("", "rejected")
            self._log({"error": word, "reason": reason, "peer": peer})

    async def _store(
        self, request: web.BaseRequest, config: Config, name: str, source: Platform | None, tail: str
    ) -> Receipt:
        """Check everything in order and store; raises Refused."""
        if source is None:
            raise Refused("not_found", "no source has this path")
        hint = SOURCES[name].hint_of(tail) if tail else None
        if tail and hint is None:
            raise Refused("not_found", "this source has no such event")
        if request.method != "POST":
            raise Refused("method", "not a POST", headers={"Allow": "POST"})
        if source.allowed_ips:
            address = _sender(request, config)
            if address is None or not within(address, source.allowed_ips):
                raise Refused("address", "not one of allowed_ips")
        body = await _read(request, config.server.max_body)
        _check_type(request)
        headers = tuple(request.headers.items())
        now = self._clock()
        signed_at = _authenticate(name, source, headers, body, now)
        if reason := self._closed():
            raise Refused("unavailable", reason, headers=_RETRY_LATER)
        arrival = Arrival(
            source=name,
            platform_id=SOURCES[name].delivery_id(headers),
            signed_at=signed_at,
            hint=hint,
            headers=tuple((str(key), _kept(key, value)) for key, value in headers),
            body=body,
            received_at=now,
        )
        try:
            return await self._accept(arrival)
        except JournalUnavailable as error:
            raise Refused("unavailable", str(error), headers=_RETRY_LATER) from error

    def _refuse(self, request: web.BaseRequest, config: Config, name: str, refused: Refused) -> web.Response:
        """Answer no, or 429 where too many refused requests came from this address."""
        now = asyncio.get_running_loop().time()
        address = _sender(request, config)
        word, detail, headers = refused.word, refused.detail, refused.headers
        if word != "unavailable":
            self._count(name, "rejected")
            if wait := self._strikes.strike(address, now):
                word, detail, headers = "flood", "", {"Retry-After": str(math.ceil(wait))}
        self._refused(word)
        path = ascii(request.path[:_SHOWN])  # control characters and the like, escaped
        self._log({"error": word, "reason": str(refused), "address": _text(address), "path": path, "source": name})
        return answers.refusal(word, detail=detail, headers=headers)

    def _log(self, facts: dict[str, Any]) -> None:
        """Log a refusal, unless there were too many of late: those are counted in the next line that is written."""
        if self._lines.strike(None, asyncio.get_running_loop().time()):
            self._unlogged += 1
            return
        status, before, self._unlogged = answers.status_of(facts["error"]), self._unlogged, 0
        log.warning("request refused", extra={"status": status, **facts, "unlogged_before": before})


def _route(config: Config, path: str) -> tuple[str, Platform | None, str]:
    """Find the source that a path belongs to, and what follows the source's own path."""
    for name in SOURCES:
        source = getattr(config.sources, name)
        if source is None:
            continue
        if path == source.path:
            return name, source, ""
        base = source.path.rstrip("/") + "/"
        if path.startswith(base):
            return name, source, path.removeprefix(base) or "/"
    return "", None, ""


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


def _sender(request: web.BaseRequest, config: Config) -> IPAddress | None:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    host = peer[0] if isinstance(peer, tuple) else ""
    return sender(host, request.headers.getall("X-Forwarded-For", ()), config.server.trusted_proxies)


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    """Read the body, counted while it comes; the connection's deadline ends a slow one."""
    if (request.content_length or 0) > limit:
        raise Refused("too_large", "its Content-Length is more than server.max_body")
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    chunks, size = [], 0
    try:
        while not request.content.at_eof():
            chunk = await request.content.readany()
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise Refused("too_large", "its body is more than server.max_body")
    except TimeoutError as error:
        raise Refused("timeout", "the body took longer than server.request_timeout") from error
    except RequestPayloadError as error:
        raise Refused("malformed", "the body breaks the rules of HTTP") from error
    return b"".join(chunks)


def _check_type(request: web.BaseRequest) -> None:
    media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not re.fullmatch(r"application/[!-~]+\+json", media):
        raise Refused("content_type", "its Content-Type is not JSON")
    if any(one.strip().lower() != "identity" for one in request.headers.getall("Content-Encoding", ())):
        raise Refused("content_type", "its body has a Content-Encoding")


def _authenticate(
    name: str, source: Platform, headers: tuple[tuple[str, str], ...], body: bytes, now: float
) -> str | None:
    """Return what was signed together with the body, None for an unsigned one that may pass.

    Where signatures are not required but a secret is known, a signature that is there must still
    be right: a forged one is never just unsigned.
    """
    if not source.require_signature and not (source.secret and _is_signed(headers)):
        _check_object(body)
        return None
    secrets = [secret.text for secret in source.secret]
    verdict = SOURCES[name].verify(headers, body, secrets, source.tolerance, now)
    if isinstance(verdict, Rejected):
        raise Refused("signature", verdict.reason)
    return verdict.signed_at


def _is_signed(headers: tuple[tuple[str, str], ...]) -> bool:
    return any("signature" in key.lower() for key, _ in headers)


def _check_object(body: bytes) -> None:
    """Hold an unsigned body to the least that any delivery is: a JSON object."""
    try:
        payload = parse(body)
    except orjson.JSONDecodeError as error:
        raise Refused("malformed", str(error), detail="the body is not JSON") from error
    if not isinstance(payload, dict):
        raise Refused("malformed", "not an object", detail="the body is not a JSON object")


@lru_cache(maxsize=256)
def _is_confidential(name: str) -> bool:
    return _CONFIDENTIAL.search(name) is not None


def _kept(name: str, value: str) -> str:
    """Return a header's value as the journal may keep it: no secrets, bounded, valid text."""
    if _is_confidential(name):
        return "***"
    value = value[:_HEADER_VALUE]
    if value.isascii():
        return value
    # aiohttp reads bytes that are not UTF-8 as lone surrogates, which no database takes.
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
