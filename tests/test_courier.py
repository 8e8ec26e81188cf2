"""Apprise works in a process of its own, which says what it was asked and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from audience import Audience

from syncd import courier

HANGS = (sys.executable, "-c", "import time; time.sleep(60)")
FAILS = (sys.executable, "-c", "raise SystemExit('json://s3cret')")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(courier, "_known", {})


def test_urls_are_looked_at_together_and_once(monkeypatch):
    courier.learn(["json://127.0.0.1/a", "smoke://signals"])
    monkeypatch.setattr(courier, "_COMMAND", FAILS)  # nobody is asked again
    assert courier.knows("json://127.0.0.1/a")
    assert not courier.knows("smoke://signals")


def test_what_can_not_be_looked_at_is_said_without_the_url(monkeypatch):
    monkeypatch.setattr(courier, "_COMMAND", FAILS)
    with pytest.raises(ValueError, match=r"^can't be looked at by Apprise \(CalledProcessError\)$"):
        courier.knows("json://127.0.0.1/s3cret")
    monkeypatch.setattr(courier, "_COMMAND", ("/nowhere/python",))
    with pytest.raises(ValueError, match=r"^can't be looked at by Apprise \(FileNotFoundError\)$"):
        courier.knows("json://127.0.0.1/s3cret")


async def test_a_message_that_takes_too_long_is_given_up_and_its_process_ended(monkeypatch):
    children = []
    begin = asyncio.create_subprocess_exec

    async def watched(*command, **pipes):
        children.append(await begin(*command, **pipes))
        return children[-1]

    monkeypatch.setattr(courier, "_COMMAND", HANGS)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    with pytest.raises(TimeoutError):
        await courier.send("json://127.0.0.1/a", "title", "body", 0.05)
    assert [child.returncode for child in children] == [-9]


async def test_a_process_that_breaks_is_a_reason_and_no_exception(monkeypatch):
    monkeypatch.setattr(courier, "_COMMAND", FAILS)
    assert await courier.send("json://127.0.0.1/a", "title", "body", 10.0) == "a bug on the way (exit code 1)"


async def test_a_message_of_any_text_arrives_whole():
    async with Audience().listening() as people:
        url = people.base.replace("http", "json") + "/people"
        assert await courier.send(url, "Prêt 🎉", 'line\n"two"', 30.0) is None
        (asked,) = people.heard
    assert (asked.said["title"], asked.said["message"]) == ("Prêt 🎉", 'line\n"two"')


def test_the_daemon_does_without_the_library():
    asked = "import syncd.daemon, sys; print([name for name in sys.modules if name.partition('.')[0] == 'apprise'])"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True).stdout == b"[]\n"
