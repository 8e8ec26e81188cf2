"""Work that follows a download: its pieces are hashed and written in threads while more of them arrive.

Each hand-over between two threads costs turns of Python's lock, more than the work on a piece
where hashing is fast. So a thread that is at work also takes what arrives meanwhile, and small
pieces wait for each other; and no kind of work waits for another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Self

ENOUGH = 128 << 10
"""Bytes that are worth a turn in a thread; fewer wait for more of them, or for the end."""
MOST = 2 << 20
"""Bytes that may wait for one kind of work; who brings more waits until half of them are done."""
TURN = 8 << 20
"""Bytes after which a thread is given to whoever else waits for one."""

Work = Callable[[Iterator[bytes]], Awaitable[object]]
"""One turn: does its work on all that it is handed, in a thread."""


class Behind:
    """The works that each piece is put to, in the order of their coming, from `async with` until its end.

    The end waits until all of the work is done, whatever the reason for it, so that the works have seen the
    same pieces unless one of them failed. What that one raised is raised by the next `put`, or at the end, also
    where something else has gone wrong.
    """

    def __init__(self, *works: Work) -> None:
        self._lines = [_Line(work) for work in works]

    async def put(self, piece: bytes) -> None:
        """Hand over what has arrived; returns when the next piece may."""
        for line in self._lines:
            line.put(piece)
        for line in self._lines:
            await line.room()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        for line in self._lines:
            await line.end()
        if error is None or isinstance(error, Exception):  # what has failed here would be missing from the rest
            for line in self._lines:
                line.check()


class _Line:
    """What waits for one kind of work. The loop puts in, one thread at a time takes out."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._put = self._done = 0  # each is written on one side only
        self._turn: asyncio.Future[object] | None = None
        self._wanted = False  # somebody waits for `_moved`
        self._moved = asyncio.Event()
        self._error: BaseException | None = None

    def put(self, piece: bytes) -> None:
        if self._error is None:
            self._waiting.append(piece)
            self._put += len(piece)
            self._begin(ENOUGH)

    async def room(self) -> None:
        """Wait while too much waits; raises what the work has raised."""
        while self._put - self._done > MOST and self._error is None:
            await self._move()
        self.check()

    async def end(self) -> None:
        """Wait until the work is done."""
        while self._begin(1) or self._turn is not None:
            await self._move()

    def check(self) -> None:
        """Raise what the work has raised."""
        if self._error is not None:
            raise self._error

    async def _move(self) -> None:
        """Wait for the end of a turn, or until half of what may wait is done."""
        self._moved.clear()
        self._wanted = True
        try:
            await self._moved.wait()
        finally:
            self._wanted = False

    def _begin(self, enough: int) -> bool:
        """Begin a turn where none is taken, if so many bytes wait; tells whether one has begun."""
        if self._turn is not None or self._put - self._done < enough:
            return False
        self._turn = asyncio.ensure_future(self._work(self._pieces()))
        self._turn.add_done_callback(self._over)
        return True

    def _over(self, turn: asyncio.Future[object]) -> None:
        self._turn = None
        self._error = asyncio.CancelledError() if turn.cancelled() else turn.exception()
        if self._error is not None:
            self._waiting.clear()
            self._put = self._done
        self._begin(ENOUGH)
        self._moved.set()

    def _pieces(self) -> Iterator[bytes]:
        """Hand out what waits, and what is put in meanwhile. Runs in the thread."""
        last = self._done + TURN
        while self._done < last:
            try:
                piece = self._waiting.popleft()
            except IndexError:
                return
            yield piece
            self._done += len(piece)
            if self._wanted and self._put - self._done <= MOST // 2:
                self._loop.call_soon_threadsafe(self._moved.set)
