"""From a response to a verified temp file: bounded, hashed while it is written, judged by content.

A small body is written on the loop, which beats any hop to a thread; of a larger one a piece
is hashed and written in a thread while the next one arrives. The file is not synced here, and
it is gone whenever anything but success leaves this module.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiofiles.threadpool import wrap

from syncd.errors import StoreUnavailable
from syncd.mirror.content import HEAD, identify
from syncd.mirror.limits import Bandwidth
from syncd.mirror.setback import Lasting, Setback
from syncd.model import Kind

if TYPE_CHECKING:
    from hashlib import _Hash

    from _typeshed import ReadableBuffer

PIECE = 1 << 20
"""Bytes written at once. A download holds two of them, and aiohttp's buffer."""
SMALL = 256 << 10
"""Up to this a whole body is written on the loop."""
PATIENCE = 60.0
"""Seconds spent waiting for the server after which its average rate has to be above SLOWEST."""
SLOWEST = 1024
"""Bytes per second. Who drips a byte now and then would hold a slot for ever."""

_MD5_ETAG = re.compile(r'"([0-9a-fA-F]{32})"')


@dataclass(frozen=True, slots=True)
class Body:
    """What was saved: size in bytes, SHA-256 in hex, and the type that the content shows."""

    bytes: int
    sha256: str
    type: str


async def save(
    response: aiohttp.ClientResponse,
    path: Path,
    *,
    declared: str,
    kind: Kind,
    max_size: int,
    bandwidth: Bandwidth,
) -> Body:
    """Read the body into a new file at `path` and verify it: whole, at most `max_size`, what was announced.

    Raises Setback where the body is at fault, aiohttp's errors where the connection is, and
    StoreUnavailable where the disk is. `path` must not exist.
    """
    if (response.content_length or 0) > max_size:
        raise _too_large(max_size)
    arrival = _Arrival(response, max_size, bandwidth)
    first = await arrival.piece()
    if not first:
        raise Setback("an empty body")
    found = identify(bytes(first[:HEAD]), declared, kind)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    promised = _promised_md5(response)
    with _HashedFile(path, [sha256, md5] if promised else [sha256]) as file, _removed_on_failure(path):
        if arrival.ended and len(first) <= SMALL:
            file.write(first)
            file.close()
        else:
            await _write_behind(file, first, arrival)
        if promised and md5.hexdigest() != promised:
            raise Setback("a body that its ETag contradicts")
    return Body(arrival.total, sha256.hexdigest(), found)


class _Arrival:
    """A body coming in, in pieces, counted and timed. `ended` once all of it was handed out."""

    def __init__(self, response: aiohttp.ClientResponse, max_size: int, bandwidth: Bandwidth) -> None:
        self._content = response.content
        self._max_size = max_size
        self._bandwidth = bandwidth
        self._waited = 0.0
        self.total = 0
        self.ended = False

    async def piece(self) -> bytearray:
        """Collect the next PIECE bytes; fewer only at the end, none after it."""
        piece = bytearray()
        while len(piece) < PIECE:
            began = time.monotonic()
            chunk = await self._content.read(PIECE - len(piece))
            # Our own disk and bandwidth limit don't count against the server.
            self._waited += time.monotonic() - began
            if not chunk:
                self.ended = True
                break
            piece += chunk
            self.total += len(chunk)
            if self.total > self._max_size:
                raise _too_large(self._max_size)
            if self._waited > PATIENCE and self.total < self._waited * SLOWEST:
                raise Setback(f"a drip of {self.total} bytes in {self._waited:.0f}s")
            await self._bandwidth.take(len(chunk))
        return piece


async def _write_behind(file: _HashedFile, piece: bytearray, arrival: _Arrival) -> None:
    """Write piece after piece in a thread, each while the next one arrives."""
    behind = wrap(file)
    while piece:
        writing = asyncio.create_task(behind.write(piece))
        try:
            piece = await arrival.piece()
        finally:
            await writing
    await behind.close()  # a network share may take its time, and tells of a full disk only here


class _HashedFile(io.FileIO):
    """A new file that hashes what it writes; any OSError of it is the store's.

    A lock keeps the file open while a thread writes whose task has been cancelled: its
    descriptor could be another file's by then.
    """

    def __init__(self, path: Path, digests: Sequence[_Hash]) -> None:
        self._path = path
        self._digests = digests
        self._writing = threading.Lock()
        with _disk(path):
            super().__init__(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))

    def write(self, data: ReadableBuffer, /) -> int:
        with self._writing, _disk(self._path), memoryview(data) as rest:
            for digest in self._digests:
                digest.update(rest)
            done = 0
            while done < len(rest):
                done += super().write(rest[done:])
        return done

    def close(self) -> None:
        with self._writing, _disk(self._path):
            super().close()


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what is left behind is pruned with the other stray temp files
            path.unlink()
        raise


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path.parent}: {error.strerror or error}") from error


def _promised_md5(response: aiohttp.ClientResponse) -> str | None:
    """Read the MD5 that object storage gives as the ETag of a file uploaded in one part.

    With a key of one's own the ETag is of that form too, but of the encrypted bytes.
    """
    headers = response.headers
    encrypted = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    if encrypted or "x-amz-server-side-encryption-customer-algorithm" in headers:
        return None
    match = _MD5_ETAG.fullmatch(headers.get("ETag", ""))
    return match[1].lower() if match else None


def _too_large(max_size: int) -> Setback:
    return Setback(f"more than download.max_size ({max_size} bytes)", Lasting.FINAL)
