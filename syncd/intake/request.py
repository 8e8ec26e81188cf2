"""What the headers of one request say, read once: where it goes, who sent it, how long its body is.

All of it is as the client wrote it, so hostile; the parser has seen to the syntax and to the
bounds. What may follow from it is decided in `receive`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from syncd.config import Config, Platform
from syncd.intake.senders import IPAddress, sender
from syncd.sources.table import SOURCES

_CONFIDENTIAL = re.compile("authorization|cookie|signature|token|secret|password|api-?key", re.IGNORECASE)
_HEADER_VALUE = 1024  # characters of one that are kept
_LENGTH = 20  # digits of a Content-Length; 64 bits have no more
_JSON = re.compile(r"application/(?:json|[!-~]+\+json)")
_ONCE = ("content-length", "content-type", "host", "transfer-encoding", "user-agent")


class Malformed(Exception):
    """What has come can't be taken for a request."""


@dataclass(slots=True)
class Request:
    """A request whose headers are whole.

    `named` are the values of each header by its name in lower case. `address` is the sender's, None
    where it can't be told. `config` is the one in force when the request began; `name` and `source`
    say which source of it the path belongs to, `tail` what follows the source's own path.
    """

    version: str
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    named: dict[str, list[str]]
    address: IPAddress | None
    config: Config
    name: str
    source: Platform | None
    tail: str

    @property
    def length(self) -> int | None:
        """How long the body is in bytes, None where that is seen only at its end."""
        if "transfer-encoding" in self.named:
            return None
        return int(self.named.get("content-length", "0")[0])

    @property
    def asks_first(self) -> bool:
        """Tell if the client waits for a word before it sends the body."""
        return self.named.get("expect", [""])[0].lower() == "100-continue" and self.version == "1.1"


def read_request(
    version: str, method: bytes, target: bytes, headers: Sequence[tuple[str, str]], peer: str, config: Config
) -> Request:
    """Read what a parser has found; `peer` is the socket's, empty for a unix one. Raises Malformed."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    if version not in ("1.1", "1.0") or (version == "1.1" and "host" not in named):
        raise Malformed("it is of no version of HTTP that is spoken here, or names no host")
    if len(named) < len(headers) and any(len(named.get(name, ())) > 1 for name in _ONCE):
        raise Malformed("a header is there twice that may be there once")
    _check_framing(version, named)
    address = sender(peer, named.get("x-forwarded-for", ()), config.server.trusted_proxies)
    path = _path(target)
    return Request(version, method.decode(), path, headers, named, address, config, *_route(config, path))


def is_json(request: Request) -> bool:
    """Tell if the body is declared as JSON, whatever it is."""
    return _is_json(request.named.get("content-type", [""])[0])


def is_encoded(request: Request) -> bool:
    """Tell if the body is declared as compressed, or the like."""
    encodings = request.named.get("content-encoding")
    return encodings is not None and any(one.strip().lower() != "identity" for one in encodings)


def kept(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return headers as the journal may keep them: no secrets, bounded, valid text."""
    return tuple([(name, "***" if _is_confidential(name) else _text(value)) for name, value in headers])


def _check_framing(version: str, named: dict[str, list[str]]) -> None:
    """Hold that a body ends where everybody on the way thinks it does, beyond what the parser has seen to."""
    if coded := named.get("transfer-encoding"):
        if version == "1.0":  # RFC 9112, 6.1: whoever speaks that does not know of it
            raise Malformed("it comes in chunks, which its version of HTTP has not")
        if coded[0].lower() != "chunked":
            raise Malformed("its body is coded in a way that is not spoken here")
    if len(named.get("content-length", [""])[0]) > _LENGTH:
        raise Malformed("its Content-Length has too many digits")


@lru_cache(maxsize=64)
def _path(target: bytes) -> str:
    target = target.partition(b"?")[0].partition(b"#")[0]
    if not target.startswith(b"/"):  # a whole URL, as proxies are asked; or an asterisk
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return unquote(target.decode("utf-8", "surrogateescape"))


@lru_cache(maxsize=64)
def _is_json(media: str) -> bool:
    return _JSON.fullmatch(media.partition(";")[0].strip().lower()) is not None


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


@lru_cache(maxsize=256)
def _is_confidential(name: str) -> bool:
    return _CONFIDENTIAL.search(name) is not None


def _text(value: str) -> str:
    value = value[:_HEADER_VALUE]
    return value if value.isascii() else value.encode(errors="surrogateescape").decode(errors="backslashreplace")
