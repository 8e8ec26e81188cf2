"""Promise 1, the hard way: the daemon is killed, and what it had answered 200 is published all the same."""

import asyncio
import contextlib
import json
import random
import signal
import sqlite3

import aiohttp
import pytest
from origin import Origin, head, ok
from running import PATIENCE, Running, running
from truth import Truth

from syncd.demo import artwork, payloads
from syncd.demo.stage import Stage

ROUNDS = 12


async def kill(daemon: Running) -> None:
    daemon.process.send_signal(signal.SIGKILL)
    await daemon.process.wait()


def temps(daemon: Running) -> list[str]:
    return [path.name for path in (daemon.root / ".syncd" / "tmp").iterdir()]


def journal_is_sound(daemon: Running) -> bool:
    db = sqlite3.connect(daemon.folder / "state" / "journal.db")
    try:
        return db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        db.close()


async def outcomes(daemon: Running) -> dict[str, str]:
    found = (await daemon.api("/api/deliveries?limit=1000"))["deliveries"]
    return {delivery["id"]: delivery["outcome"] for delivery in found}


async def test_whatever_was_answered_200_is_published_however_often_the_daemon_dies(tmp_path, monkeypatch):
    """Killed after a number of answers that is another one in each round, always with requests under way."""
    monkeypatch.setattr("truth.LATEST", PATIENCE)  # the dead write no manifests
    dice = random.Random(7)
    acknowledged: dict[str, int] = {}
    async with Stage() as stage, running(tmp_path, manifest="checksums = true") as daemon:
        truth = Truth(daemon.root)
        sent = 0

        async def post_on_and_on():
            nonlocal sent
            while True:
                sent += 1
                number, content = sent, artwork.artwork("png", sent)
                truth.serves(content)
                # Every third is a newer version of one visual, so that files are replaced, too.
                visual, version = (0, number) if number % 3 == 0 else (number, 1)
                payload = payloads.new_banner(stage.put(f"/{number}.png", content), visual=visual, version=version)
                try:
                    status, answer = await daemon.send(payload, delivery_id=f"n{number}")
                except aiohttp.ClientError:
                    return
                assert status == 200, answer
                acknowledged[answer["delivery"]] = number

        async with truth.watching():
            for _ in range(ROUNDS):
                enough = len(acknowledged) + dice.randint(1, 12)
                posters = [asyncio.create_task(post_on_and_on()) for _ in range(3)]
                await daemon.until(lambda enough=enough: len(acknowledged) >= enough, "enough is acknowledged")
                await kill(daemon)
                await asyncio.gather(*posters)
                assert journal_is_sound(daemon)
                await daemon.start()
            await daemon.idle()

        await daemon.until(lambda: not truth.untidy(), "all is named and counted, and nothing else is there")
        ended = await outcomes(daemon)
        assert {ended[delivery] for delivery in acknowledged} == {"processed"}
        assets = (await daemon.api("/api/status"))["assets"]
        assert assets["failed"] == assets["pending"] == 0
        visible = set(daemon.files().values())
        assert visible >= {artwork.artwork("png", number) for number in acknowledged.values() if number % 3}
        (folder,) = daemon.root.glob("*/*/manifest.json")
        entries = json.loads(folder.read_bytes())["assets"]
        newest = max(entry["version"] for entry in entries)
        assert newest >= max(number for number in acknowledged.values() if number % 3 == 0)
    assert journal_is_sound(daemon)


