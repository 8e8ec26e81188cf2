"""What the public listener answers, word by word, and the one exception that means "no".

Every answer is JSON and never stored by a cache. Details are fixed texts: nothing that a
client sent is said back to it, except a delivery's id, whose characters are bounded.
"""

from __future__ import annotations

from typing import Literal

import orjson
from aiohttp import web

from syncd.model import Receipt

Word = Literal[
    "address", "content_type", "flood", "internal", "malformed", "method", "not_found", "signature",
    "timeout", "too_large", "unavailable",
]  # fmt: skip

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
_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Server": "syncd",  # without this, aiohttp names itself and its version
}


class Refused(Exception):
    """A request ends here. `reason` is for the log, `detail` replaces the answer's usual one."""

    def __init__(self, word: Word, reason: str, *, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.word = word
        self.detail = detail
        self.headers = headers or {}


def stored(receipt: Receipt) -> web.Response:
    """Say that a delivery is safe, under which id, and if it was so before."""
    status = "duplicate" if receipt.duplicate else "accepted"
    body = orjson.dumps({"status": status, "delivery": receipt.delivery})
    return web.Response(body=body, headers=_HEADERS)


def refusal(word: Word, *, detail: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """Say no."""
    status, usual = _REFUSALS[word]
    return web.Response(status=status, body=_body(word, detail or usual), headers=_HEADERS | (headers or {}))


def status_of(word: Word) -> int:
    """Return the HTTP status that goes with a refusal."""
    return _REFUSALS[word][0]


def raw_timeout() -> bytes:
    """Return a whole 408 response, for a connection on which no request has come together."""
    body = _body("timeout", _REFUSALS["timeout"][1])
    fields = {**_HEADERS, "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 408 Request Timeout\r\n{head}\r\n".encode() + body


def _body(word: Word, detail: str | None) -> bytes:
    return orjson.dumps({"error": word, "detail": detail} if detail else {"error": word})
