"""What is answered, byte by byte, with the words for "no" and the one exception that means it.

No answer is stored by a cache. What a word means is for whoever says it; that each has one
status, on whichever listener, is decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Literal

import orjson

Word = Literal[
    "address", "ambiguous", "config", "content_type", "flood", "host", "internal", "malformed", "method",
    "method_not_allowed", "not_found", "origin", "query", "signature", "timeout", "too_large", "unavailable",
]  # fmt: skip

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Said ahead of the answer itself, to a client that asks before it sends its body."""
JSON = "application/json"
NONE: Mapping[str, str] = MappingProxyType({})

_STATUS: dict[Word, int] = {
    "malformed": 400,
    "query": 400,
    "signature": 401,
    "address": 403,
    "host": 403,
    "origin": 403,
    "not_found": 404,
    "method": 405,
    "method_not_allowed": 405,
    "timeout": 408,
    "ambiguous": 409,
    "too_large": 413,
    "content_type": 415,
    "config": 422,
    "flood": 429,
    "internal": 500,
    "unavailable": 503,
}


class Refused(Exception):
    """A request ends here. What is told of `reason` and `detail`, and where, is its service's to say."""

    def __init__(self, word: Word, reason: str, *, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.word = word
        self.detail = detail
        self.headers = headers or {}


@dataclass(slots=True)
class Answer:
    """A response, but for what its connection says of itself; `head` ends with the last header's line."""

    head: bytes
    body: bytes

    def encode(self, *, last: bool, old: bool, bodiless: bool) -> bytes:
        """Write it down: the `last` one of its connection or not, for an `old` client of HTTP/1.0, without its body."""
        connection = b"Connection: close\r\n" if last else b"Connection: keep-alive\r\n" if old else b""
        return b"%b%b%b\r\n%b" % (self.head, _date(int(time.time())), connection, b"" if bodiless else self.body)


@dataclass(slots=True)
class Stream(Answer):
    """A response that may be longer than memory: `body` is its first piece, and not empty.

    `following` is asked for the next one when the client has taken most of what came before, and
    gives an empty one at the end. A stream that nobody wants any more is just dropped.
    """

    following: Callable[[], asyncio.Future[bytes]]

    def encode(self, *, last: bool, old: bool, bodiless: bool) -> bytes:
        """Write down its beginning; for an old client, it ends with the connection."""
        head = self.head if old else self.head + b"Transfer-Encoding: chunked\r\n"
        return Answer(head, framed(self.body, old=old)).encode(last=last, old=old, bodiless=bodiless)


def framed(piece: bytes, *, old: bool) -> bytes:
    """Write down a piece of a stream, an empty one as its end."""
    return piece if old else b"%x\r\n%b\r\n" % (len(piece), piece)


def said(status: int, body: bytes, media: str = JSON, headers: Mapping[str, str] = NONE) -> Answer:
    """Answer with a body of a media type."""
    return Answer(b"%bContent-Length: %d\r\n" % (head(status, media, headers), len(body)), body)


def refusal(word: Word, detail: str = "", headers: Mapping[str, str] = NONE) -> Answer:
    """Say no, in JSON."""
    body = orjson.dumps({"error": word, "detail": detail} if detail else {"error": word})
    return said(_STATUS[word], body, headers=headers)


def status_of(word: Word) -> int:
    """Return the HTTP status that goes with a refusal."""
    return _STATUS[word]


def head(status: int, media: str = JSON, headers: Mapping[str, str] = NONE) -> bytes:
    """Write down the beginning of an answer, as far as it does not depend on its body."""
    usual = _usual(status, media)
    return usual + "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode() if headers else usual


@lru_cache
def _usual(status: int, media: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {media}\r\nCache-Control: no-store\r\nServer: syncd\r\n"
    ).encode()


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