async def test_a_download_that_was_cut_by_a_kill_begins_again(tmp_path):
    content, origin = artwork.artwork("png") + bytes(4 << 20), Origin()
    half = len(content) // 2

    async def half_of_it(writer):
        writer.write(head(Content_Length=len(content)) + content[:half])
        await writer.drain()
        await asyncio.Event().wait()

    async with origin.running(), running(tmp_path) as daemon:
        await daemon.send(payloads.new_banner(origin.url("/big.png", half_of_it, ok(content))))
        tmp = daemon.root / ".syncd" / "tmp"
        await daemon.until(
            lambda: any(path.stat().st_size > half // 2 for path in tmp.iterdir()), "half of it is on the disk"
        )
        assert daemon.files() == {}
        await kill(daemon)
        assert temps(daemon)
        await daemon.start()
        await daemon.idle()
        assert list(daemon.files().values()) == [content]
        assert temps(daemon) == []
        assert origin.asked["/big.png"] == 2


async def test_what_was_acknowledged_by_a_clock_that_was_ahead_is_published_after_the_restart(tmp_path):
    async def never(_):
        await asyncio.Event().wait()

    content, origin = artwork.artwork("png"), Origin()
    async with origin.running(), running(tmp_path, entry="bug:ahead", abyssale='tolerance = "2h"') as daemon:
        status, _ = await daemon.send(payloads.new_banner(origin.url("/a.png", never, ok(content))))
        assert status == 200
        await daemon.until(lambda: origin.asked["/a.png"], "it is asked for")
        await kill(daemon)
        daemon.entry = "syncd.cli:main"
        await daemon.start()
        await daemon.idle()
        assert list(daemon.files().values()) == [content]


async def test_an_export_whose_extraction_was_cut_by_a_kill_appears_whole(tmp_path):
    members = {f"{number % 10}/{number}.png": artwork.artwork("png", number) for number in range(1500)}
    async with Stage() as stage, running(tmp_path) as daemon:
        await daemon.send(payloads.export(stage.put("/e.zip", artwork.archive(members))))
        tmp = daemon.root / ".syncd" / "tmp"
        await daemon.until(lambda: len(list(tmp.glob("*/*/*.png"))) > 20, "extraction is under way")
        await kill(daemon)
        assert daemon.files() == {}
        await daemon.start()
        index = await daemon.idle()
        folder = index["exports"][0]["path"] + "/"
        found = {path.removeprefix(folder): file for path, file in daemon.files().items() if path.startswith(folder)}
        assert found == members
        assert temps(daemon) == []


@pytest.mark.parametrize("moved", [True, False], ids=["after the move", "before the move"])
async def test_a_kill_between_the_decision_where_a_file_goes_and_its_record_is_answered(tmp_path, moved):
    """The mirror goes away as the file is placed, which leaves the journal as a kill at that moment does."""
    content, origin, hold = artwork.artwork("png"), Origin(), asyncio.Event()

    async def held(writer):
        writer.write(head(Content_Length=len(content)) + content[:-1])
        await writer.drain()
        await hold.wait()
        writer.write(content[-1:])

    async with origin.running(), running(tmp_path) as daemon:
        marker = daemon.root / ".syncd" / "root.json"
        await daemon.send(payloads.new_banner(origin.url("/a.png", held, ok(content)), version=2))
        await daemon.until(lambda: origin.asked["/a.png"], "the download has begun")
        marker.rename(marker.with_name("away"))
        hold.set()

        def placed():
            db = sqlite3.connect(daemon.folder / "state" / "journal.db")
            row = db.execute("SELECT key FROM assets WHERE placing IS NOT NULL").fetchone()
            db.close()
            return row

        (key,) = await daemon.until(placed, "its place is decided")
        await kill(daemon)
        assert daemon.files() == {}
        marker.with_name("away").rename(marker)
        if moved:
            (daemon.root / key).parent.mkdir(parents=True)
            (daemon.root / key).write_bytes(content)
        await daemon.start()
        index = await daemon.idle()
        assert index["totals"]["assets"] == 1
        assert daemon.files() == {key: content}
        assert origin.asked["/a.png"] == (1 if moved else 2)


async def test_a_sequence_that_a_kill_left_unrecorded_is_not_used_again(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await daemon.send(payloads.new_banner(stage.put("/1.png", artwork.artwork("png"))))
        (line,) = (await daemon.idle())["folders"]
        await kill(daemon)
        with contextlib.closing(sqlite3.connect(daemon.folder / "state" / "journal.db", isolation_level=None)) as db:
            db.execute("UPDATE folders SET written = written - 1, sequence = sequence - 1")
        await daemon.start()
        await daemon.until(lambda: daemon.index()["folders"] != [line], "the folder is written anew")
        (again,) = daemon.index()["folders"]
        assert again["sequence"] > line["sequence"]
        assert json.loads((daemon.root / line["manifest"]).read_bytes())["sequence"] == again["sequence"]


async def test_an_index_that_a_kill_left_behind_its_folders_is_mended_by_the_start(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        for number in (1, 2):
            url = stage.put(f"/{number}.png", artwork.artwork("png", number))
            await daemon.send(payloads.new_banner(url, visual=number))
            index = await daemon.idle()
            if number == 1:
                old = (daemon.root / "manifest.json").read_bytes()
        await kill(daemon)
        (daemon.root / "manifest.json").write_bytes(old)
        await daemon.start()
        await daemon.until(lambda: daemon.index()["totals"]["assets"] == 2, "the index is true again")
        assert daemon.index()["sequence"] > index["sequence"]
