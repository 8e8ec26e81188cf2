import asyncio
import time
from dataclasses import replace

import pytest
from pipeline.works import announced, works_at

from syncd.demo.payloads import new_banner
from syncd.journal import Again
from syncd.model import Retry
from syncd.pipeline import rules_of, upkeep
from syncd.pipeline.upkeep import watch_clock


async def test_a_clock_that_jumps_wakes_who_waits_for_it_and_one_set_back_lengthens_no_pause(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "_CLOCK_EVERY", 0.02)
    jump = 0.0

    async def woken(works):
        async with asyncio.timeout(5):
            await works.queued["visuals"].wait()
        works.queued["visuals"].clear()

    async with works_at(tmp_path) as plain:
        works = replace(plain, clock=lambda: time.time() + jump)
        job, _ = await announced(works, new_banner("https://host.test/a.png"), b"a")
        pause = Again(job, Retry("503", 5), works.clock() + 600)
        await works.journal.settle([pause], rules_of(works.live.config), works.clock())
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(watch_clock(works))
            await woken(works)
            jump = 500.0
            await woken(works)
            jump = -500.0
            await woken(works)
            watch.cancel()
        assert await works.journal.next_due("visuals", 0.0) == pytest.approx(pause.next_at - 1000, abs=5)
