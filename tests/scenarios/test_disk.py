"""A mirror that goes away takes no files and loses none: deliveries wait, and it is said why."""

import asyncio
import json
import shutil

import pytest
from running import Running, running

from syncd.demo import artwork, payloads
from syncd.demo.stage import Fault, Stage


async def trouble(daemon: Running) -> str:
    """Why deliveries wait, as the status says; the daemon must be ready all the same."""
    status = await daemon.api("/api/status")
    if not status["reasons"]:
        return ""
    assert status["ready"]
    assert await daemon.answers(), "readyz"
    return " ".join(status["reasons"])


async def announce(stage: Stage, daemon: Running, number: int) -> None:
    url = stage.put(f"/{number}.png", artwork.artwork("png", number))
    status, answer = await daemon.send(payloads.new_banner(url, visual=number))
    assert (status, answer["status"]) == (200, "accepted")


def take_away(daemon: Running) -> None:
    daemon.root.rename(daemon.folder / "away")


def unmount(daemon: Running) -> None:
    """What is left of a mount is the empty folder below it."""
    take_away(daemon)
    daemon.root.mkdir()


def put_another_there(daemon: Running) -> None:
    unmount(daemon)
    (daemon.root / ".syncd" / "tmp").mkdir(parents=True)
    (daemon.root / ".syncd" / "root.json").write_text(json.dumps({"journal": "another"}))


def bring_back(daemon: Running) -> None:
    shutil.rmtree(daemon.root, ignore_errors=True)
    (daemon.folder / "away").rename(daemon.root)


LOSSES = {
    "gone": (take_away, "is not there", None),
    "unmounted": (unmount, "lost its marker", []),
    "another's": (put_another_there, "another journal", [".syncd", ".syncd/root.json", ".syncd/tmp"]),
}


def everything_below(folder) -> list[str] | None:
    if not folder.exists():
        return None
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(("lose", "why", "left"), LOSSES.values(), ids=LOSSES)
async def test_a_mirror_lost_while_running_is_waited_for_and_nothing_is_written_meanwhile(tmp_path, lose, why, left):
    async with Stage() as stage, running(tmp_path) as daemon:
        await announce(stage, daemon, 1)
        await daemon.idle()
        lose(daemon)

        async def noticed():
            return why in await trouble(daemon)

        await daemon.until(noticed, "the loss is noticed")
        await announce(stage, daemon, 2)

        async def queued():
            return (await daemon.api("/api/status"))["assets"]["pending"] == 1

        await daemon.until(queued, "the delivery has been read")
        assert everything_below(daemon.root) == left
        assert "/2.png" not in stage.requests
        bring_back(daemon)
        assert (await daemon.idle())["totals"]["assets"] == 2
        status = await daemon.api("/api/status")
        assert (status["reasons"], status["assets"]["failed"], status["failures"]) == ([], 0, [])


@pytest.mark.parametrize(("lose", "why", "left"), LOSSES.values(), ids=LOSSES)
async def test_a_mirror_that_is_lost_at_the_start_is_waited_for(tmp_path, lose, why, left):
    async with Stage() as stage, running(tmp_path) as daemon:
        await announce(stage, daemon, 1)
        await daemon.idle()
        assert await daemon.stop() == 0
        lose(daemon)
        await daemon.start()
        assert why in await trouble(daemon)
        await announce(stage, daemon, 2)
        assert everything_below(daemon.root) == left
        bring_back(daemon)
        assert (await daemon.idle())["totals"]["assets"] == 2


async def test_a_mirror_lost_under_a_download_costs_no_attempt(tmp_path):
    async with Stage() as stage, running(tmp_path, retry="", download="concurrency = 1") as daemon:
        hold = asyncio.Event()
        stage.script("/1.png", Fault(hold=hold))
        await announce(stage, daemon, 1)
        await stage.asked("/1.png")
        take_away(daemon)
        hold.set()

        async def noticed():
            return "is not there" in await trouble(daemon)

        await daemon.until(noticed, "the loss is noticed")
        assert not daemon.root.exists()
        assert (await daemon.api("/api/status"))["failures"] == []
        bring_back(daemon)
        assert (await daemon.idle())["totals"]["assets"] == 1
        (asset,) = (await daemon.api("/api/assets?state=published"))["assets"]
        assert asset["attempts"] == 1


async def test_a_daemon_stops_well_without_its_mirror(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await announce(stage, daemon, 1)
        await daemon.idle()
        take_away(daemon)
        assert await daemon.stop() == 0
        assert not daemon.root.exists()


async def test_the_free_space_is_shown(tmp_path):
    async with running(tmp_path) as daemon:
        disk = (await daemon.api("/api/status"))["disk"]
        free = shutil.disk_usage(tmp_path).free
        for name in ("mirror_free", "journal_free"):
            assert disk[name] == pytest.approx(free, rel=0.2)


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_accepted_while_a_restart_would_not_find_it(tmp_path, name, replaced):
    async with running(tmp_path) as daemon:
        file, aside = tmp_path / "state" / name, tmp_path / "aside"
        file.rename(aside)
        if replaced:
            shutil.copy(aside, file)
        (why,) = await daemon.until(lambda: reasons(daemon), "it is noticed")
        assert why == f"{file} was {'replaced' if replaced else 'removed'} while it is in use: put it back, or restart"
        status, answer = await daemon.send(payloads.template_status("IN_REVIEW"))
        assert (status, answer["error"]) == (503, "unavailable")
        aside.rename(file)
        await daemon.until(daemon.answers, "it is noticed that it is back")
        status, _ = await daemon.send(payloads.template_status("IN_REVIEW"))
        assert status == 200


async def reasons(daemon: Running) -> list[str]:
    return (await daemon.api("/api/status"))["reasons"]
