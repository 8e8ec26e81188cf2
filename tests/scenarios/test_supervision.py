"""A bug in any loop ends the process with the traceback, whatever else it is doing: systemd starts it again."""

import asyncio
import contextlib
import os
import signal

import aiohttp
import pytest
from nursery import born
from running import PATIENCE, SECRET, Running

from syncd.demo import payloads

LOOPS = {
    "reader": "syncd.pipeline.reading:_read_some",
    "lane visuals": "syncd.pipeline.lanes:fetch",
    "publisher": "syncd.pipeline.publishing:Publisher._next_batch",
    "manifests": "syncd.pipeline.manifests:write_stale",
    "disk watch": "syncd.pipeline.room:Room.look",
    "retention": "syncd.journal.inbox:prune",
    "orders": "syncd.journal.sqlite:SqliteJournal.disturbed",
    "config watch": "syncd.live:_fingerprint",
    "reload": "syncd.live:Live.reload",
    "replaced listener": "syncd.web.server:Listener.drain",
}


@pytest.mark.parametrize("target", LOOPS.values(), ids=LOOPS)
async def test_a_bug_ends_the_process_with_its_traceback(tmp_path, target):
    daemon = Running(tmp_path)
    shows = tmp_path / "shows"
    env = {**os.environ, "TEST_SECRET": SECRET, "BUG": target, "BUG_SHOWS": str(shows)}
    daemon.write_config()
    async with aiohttp.ClientSession() as daemon.session:
        with daemon.log.open("ab") as log:
            daemon.process = await born("bug:main", "run", "--config", str(daemon.config), env=env, stderr=log)
        await daemon.until(daemon.answers, "the daemon answers")
        await daemon.send(payloads.new_banner("https://elsewhere.test/a.png"))
        shows.touch()
        with contextlib.suppress(aiohttp.ClientError):  # the end may be quicker
            await daemon.send(payloads.new_banner("https://elsewhere.test/b.png", visual=2))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.port = 0
        daemon.write_config()
        async with asyncio.timeout(PATIENCE):
            assert await daemon.process.wait() not in (0, 2)
    said = daemon.log.read_text()
    assert "Traceback (most recent call last)" in said
    assert f"LookupError: a bug in {target.rpartition('.')[2].rpartition(':')[2]}" in said
