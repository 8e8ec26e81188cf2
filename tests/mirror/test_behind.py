import asyncio
import itertools
import threading
from functools import partial

import pytest

from syncd.errors import StoreUnavailable
from syncd.mirror import behind as under_test
from syncd.mirror.behind import ENOUGH, MOST, TURN, Behind

PIECE = bytes(ENOUGH)


class Collected:
    """A work that keeps what it is handed; a thread of it waits while it is not `allowed`."""

    def __init__(self):
        self.seen = []
        self.turns = 0
        self.allowed = threading.Event()
        self.allowed.set()
        self.begun = asyncio.Event()

    def do(self, loop, pieces):
        self.turns += 1
        for piece in pieces:
            loop.call_soon_threadsafe(self.begun.set)
            assert self.allowed.wait(10)
            self.seen.append(piece)

    def __call__(self, pieces):
        return asyncio.to_thread(self.do, asyncio.get_running_loop(), pieces)

    @property
    def size(self):
        return sum(map(len, self.seen))


def numbered(number, size=ENOUGH):
    return number.to_bytes(4, "big") + bytes(size - 4)


@pytest.mark.parametrize("size", [4, 1000, ENOUGH - 1, ENOUGH, 3 * ENOUGH])
async def test_each_work_sees_every_piece_in_its_order(size):
    one, other = Collected(), Collected()
    pieces = [numbered(number, size) for number in range(200)]
    async with Behind(one, other) as behind:
        for piece in pieces:
            await behind.put(piece)
    assert one.seen == other.seen == pieces


async def test_small_pieces_wait_for_each_other():
    work = Collected()
    async with Behind(work) as behind:
        for number in range(7):
            await behind.put(numbered(number, ENOUGH // 8))
        await asyncio.sleep(0)
        assert work.turns == 0
        await behind.put(PIECE)
        await work.begun.wait()
        for number in range(7):
            await behind.put(numbered(number, ENOUGH // 8))
    assert work.turns <= 2
    assert len(work.seen) == 15


async def test_nothing_at_all_is_no_work():
    work = Collected()
    async with Behind(work):
        pass
    assert work.turns == 0


async def test_who_brings_too_much_waits_and_no_work_waits_for_another():
    slow, quick = Collected(), Collected()
    slow.allowed.clear()
    bringing = asyncio.create_task(bring(slow, quick, pieces=[PIECE] * (3 * MOST // ENOUGH)))
    await slow.begun.wait()
    async with asyncio.timeout(10):
        while quick.size <= MOST:
            await asyncio.sleep(0.001)
    assert quick.size == MOST + ENOUGH
    assert not bringing.done()
    slow.allowed.set()
    await bringing
    assert slow.seen == quick.seen
    assert slow.size == 3 * MOST


async def test_a_thread_is_given_back_after_a_while(monkeypatch):
    monkeypatch.setattr(under_test, "TURN", 2 * ENOUGH)
    work = Collected()
    async with Behind(work) as behind:
        for _ in range(10):
            await behind.put(PIECE)
    assert len(work.seen) == 10
    assert work.turns >= 5
    assert TURN >= MOST  # a turn is not ended by each wait


async def bring(*works, pieces, error=None):
    async with Behind(*works) as behind:
        for piece in pieces:
            await behind.put(piece)
        if error is not None:
            raise error


def failing(error, pieces):
    next(pieces)
    raise error


FULL = partial(asyncio.to_thread, failing, StoreUnavailable("full"))
TOO_LITTLE_FOR_A_TURN = [b"little"]


async def test_what_a_work_raises_reaches_who_brings_more():
    async with asyncio.timeout(10):
        with pytest.raises(StoreUnavailable, match="full"):
            await bring(FULL, Collected(), pieces=itertools.repeat(PIECE))


async def test_what_a_work_raises_in_the_end_is_raised_there():
    with pytest.raises(StoreUnavailable, match="full"):
        await bring(FULL, pieces=TOO_LITTLE_FOR_A_TURN)


async def test_what_a_work_raises_is_not_hidden_by_something_else():
    with pytest.raises(StoreUnavailable, match="full"):
        await bring(FULL, pieces=TOO_LITTLE_FOR_A_TURN, error=LookupError())


async def test_the_works_end_also_where_something_else_goes_wrong():
    work = Collected()
    with pytest.raises(LookupError):
        await bring(work, pieces=[PIECE] * 3, error=LookupError())
    assert len(work.seen) == 3


async def test_who_is_cancelled_leaves_no_thread_at_work():
    work, put = Collected(), []
    work.allowed.clear()
    bringing = asyncio.create_task(bring(work, pieces=(put.append(number) or PIECE for number in itertools.count())))
    await work.begun.wait()
    bringing.cancel()
    await asyncio.sleep(0)
    assert not bringing.done()
    work.allowed.set()
    with pytest.raises(asyncio.CancelledError):
        await bringing
    assert len(work.seen) == len(put)
