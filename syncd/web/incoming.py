"""From the bytes of a connection to its requests, one at a time and within bounds.

What is HTTP is judged by llhttp, in its strict ways; here it is decided how much of what has come
it is given, so that it never sees beyond the end of a request. What a request means is a service's
business, and nothing is known of sockets and clocks.
"""

from __future__ import annotations

import re
from typing import Any

import httptools

from syncd.web.answers import Refused
from syncd.web.request import Head, Malformed
from syncd.web.service import Service

_HEAD = 32 * 1024  # bytes of request line and headers
_LINE = 8190  # bytes of any one of them
_HEADERS = 128
_PARTS = 256  # of a body that are read in a row, so that a hostile one does not hold up the others

_END = b"\r\n\r\n"  # of headers, and of a chunked body
_UPGRADE = re.compile(rb"\r\n(?i:upgrade):")


class Incoming:
    """What has come on a connection from `host`, empty for a unix socket: a request or a part of one, and what follows.

    Give it bytes by adding to `ahead`, then `read`, and again while there is `more`; `forget` a request before
    the next one. While one comes, `request` is there from the end of its headers and `refused` from when it
    is not admitted or too large. It is `whole` from its last byte; `keep` says that its client expects another
    answer after this one.
    """

    __slots__ = (
        "_body", "_fields", "_head", "_host", "_left", "_limit", "_parser", "_service", "_size", "_target", "_version",
        "_void", "ahead", "keep", "more", "refused", "request", "whole",
    )  # fmt: skip

    def __init__(self, service: Service[Any], host: str) -> None:
        self.ahead = b""  # not given to the parser yet
        self.keep = False
        self._service = service
        self._host = host
        self._parser = httptools.HttpRequestParser(self)
        self.forget()

    def forget(self) -> None:
        """Be ready for the next request."""
        self.request: Head | None = None
        self.refused: Refused | None = None
        self.whole = False
        self.more = False  # in `ahead`, which can be read at once
        self._head = b""  # as far as it has come
        self._version = ""
        self._target = b""
        self._fields: list[tuple[str, str]] = []
        self._left: int | None = None  # bytes of the body that are still to come, where that is known
        self._body = bytearray()  # and no list: pieces may be smaller than what they cost in one
        self._size = self._limit = 0  # of the body
        self._void = 0  # bytes since the last one of the body

    def close(self) -> None:
        """Let go of the parser, which knows this and would keep it. Nothing is read from then on."""
        del self._parser

    @property
    def size(self) -> int:
        """Bytes that are held of a request, and of what follows."""
        return len(self._head) + len(self._body) + len(self.ahead)

    @property
    def body(self) -> bytes:
        """The body as far as it has come, and as it is allowed."""
        return bytes(self._body)

    def read(self) -> bool:
        """Read a while in what has come, to the end of a request at most; tell if one has begun. Raises Malformed."""
        if not self._head:
            self.ahead = self.ahead.lstrip(b"\r\n")  # empty lines before a request are none, as RFC 9112 has it
        begun = bool(self.ahead or self._head)
        try:
            self._read()
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None  # as it was raised below
        except httptools.HttpParserUpgrade as error:
            raise Malformed("it asks for another protocol") from error
        except httptools.HttpParserError as error:
            raise Malformed(str(error)) from error
        return begun

    def _read(self) -> None:
        data, at, parts = self.ahead, 0, 0
        while at < len(data) and not self.whole and parts < _PARTS:
            part = data[at : _stop(data, at) if self._left is None else at + self._left]
            if not part:
                break
            at, parts = at + len(part), parts + 1
            if self.request is None:
                self._read_head(part)
                continue
            if self._left is not None:
                self._left -= len(part)
            self._void += len(part)
            self._parser.feed_data(part)
            if self._void > _HEAD:
                raise Malformed("there is too much around its body")
        self.ahead, self.more = data[at:], parts == _PARTS

    def _read_head(self, part: bytes) -> None:
        self._head += part
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else may be passed over. The parser would not, so it is not to see it, nor
            # to remember that the connection was to end.
            head = _UPGRADE.sub(b"\r\nX-Upgrade:", self._head)
            self.forget()
            self._parser, self._head = httptools.HttpRequestParser(self), head
            self._parser.feed_data(head)
        if len(self._head) > _HEAD:
            raise Malformed("its headers are too long")
        if self._version:
            self._begin()

    def _begin(self) -> None:
        method, target = self._parser.get_method(), self._target
        self.request = self._service.begin(self._version, method, target, self._fields, self._host)
        self._left = self.request.length
        try:
            self._limit = self._service.admit(self.request)
        except Refused as refused:
            self.refused = refused
        else:
            if (self._left or 0) > self._limit:
                self.refused = Refused("too_large", f"its Content-Length is more than {self._limit} bytes")

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        """Hold that no request begins in what was given to the parser as the end of another one."""
        if self.whole:
            raise Malformed("it goes on where it should have ended")

    def on_url(self, target: bytes) -> None:
        """Take the target, or a part of it."""
        self._target += target
        if len(self._target) > _LINE:
            raise Malformed("its target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a chunked body are dropped."""
        if len(name) + len(value) > _LINE:
            raise Malformed("one of its headers is too long")
        if self.request is None:
            # Bytes that are not UTF-8 become lone surrogates, which nobody takes for anything else.
            self._fields.append((name.decode(), value.rstrip(b" \t").decode("utf-8", "surrogateescape")))

    def on_headers_complete(self) -> None:
        """Ask what the parser forgets with the end of the request."""
        if len(self._fields) > _HEADERS:
            raise Malformed("its headers are too many")
        self._version = self._parser.get_http_version()
        self.keep = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a part of the body, and count it."""
        self._void = 0
        self._size += len(data)
        if self._size <= self._limit:
            self._body += data
        elif self.refused is None:
            self.refused = Refused("too_large", f"its body is more than {self._limit} bytes")

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self.whole = True


def _stop(data: bytes, at: int) -> int:
    """Return where the headers or chunks in `data` may end for the first time, or may do with the next bytes.

    Either ends with an empty line, so that who stops there has never read beyond.
    """
    if (end := data.find(_END, at)) >= 0:
        return end + len(_END)
    return len(data) - next(held for held in (3, 2, 1, 0) if data.endswith(_END[:held]))
