"""Connections to Abyssale's API whose answers end: bounded in size and time, and plain.

The official client reads whatever comes, compressed or not, into memory. What it asks, how
often and with which key is not known here. Importing this loads the client's HTTP library.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

PLAIN = {"Accept-Encoding": "identity"}
"""The headers to ask with."""


class Bounded(httpx.AsyncHTTPTransport):
    """Raises httpx.HTTPError for an answer that is longer than `size` bytes or lasts longer than `seconds`."""

    def __init__(self, *, size: int, seconds: float, **connections: Any) -> None:
        super().__init__(**connections)
        self._size = size
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask, and give the answer with a body that counts itself."""
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx.DecodingError("an encoding that was not asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - this is the asynchronous transport
        response.stream = _Counted(response.stream, self._size, time.monotonic() + self._seconds)
        return response


class _Counted(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, size: int, deadline: float) -> None:
        self._stream = stream
        self._left = size
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._left -= len(piece)
            if self._left < 0 or time.monotonic() > self._deadline:
                raise httpx.ReadError("an answer without an end")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
