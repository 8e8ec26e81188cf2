"""From a response to a verified temp file: bounded, timed, judged by its content.

The beginning, for most files all of it, takes one way to a thread, where it is hashed and written
without holding up the loop. What follows is hashed and, beside that, written while more arrives.
What a cut leaves behind for the next attempt is decided here, what it looks like on the disk is `part`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiofiles.threadpool import wrap

from syncd.mirror.behind import Behind, Work
from syncd.mirror.content import HEAD, identify
from syncd.mirror.limits import Bandwidth
from syncd.mirror.part import Part, PartFile
from syncd.mirror.setback import Lasting, Setback
from syncd.model import Kind

if TYPE_CHECKING:
    from _hashlib import HASH

BEGINNING = 512 << 10
"""Bytes collected before the first ones are written: most files have no more."""
PATIENCE = 60.0
"""Seconds spent waiting for the server after which its average rate has to be above SLOWEST."""
SLOWEST = 1024
"""Bytes per second. Who drips a byte now and then would hold a slot for ever."""


async def save(
    response: aiohttp.ClientResponse,
    part: Part,
    *,
    declared: str,
    kind: Kind,
    max_size: int,
    bandwidth: Bandwidth,
) -> None:
    """Read the body into `part` and verify the whole: complete, at most `max_size`, what was announced.

    Raises Setback where the body is at fault, aiohttp's errors where the connection is, and
    StoreUnavailable where the disk is. What the next attempt can continue stays in the part then,
    for its owner to discard; anything else is gone.
    """
    part.accept(response)
    arrival = _Arrival(response, part.received, max_size, bandwidth)
    try:
        _check_size(part.length or 0, max_size)
        if (rest := (part.length or 0) - part.received) > BEGINNING:
            part.check_space(rest)
        await _take(arrival, part, declared, kind)
        part.verify()
    except BaseException:
        if not part.can_go_on:
            part.discard()
        raise


async def _take(arrival: _Arrival, part: Part, declared: str, kind: Kind) -> None:
    """Write what arrives, up to a fault; no beginning that is too short to tell, or not what was announced."""
    beginning = await arrival.beginning()
    if not part.received:
        if arrival.fault is not None and len(beginning) < HEAD:
            raise arrival.fault
        if not beginning:
            raise Setback("an empty body")
        part.type = identify(bytes(beginning[:HEAD]), declared, kind)
    await _to_its_end(partial(part.append, beginning))
    if not arrival.ended:
        with part.open() as file:
            await _write_behind(file, part.digests, arrival)
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

    async def beginning(self) -> bytes | bytearray:
        """Collect the first BEGINNING bytes or somewhat more; fewer only where that is all."""
        beginning: bytes | bytearray = await self.piece()
        if not self.ended and len(beginning) < BEGINNING:
            beginning = bytearray(beginning)
            while not self.ended and len(beginning) < BEGINNING:
                beginning += await self.piece()
        return beginning

    async def piece(self) -> bytes:
        """Wait for some bytes, none at the end. Their coming is timed; our own disk and bandwidth limit don't count."""
        began = time.monotonic()
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, TimeoutError) as fault:
            self.fault = fault
            chunk = b""
        self.ended = not chunk or self._content.at_eof()
        self._waited += time.monotonic() - began
        self.total += len(chunk)
        _check_size(self.total, self._max_size)
        came = self.total - self._before
        if self._waited > PATIENCE and came < self._waited * SLOWEST:
            raise Setback(f"a drip of {came} bytes in {self._waited:.0f}s")
        await self._bandwidth.take(len(chunk))
        return chunk


async def _write_behind(file: PartFile, digests: Sequence[HASH], arrival: _Arrival) -> None:
    """Write and hash what else arrives, each digest in a thread of its own."""
    written = wrap(file)
    async with Behind(written.writelines, *map(_hashing, digests)) as behind:
        while piece := await arrival.piece():
            await behind.put(piece)
    await written.close()  # a network share may take its time, and tells of a full disk only here


def _hashing(digest: HASH) -> Work:
    def update(pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            digest.update(piece)

    return lambda pieces: asyncio.to_thread(update, pieces)


async def _to_its_end(work: Callable[[], None]) -> None:
    """Work in a thread, and wait for its end where the task is cancelled, too: only then can its file be discarded."""
    turn, cancelled = asyncio.get_running_loop().run_in_executor(None, work), None
    while not turn.done():
        try:
            await asyncio.wait((turn,))
        except asyncio.CancelledError as error:  # maybe again and again
            cancelled = error
    if cancelled is not None:
        turn.exception()  # taken, or its loss would be logged
        raise cancelled
    turn.result()


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise Setback(f"more than download.max_size ({max_size} bytes)", Lasting.FINAL)
