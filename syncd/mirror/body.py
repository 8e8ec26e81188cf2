"""From a response to a verified temp file: bounded, timed, judged by its content.

A small body is written on the loop, which beats any hop to a thread; of a larger one a piece
is hashed and written in a thread while the next one arrives. What a cut leaves behind for the
next attempt is decided here, what it looks like on the disk is `part`'s.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp
from aiofiles.threadpool import wrap

from syncd.mirror.content import HEAD, identify
from syncd.mirror.limits import Bandwidth
from syncd.mirror.part import Part, PartFile
from syncd.mirror.setback import Lasting, Setback
from syncd.model import Kind

PIECE = 1 << 20
"""Bytes written at once. A download holds two of them, and aiohttp's buffer."""
SMALL = 256 << 10
"""Up to this a whole body is written on the loop."""
PATIENCE = 60.0
"""Seconds spent waiting for the server after which its average rate has to be above SLOWEST."""
SLOWEST = 1024
"""Bytes per second. Who drips a byte now and then would hold a slot for ever."""


@dataclass(frozen=True, slots=True)
class Body:
    """What was saved: size in bytes, SHA-256 in hex, and the type that the content shows."""

    bytes: int
    sha256: str
    type: str


async def save(
    response: aiohttp.ClientResponse,
    part: Part,
    *,
    declared: str,
    kind: Kind,
    max_size: int,
    bandwidth: Bandwidth,
) -> Body:
    """Read the body into `part` and verify the whole: complete, at most `max_size`, what was announced.

    Raises Setback where the body is at fault, aiohttp's errors where the connection is, and
    StoreUnavailable where the disk is. What the next attempt can continue stays in the part then,
    for its owner to discard; anything else is gone.
    """
    part.accept(response)
    arrival = _Arrival(response, part.received, max_size, bandwidth)
    try:
        _check_size(part.length or 0, max_size)
        part.check_space((part.length or 0) - part.received)
        await _take(arrival, part, declared, kind)
        part.verify()
    except BaseException:
        if not part.can_go_on:
            part.discard()
        raise
    return Body(part.received, part.sha256, part.type)


async def _take(arrival: _Arrival, part: Part, declared: str, kind: Kind) -> None:
    """Write what arrives, up to a fault; no beginning that is too short to tell, or not what was announced."""
    piece = await arrival.piece()
    if not part.received:
        if arrival.fault is not None and len(piece) < HEAD:
            raise arrival.fault
        if not piece:
            raise Setback("an empty body")
        part.type = identify(bytes(piece[:HEAD]), declared, kind)
    with part.open() as file:
        if arrival.ended and len(piece) <= SMALL:
            file.write(piece)
            file.close()
        else:
            await _write_behind(file, piece, arrival)
    if arrival.fault is not None:
        raise arrival.fault


class _Arrival:
    """A body coming in, in pieces, counted and timed.

    `ended` once all of it was handed out, or all that came before a `fault` of the connection.
    `total` counts what was here `before`, too.
    """

    def __init__(self, response: aiohttp.ClientResponse, before: int, max_size: int, bandwidth: Bandwidth) -> None:
        self._content = response.content
        self._before = before
        self._max_size = max_size
        self._bandwidth = bandwidth
        self._waited = 0.0
        self.total = before
        self.ended = False
        self.fault: aiohttp.ClientError | TimeoutError | None = None

    async def piece(self) -> bytearray:
        """Collect the next PIECE bytes; fewer only at the end, none after it."""
        piece = bytearray()
        while len(piece) < PIECE and not self.ended:
            chunk = await self._read(PIECE - len(piece))
            self.ended = not chunk
            piece += chunk
            self.total += len(chunk)
            _check_size(self.total, self._max_size)
            came = self.total - self._before
            if self._waited > PATIENCE and came < self._waited * SLOWEST:
                raise Setback(f"a drip of {came} bytes in {self._waited:.0f}s")
            await self._bandwidth.take(len(chunk))
        return piece

    async def _read(self, most: int) -> bytes:
        began = time.monotonic()
        try:
            return await self._content.read(most)
        except (aiohttp.ClientError, TimeoutError) as fault:
            self.fault = fault
            return b""
        finally:
            # Our own disk and bandwidth limit don't count against the server.
            self._waited += time.monotonic() - began


async def _write_behind(file: PartFile, piece: bytearray, arrival: _Arrival) -> None:
    """Write piece after piece in a thread, each while the next one arrives."""
    behind = wrap(file)
    while piece:
        writing = asyncio.create_task(behind.write(piece))
        try:
            piece = await arrival.piece()
        finally:
            await writing
    await behind.close()  # a network share may take its time, and tells of a full disk only here


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise Setback(f"more than download.max_size ({max_size} bytes)", Lasting.FINAL)
