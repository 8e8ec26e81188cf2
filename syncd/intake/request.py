"""What the headers of one request to the public listener say, read once: which source it is for, who sent it.

All of it is as the client wrote it, so hostile. What may follow from it is decided in `receive`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from syncd.config import Config, Platform
from syncd.intake.senders import IPAddress, sender
from syncd.sources.table import SOURCES
from syncd.web.request import Head, by_name, path_of

_CONFIDENTIAL = re.compile("authorization|cookie|signature|token|secret|password|api-?key", re.IGNORECASE)
_HEADER_VALUE = 1024  # characters of one that are kept
_JSON = re.compile(r"application/(?:json|[!-~]+\+json)")


@dataclass(slots=True)
class Request(Head):
    """A request whose headers are whole.

    `address` is the sender's, None where it can't be told. `config` is the one in force when the
    request began; `name` and `source` say which source of it the path belongs to, `tail` what
    follows the source's own path.
    """

    address: IPAddress | None
    config: Config
    name: str
    source: Platform | None
    tail: str


def read_request(
    version: str, method: bytes, target: bytes, headers: Sequence[tuple[str, str]], peer: str, config: Config
) -> Request:
    """Read what a parser has found; `peer` is the socket's, empty for a unix one. Raises Malformed."""
    named = by_name(version, headers)
    address = sender(peer, named.get("x-forwarded-for", ()), config.server.trusted_proxies)
    path = path_of(target)
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
