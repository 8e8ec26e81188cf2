"""Those who look again and again wake together."""

from __future__ import annotations

import asyncio
import operator

from syncd.beat import beat, each_beat, next_beat


def test_the_next_beat_is_a_later_multiple():
    assert next_beat(0.875, 0.0) == 0.875
    assert next_beat(0.875, 0.875) == 1.75  # never now


def test_periods_that_are_multiples_meet():
    beats = {now / 7: (next_beat(0.875, now / 7), next_beat(1.75, now / 7)) for now in range(10_000)}
    assert all(now < short <= long for now, (short, long) in beats.items())
    assert all(next_beat(0.875, short) == long for short, long in beats.values() if short != long)


async def test_all_who_wait_for_a_beat_wake_at_once():
    loop = asyncio.get_running_loop()
    woke = []

    async def wait():
        await beat(0.25)
        woke.append(loop.time() // 0.25)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(wait())
            await asyncio.sleep(0.003)
    assert len(woke) == 3
    assert woke[-1] - woke[0] <= 1  # they may have begun on two sides of one


async def test_a_look_is_taken_at_each_beat_until_the_end_of_the_block():
    looks, enough = [], asyncio.Event()

    def look():
        looks.append(asyncio.get_running_loop().time())
        if len(looks) == 4:
            enough.set()
        return 0.015625 if len(looks) < 3 else 0.0625

    with each_beat(look):
        assert len(looks) == 1
        await enough.wait()
    await asyncio.sleep(0.1)
    assert len(looks) == 4
    periods = 0.015625, 0.015625, 0.0625
    assert all(map(operator.ge, looks[1:], map(next_beat, periods, looks)))
