"""When deliveries are read: at once, but not while more of them pour in than can be read."""

import asyncio

from syncd.pipeline import reading
from syncd.pipeline.reading import Pour


async def test_a_few_deliveries_are_read_at_once():
    looks = []

    def accepted() -> int:
        looks.append(2 * len(looks))
        return looks[-1]

    pour = Pour(accepted)
    for _ in range(3):
        await pour.let_through()
    assert len(looks) == 3


async def test_a_pour_is_let_through_before_it_is_read():
    seen, drying_up = 0, asyncio.Event()
    looked_often = asyncio.Event()

    def accepted() -> int:
        nonlocal seen
        if not drying_up.is_set():
            seen += 10_000
            if seen > 50_000:
                looked_often.set()
        return seen

    waiting = asyncio.create_task(Pour(accepted).let_through())
    await looked_often.wait()
    assert not waiting.done()
    drying_up.set()
    await waiting


async def test_a_pour_that_does_not_end_is_read_in_the_end_and_from_then_on(monkeypatch):
    monkeypatch.setattr(reading, "_PATIENCE", 0.05)
    looks = []

    def accepted() -> int:
        looks.append(10_000 * (len(looks) + 1))
        return looks[-1]

    pour = Pour(accepted)
    await pour.let_through()
    first = len(looks)
    assert first > 1
    await pour.let_through()
    assert len(looks) == first + 1
