"""When somebody is told: again and again for a day, as the receiver wishes, and never by a bug alone."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace

import pytest
from audience import SECRET, Audience
from journal.press import START, rules

from syncd.config import Config
from syncd.journal.sqlite import open_journal
from syncd.observe.telling import PATIENCE, Telling

WANTED = replace(rules(), wanted=frozenset({"*"}))


class Desk:
    """A journal, somebody who tells of it, and a clock that is set by hand."""

    def __init__(self, journal, config):
        self.outbox = journal.outbox
        self.now = START
        self.counted = []
        self.told = asyncio.Event()
        self.telling = Telling(self.outbox, lambda: config, lambda _: WANTED, self._count, lambda: self.now)

    def _count(self, kind, outcome):
        self.counted.append((kind, outcome))
        self.told.set()

    async def until_told(self):
        async with asyncio.timeout(10):
            await self.told.wait()
        self.told.clear()
        return self.counted[-1]


@pytest.fixture
async def programs():
    async with Audience().listening() as programs:
        yield programs


@pytest.fixture
async def desk(tmp_path, programs):
    hook = f'[[hooks]]\nurl = "{programs.base}"\nsecret = "{SECRET}"\nmax_delay = "0s"\n'
    config = Config.model_validate(tomllib.loads(f'sources.abyssale.secret = "x"\n{hook}'))
    async with open_journal(tmp_path / "journal.db") as journal:
        desk = Desk(journal, config)
        running = asyncio.create_task(desk.telling.run())
        await asyncio.sleep(0)  # it asks first: a new target begins at the present
        yield desk
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def waiting(desk):
    (name,) = desk.telling._served
    return await desk.outbox.waiting(name)


async def test_what_happens_to_the_daemon_is_told(desk, programs):
    desk.telling.note("asset.published", "a.png", path="a.png")
    assert await desk.until_told() == ("hook", "sent")
    assert programs.paths() == {"a.png": 1}


async def test_the_waits_between_attempts_double_and_the_last_is_a_day_after_it_happened(desk, programs):
    programs.answer = lambda _: 503
    desk.telling.note("asset.published", "a.png", path="a.png")
    waits = []
    while await desk.until_told() == ("hook", "retried"):
        message = await waiting(desk)
        waits.append(message.next_at - desk.now)
        desk.now = message.next_at
        desk.telling.stir()
    assert 4.0 <= waits[0] <= 5.0
    assert 8.0 <= waits[1] <= 10.0
    assert max(waits) <= 3600.0
    assert desk.now == START + PATIENCE
    assert desk.counted[-1] == ("hook", "failed")
    assert await waiting(desk) is None


async def test_a_receiver_that_asks_for_time_gets_it(desk, programs):
    programs.answer, programs.headers = lambda _: 429, {"Retry-After": "600"}
    desk.telling.note("asset.published", "a.png", path="a.png")
    await desk.until_told()
    message = await waiting(desk)
    assert message.next_at == START + 600
    desk.now += 599
    desk.telling.stir()
    desk.telling.note("asset.published", "b.png", path="b.png")
    await desk.outbox.untold(message.listener, ["*"], 1)
    assert len(programs.asked) == 1


async def test_what_is_older_than_a_day_is_told_once_all_the_same(desk, programs):
    programs.answer = lambda _: 500
    await desk.outbox.happened(WANTED, [(START - 2 * PATIENCE, "asset.published", "a.png", {"path": "a.png"})])
    assert await desk.until_told() == ("hook", "failed")
    assert len(programs.asked) == 1


async def test_a_message_that_can_not_be_worded_stops_nobody(desk, programs, caplog):
    await desk.outbox.happened(WANTED, [(START, "asset.published", "a.png", {"path": ["no path"]})])
    async with asyncio.timeout(10):
        while "a bug in telling" not in caplog.text:
            await asyncio.sleep(0.01)
    assert all(not served.task.done() for served in desk.telling._served.values())
