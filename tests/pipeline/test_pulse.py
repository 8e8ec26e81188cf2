"""A sign of life means that loop, journal and pipeline live; what is only lacking something from outside is alive."""

import asyncio
import sqlite3
import threading
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from journal.filled import filled
from supervising import supervisor

from syncd.observe.metrics import Metrics
from syncd.pipeline import Works
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.pulse import report, stuck

LONG = 61.0


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with supervisor(str(tmp_path / "notify")) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


@pytest.fixture
async def journal(tmp_path):
    async with filled(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
def room():
    """What the report asks of a room, which is looked at by nobody here."""
    trouble = {"journal": None, "mirror": None}
    return SimpleNamespace(
        looked_at=time.monotonic(),
        trouble=trouble,
        journal_trouble=lambda: trouble["journal"],
        mirror_trouble=lambda: trouble["mirror"],
    )


@pytest.fixture
def works(journal):
    return Works(journal, None, SimpleNamespace(error=None), Metrics(), time.time)


@asynccontextmanager
async def reporting(works, room):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(report(works, Publisher(works), room))
        yield
        task.cancel()


async def signs(systemd, more=3):
    """Wait for so many signs from now on."""
    systemd.forget()
    async with asyncio.timeout(10):
        while len(systemd.said("WATCHDOG")) < more:
            await asyncio.sleep(0.002)


async def test_signs_come_and_the_status_is_said_when_it_has_changed(systemd, works, room):
    async with reporting(works, room):
        await signs(systemd)
        assert systemd.said("STATUS") in ([], ["ready: 3 waiting, 1 failed"])
        room.trouble["mirror"] = "the mirror is full"
        works.live.error = "sync.toml:3: log.level: is wrong"
        await signs(systemd)
        assert systemd.said("STATUS") == [
            "ready: 3 waiting, 1 failed, the mirror is full, config refused: sync.toml:3: log.level: is wrong"
        ]
        room.trouble["journal"] = "the journal has too little room"
        await signs(systemd)
        assert systemd.said("STATUS") == ["not ready: the journal has too little room"]


async def test_a_journal_that_hangs_gives_no_sign_until_it_answers(systemd, works, room):
    let_go = threading.Event()
    async with reporting(works, room):
        await signs(systemd)
        works.journal._commits.thread.submit(let_go.wait)
        await asyncio.sleep(0.02)  # a sign that was under way
        systemd.forget()
        await asyncio.sleep(0.2)
        assert systemd.heard() == []
        let_go.set()
        await signs(systemd)


async def test_a_journal_that_says_it_can_not_is_alive(systemd, works, room, monkeypatch, tmp_path):
    works.journal._db.execute("PRAGMA busy_timeout=0")
    with sqlite3.connect(tmp_path / "journal.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        async with reporting(works, room):
            await signs(systemd)
        assert systemd.said("STATUS")[-1:] in ([], ["not ready: the journal can't be written: database is locked"])
        other.execute("ROLLBACK")
    other.close()


async def test_nobody_listening_means_nothing_to_do(works, room, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await report(works, Publisher(works), room)


async def test_a_step_that_takes_for_ever_is_named_and_gives_no_sign(systemd, works, room, caplog):
    works.busy["reader"] = time.monotonic() - LONG
    async with reporting(works, room):
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0.002)
        assert systemd.said("WATCHDOG") == []
        del works.busy["reader"]
        await signs(systemd)
    assert caplog.records[0].reason == "the reader has been at the same step for 61 s"


def test_a_step_is_at_work_until_its_end_however_it_ends(works):
    def fail():
        with works.at_work("reader"):
            assert "reader" in works.busy
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert works.busy == {}


def test_while_the_mirror_does_not_answer_no_step_is_blamed(works, room):
    now = time.monotonic()
    works.busy["reader"] = now - LONG
    assert stuck(works, Publisher(works), room, now)
    room.looked_at = now - 31
    assert stuck(works, Publisher(works), room, now) is None


async def test_a_publisher_that_sleeps_while_files_wait_is_stuck(works, room):
    publisher = Publisher(works)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(publisher.run())
        await asyncio.sleep(0)
        assert stuck(works, publisher, room, time.monotonic()) is None
        publisher._waiting.append(None)
        assert stuck(works, publisher, room, time.monotonic()) == "files wait, and the publisher sleeps"
        publisher._waiting.clear()
        task.cancel()
