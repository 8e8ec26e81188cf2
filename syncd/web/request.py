"""The headers of one request as every service reads them: where it goes, how long its body is.

All of it is as the client wrote it, so hostile; the parser has seen to the syntax and to the
bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

_LENGTH = 20  # digits of a Content-Length; 64 bits have no more
_ONCE = ("content-length", "content-type", "host", "transfer-encoding", "user-agent")


class Malformed(Exception):
    """What has come can't be taken for a request."""


@dataclass(slots=True)
class Head:
    """A request whose headers are whole; `named` are the values of each by its name in lower case."""

    version: str
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    named: dict[str, list[str]]

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


def by_name(version: str, headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each header by its name in lower case. Raises Malformed."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    if version not in ("1.1", "1.0") or (version == "1.1" and "host" not in named):
        raise Malformed("it is of no version of HTTP that is spoken here, or names no host")
    if len(named) < len(headers) and any(len(named.get(name, ())) > 1 for name in _ONCE):
        raise Malformed("a header is there twice that may be there once")
    _check_framing(version, named)
    return named


@lru_cache(maxsize=64)
def path_of(target: bytes) -> str:
    """Return the path that a request's target names, unquoted."""
    target = target.partition(b"?")[0].partition(b"#")[0]
    if not target.startswith(b"/"):  # a whole URL, as proxies are asked; or an asterisk
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return unquote(target.decode("utf-8", "surrogateescape"))


def _check_framing(version: str, named: dict[str, list[str]]) -> None:
    """Hold that a body ends where everybody on the way thinks it does, beyond what the parser has seen to."""
    if coded := named.get("transfer-encoding"):
        if version == "1.0":  # RFC 9112, 6.1: whoever speaks that does not know of it
            raise Malformed("it comes in chunks, which its version of HTTP has not")
        if coded[0].lower() != "chunked":
            raise Malformed("its body is coded in a way that is not spoken here")
    if len(named.get("content-length", [""])[0]) > _LENGTH:
        raise Malformed("its Content-Length has too many digits")
