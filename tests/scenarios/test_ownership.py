"""Promise 8: one writer. Who comes second, or to a tree that is not its own, refuses to start and says why."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from running import PATIENCE, SECRET, Running, running

from syncd.demo import artwork, payloads
from syncd.demo.ports import free_port
from syncd.demo.stage import Stage


async def refusal(config: Path) -> str:
    """Start a daemon that must end with exit code 1 and without a traceback; returns what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "run", "--config", str(config),
        env={**os.environ, "TEST_SECRET": SECRET}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate()
    text = said.decode()
    assert process.returncode == 1, text
    assert "Traceback" not in text
    return text


def second(daemon: Running, *changes: tuple[str, str]) -> Path:
    """Write the config of another daemon beside the first one's, on ports of its own."""
    text = daemon.config.read_text()
    for old, new in ((f":{daemon.port}", f":{free_port()}"), (f":{daemon.admin}", f":{free_port()}"), *changes):
        assert old in text
        text = text.replace(old, new)
    config = daemon.config.with_name("second.toml")
    config.write_text(text)
    return config


OTHER_JOURNAL = ("state/journal.db", "state2/journal.db")
OTHER_MIRROR = ('root = "../mirror"', 'root = "../mirror2"')


async def mirror_one(stage: Stage, daemon: Running) -> None:
    await daemon.send(payloads.new_banner(stage.put("/a.png", artwork.artwork("png"))))
    await daemon.idle()


@pytest.mark.parametrize(
    ("changes", "what"),
    [([], "journal"), ([OTHER_MIRROR], "journal"), ([OTHER_JOURNAL], "mirror")],
    ids=["both the same", "the same journal", "the same mirror"],
)
async def test_a_second_daemon_refuses_to_start_and_the_first_does_not_notice(tmp_path, changes, what):
    async with Stage() as stage, running(tmp_path) as daemon:
        said = await refusal(second(daemon, *changes))
        assert what in said
        assert f"pid {daemon.process.pid}" in said or "another journal" in said
        await mirror_one(stage, daemon)
        assert (await daemon.api("/api/status"))["reasons"] == []
        assert not (tmp_path / "mirror2").exists()


async def test_a_fresh_journal_on_an_existing_tree_is_refused(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await mirror_one(stage, daemon)
        before = daemon.files()
        assert await daemon.stop() == 0
        assert "another journal" in await refusal(second(daemon, OTHER_JOURNAL))
        assert daemon.files() == before
        await daemon.start()  # its own journal is still welcome


async def test_a_journal_does_not_begin_another_tree_where_its_own_is_not(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await mirror_one(stage, daemon)
        assert await daemon.stop() == 0
        said = await refusal(second(daemon, OTHER_MIRROR))
        assert str(tmp_path / "mirror") in said
        assert not (tmp_path / "mirror2").exists()
        (tmp_path / "mirror2").mkdir()
        await refusal(second(daemon, OTHER_MIRROR))
        assert list((tmp_path / "mirror2").iterdir()) == []


async def test_a_tree_that_was_moved_is_found_at_its_new_place(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await mirror_one(stage, daemon)
        assert await daemon.stop() == 0
        text = daemon.config.read_text()
        daemon.root = daemon.root.rename(tmp_path / "mirror2")
        daemon.write_config(text.replace(*OTHER_MIRROR))
        await daemon.start()
        url = stage.put("/b.png", artwork.artwork("png", 2))
        await daemon.send(payloads.new_banner(url, visual=2))
        assert (await daemon.idle())["totals"]["assets"] == 2
        assert not (tmp_path / "mirror").exists()


async def test_an_owner_that_was_killed_leaves_no_lock_behind(tmp_path):
    async with running(tmp_path) as daemon:
        daemon.process.kill()
        await daemon.process.wait()
        await daemon.start()
