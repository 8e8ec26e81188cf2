"""What the public listener answers, word by word and byte by byte, and the one exception that means "no".

Every answer is JSON and never stored by a cache. Details are fixed texts: nothing that a
client sent is said back to it, except a delivery's id, whose characters are bounded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

import orjson

from syncd.model import Receipt

Word = Literal[
    "address", "content_type", "flood", "internal", "malformed", "method", "not_found", "signature",
    "timeout", "too_large", "unavailable",
]  # fmt: skip

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Said ahead of the answer itself, to a client that asks before it sends its body."""

_REFUSALS: dict[Word, tuple[int, str | None]] = {
    "malformed": (400, "this is not a valid HTTP request"),
    "signature": (401, None),  # one answer for all reasons, so that nobody learns from it
    "address": (403, "deliveries from this address are not accepted here"),
    "not_found": (404, "nothing is received at this path"),
    "method": (405, "deliveries are sent with POST"),
    "timeout": (408, "the request did not arrive in time"),
    "too_large": (413, "the body is larger than what is accepted here"),
    "content_type": (415, "the body must be JSON, without a Content-Encoding"),
    "flood": (429, "too many requests from this address were refused"),
    "internal": (500, "an unexpected error, which is in the log"),
    "unavailable": (503, "this can't be stored safely now; send it again"),
}


class Refused(Exception):
    """A request ends here. `reason` is for the log, `detail` replaces the answer's usual one."""

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


def stored(receipt: Receipt) -> Answer:
    """Say that a delivery is safe, under which id, and if it was so before."""
    status = "duplicate" if receipt.duplicate else "accepted"
    return _answer(200, orjson.dumps({"status": status, "delivery": receipt.delivery}))


def refusal(word: Word, *, detail: str = "", headers: dict[str, str] | None = None) -> Answer:
    """Say no."""
    status, usual = _REFUSALS[word]
    said = detail or usual
    return _answer(status, orjson.dumps({"error": word, "detail": said} if said else {"error": word}), headers)


def status_of(word: Word) -> int:
    """Return the HTTP status that goes with a refusal."""
    return _REFUSALS[word][0]


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    head = b"%bContent-Length: %d\r\n" % (_head(status), len(body))
    for name, value in (headers or {}).items():
        head += f"{name}: {value}\r\n".encode()
    return Answer(head, body)


@lru_cache
def _head(status: int) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json\r\nCache-Control: no-store\r\nServer: syncd\r\n"
    ).encode()


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
