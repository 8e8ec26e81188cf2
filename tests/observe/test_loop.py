import asyncio
import logging
import sys
import threading
import time

import pytest

from syncd.observe import loop
from syncd.observe.loop import LONGEST, NOTABLE, LoopWatch, Recent


def watched(work):
    """Run a coroutine function in a loop under watch; returns what the watch told."""
    told = []
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(LoopWatch(lambda *of: told.append(of)))
    ) as runner:
        runner.run(work())
    return told


async def slow():
    time.sleep(0.15)  # noqa: ASYNC251 - what is to be found


async def test_one_slow_callback_is_told():
    ((held, starved),) = await asyncio.to_thread(watched, slow)
    assert held + starved >= 0.15
    assert held >= 0.15 - starved


async def test_many_quick_ones_that_run_without_a_pause_are_told_as_one():
    async def many():
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(3)))

        async def quick():
            time.sleep(0.002)  # noqa: ASYNC251 - what is to be found

        await asyncio.gather(*(quick() for _ in range(50)))

    held, starved = max(await asyncio.to_thread(watched, many))
    assert held + starved >= 0.1


async def test_a_loop_that_waits_is_not_held_up():
    async def wait():
        for _ in range(5):
            await asyncio.sleep(0.02)

    assert sum(held for held, _ in await asyncio.to_thread(watched, wait)) < NOTABLE


def test_a_thread_that_keeps_the_interpreter_to_itself_is_told():
    async def beside():
        def compute():
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                pass

        threading.Thread(target=compute).start()
        await asyncio.sleep(0.01)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(10.0)
    try:
        told = watched(beside)
    finally:
        sys.setswitchinterval(usual)
    assert max(held + starved for held, starved in told) >= 0.1


@pytest.fixture
def times(tmp_path, monkeypatch):
    """What the kernel says of the thread: ran, starved, turns."""
    monkeypatch.setattr(loop, "_TIMES", str(tmp_path / "schedstat"))
    (tmp_path / "schedstat").write_text("5000000 7000000 1\n")
    return tmp_path / "schedstat"


def test_what_the_machine_took_is_told_apart(times):
    async def starving():
        await slow()
        times.write_text("9000000 127000000 2\n")

    ((held, starved),) = watched(starving)
    assert starved == pytest.approx(0.12)
    assert held >= 0.03


def test_a_kernel_that_does_not_say_leaves_it_all_to_us(times):
    times.unlink()
    ((held, starved),) = watched(slow)
    assert held >= 0.15
    assert starved == 0


def test_a_long_one_is_logged_and_soon_after_it_only_counted(caplog, monkeypatch):
    async def thrice():
        for quiet in (60.0, 0.0, 0.0):
            monkeypatch.setattr(loop, "_QUIET", quiet)
            await asyncio.sleep(0)
            await slow()
            await asyncio.sleep(0)
            time.sleep(NOTABLE)  # noqa: ASYNC251 - told, not logged

    with caplog.at_level(logging.WARNING):
        watched(thrice)
    (line,) = caplog.records
    assert line.seconds >= 0.15 > LONGEST
    assert line.unlogged_before == 0


def test_the_largest_of_late_stays_for_a_while_and_goes():
    recent = Recent(60.0)
    assert recent.largest(1000.0) == 0
    recent.note(0.3, 1000.0)
    recent.note(0.1, 1010.0)
    assert recent.largest(1010.0) == 0.3
    recent.note(0.2, 1061.0)
    assert recent.largest(1070.0) == 0.3
    assert recent.largest(1100.0) == 0.3
    assert recent.largest(1125.0) == 0.2
    assert recent.largest(1185.0) == 0
