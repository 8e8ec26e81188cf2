import asyncio
import time

from syncd.mirror.limits import Bandwidth, Slots


class Crowd:
    """Downloads that come, wait, stay until told, and go; `inside` are the ones let in, in order."""

    def __init__(self, total: int, per_host: int) -> None:
        self.limits = (total, per_host)
        self.slots = Slots(lambda: self.limits)
        self.inside: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        """A name's first letter is its host."""
        for name in names:
            self._leave[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._visit(name))
        await settled()

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await self._tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name]])
        await settled()

    async def _visit(self, name: str) -> None:
        with await self.slots.take(name[0]):
            self.inside.append(name)
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove(name)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_total_get_in_and_in_order():
    crowd = Crowd(2, 2)
    await crowd.come("a1", "b1", "c1", "d1")
    assert crowd.inside == ["a1", "b1"]
    await crowd.go("b1")
    assert crowd.inside == ["a1", "c1"]
    await crowd.go("a1")
    assert crowd.inside == ["c1", "d1"]


async def test_a_host_without_room_lets_the_others_pass():
    crowd = Crowd(3, 1)
    await crowd.come("a1", "a2", "a3", "b1")
    assert crowd.inside == ["a1", "b1"]
    await crowd.go("a1")
    assert crowd.inside == ["b1", "a2"]


async def test_of_several_hosts_the_one_that_waited_longest_is_next():
    crowd = Crowd(1, 1)
    await crowd.come("a1", "b1", "a2", "c1")
    for expected in ("a1", "b1", "a2", "c1"):
        assert crowd.inside == [expected]
        await crowd.go(expected)


async def test_who_is_cancelled_while_waiting_takes_no_slot():
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2", "b1")
    await crowd.cancel("a2")
    await crowd.go("a1")
    assert crowd.inside == ["b1"]


async def test_who_is_cancelled_at_the_door_gives_the_slot_back():
    crowd = Crowd(1, 1)
    with await crowd.slots.take("a"):
        await crowd.come("a1", "a2")
    await crowd.cancel("a1")  # let in by now, and not woken yet
    assert crowd.inside == ["a2"]


async def test_who_is_cancelled_inside_gives_the_slot_back():
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2")
    await crowd.cancel("a1")
    assert crowd.inside == ["a2"]


async def test_raised_limits_let_the_waiting_in():
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2", "b1")
    crowd.limits = (3, 2)
    crowd.slots.refill()
    await settled()
    assert crowd.inside == ["a1", "a2", "b1"]


async def test_lowered_limits_hold_for_the_next():
    crowd = Crowd(3, 3)
    await crowd.come("a1", "a2", "a3", "a4")
    crowd.limits = (1, 1)
    await crowd.go("a1")
    await crowd.go("a2")
    assert crowd.inside == ["a3"]
    await crowd.go("a3")
    assert crowd.inside == ["a4"]


async def test_nothing_is_kept_of_hosts_that_are_done_with():
    crowd = Crowd(1, 1)
    await crowd.come("a1", "b1", "c1")
    await crowd.cancel("b1")
    await crowd.go("a1")
    await crowd.go("c1")
    assert not crowd.slots._held
    assert not crowd.slots._waiting


async def test_bandwidth_is_shared_by_all():
    bandwidth = Bandwidth(lambda: 100_000)
    began = time.monotonic()
    await asyncio.gather(*(bandwidth.take(10_000) for _ in range(4)))
    assert time.monotonic() - began >= 0.35


async def test_unused_bandwidth_is_not_saved_up(monkeypatch):
    monkeypatch.setattr("syncd.mirror.limits.BURST", 0.01)
    bandwidth = Bandwidth(lambda: 100_000)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await bandwidth.take(10_000)
    assert time.monotonic() - began >= 0.08


async def test_no_limit_means_no_waiting():
    bandwidth = Bandwidth(lambda: 0)
    async with asyncio.timeout(1):
        await bandwidth.take(1 << 40)


async def test_a_lifted_limit_frees_who_waits():
    limit = 1
    bandwidth = Bandwidth(lambda: limit)
    waiting = asyncio.create_task(bandwidth.take(1 << 20))
    await settled()
    limit = 0
    async with asyncio.timeout(2):
        await waiting
    async with asyncio.timeout(1):
        await bandwidth.take(1)
    limit = 1 << 20
    async with asyncio.timeout(2):
        await bandwidth.take(1)
