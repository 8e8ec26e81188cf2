"""Batches that become visible as a whole: a reader finds all of one in the manifests, or nothing."""

import json
import threading
from contextlib import contextmanager

import pytest
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import artwork
from syncd.demo.stage import Fault

ATOMIC = {"manifest": "atomic_batches = true"}
SIZE = 12


def banners(scene, request, version=1, formats=3):
    """Announce a batch over some formats, some visuals each; a batch's visuals differ from those of another."""
    for number in range(SIZE):
        visual = 100 * request + number
        url = scene.put(f"/{visual}/{version}.png", artwork("png", visual + version))
        yield payloads.new_banner(
            url, visual=visual, version=version, file=payloads.file(url, filename=f"{visual}.png"),
            format={"id": f"f{number % formats}", "unit": "px", "width": 10, "height": 10},
        )  # fmt: skip


def named(root):
    """The newest version of each visual that the manifests name, as a reader comes by them: from the index."""
    try:
        index = json.loads((root / "manifest.json").read_bytes())
    except FileNotFoundError:
        return {}
    found = {}
    for line in index["folders"]:
        try:
            manifest = json.loads((root / line["manifest"]).read_bytes())
        except FileNotFoundError:
            continue
        found |= {entry["id"]: entry["version"] for entry in manifest["assets"] if not entry.get("superseded")}
    return found


@contextmanager
def all_or_nothing(root, batch):
    """Look all the time; at the end, fail if a look found a part of a batch in one folder's manifest or the index."""
    ids = {entry["id"] for entry in batch}
    parts, stop = [], threading.Event()

    def watch():
        while not stop.wait(0.001):
            found = set(named(root)) & ids
            if found and found != ids and (again := set(named(root)) & ids) != ids:
                parts.append((len(found), len(again)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not parts


async def test_a_batch_is_in_the_manifests_as_a_whole(tmp_path):
    async with watched(tmp_path, **ATOMIC) as scene:
        batch = list(banners(scene, 1))
        scene.stage.script("/100/1.png", Fault(delay=0.5))
        with all_or_nothing(scene.daemon.root, batch):
            await scene.send(payloads.batch(batch))
            await scene.stage.asked("/100/1.png")

            async def held():
                return (await scene.daemon.api("/api/status"))["assets"].get("held") == SIZE - 1

            await scene.daemon.until(held, "all but one are held")
            assert scene.files() == {}
            (delivery,) = await scene.deliveries()
            assert delivery["outcome"] == "accepted"
            assert {asset["reason"] for asset in delivery["assets"]} == {"", "its batch is not complete"}
            await scene.settle()
        assert len(scene.files()) == SIZE


async def test_a_batch_of_new_versions_replaces_the_old_ones_at_once(tmp_path):
    async with watched(tmp_path, **ATOMIC) as scene:
        old, new = list(banners(scene, 1, 1, formats=1)), list(banners(scene, 1, 2, formats=1))
        await scene.send(payloads.batch(old))
        await scene.settle()
        scene.stage.script("/105/2.png", Fault(delay=0.3))
        with all_or_nothing(scene.daemon.root, new):
            await scene.send(payloads.batch(new, request=2))
            await scene.stage.asked("/105/2.png")
            await scene.daemon.until(lambda: set(named(scene.daemon.root).values()) == {2}, "the new ones are named")
        await scene.settle()
        assert len(scene.files()) == SIZE


async def test_a_failure_in_a_batch_lets_the_rest_out(tmp_path):
    async with watched(tmp_path, **ATOMIC) as scene:
        batch = list(banners(scene, 1))
        scene.stage.remove("/103/1.png")
        await scene.send(payloads.batch(batch))
        await scene.settle()
        assert len(scene.files()) == SIZE - 1
        (delivery,) = await scene.deliveries()
        assert delivery["outcome"] == "processed"
        assert [asset["state"] for asset in delivery["assets"]].count("failed") == 1


async def test_a_banner_announced_alone_and_in_a_batch_appears_with_the_batch(tmp_path):
    async with watched(tmp_path, **ATOMIC) as scene:
        batch = list(banners(scene, 1))
        scene.stage.script("/101/1.png", Fault(delay=0.4))
        with all_or_nothing(scene.daemon.root, batch):
            await scene.send(payloads.batch(batch), batch[0])
            await scene.settle()
        assert len(scene.files()) == SIZE


async def test_banners_alone_do_not_wait_for_a_batch(tmp_path):
    async with watched(tmp_path, **ATOMIC) as scene:
        batch, (alone, *_) = list(banners(scene, 1)), list(banners(scene, 2))
        scene.stage.script("/100/1.png", Fault(delay=1))
        await scene.send(payloads.batch(batch), alone)
        await scene.daemon.until(lambda: len(named(scene.daemon.root)) == 1, "the one alone is named")
        await scene.settle()
        assert len(scene.files()) == SIZE + 1


async def test_a_batch_that_waits_for_approval_appears_as_a_whole(tmp_path):
    async with watched(tmp_path, **ATOMIC, approval='publish = ["APPROVED"]') as scene:
        batch = list(banners(scene, 1))
        with all_or_nothing(scene.daemon.root, batch):
            await scene.send(payloads.batch(batch))

            async def held():
                return (await scene.daemon.api("/api/status"))["assets"].get("held") == SIZE

            await scene.daemon.until(held, "all are held")
            await scene.send(payloads.template_status("APPROVED"))
            await scene.daemon.until(lambda: len(scene.files()) == SIZE, "all are there")
            await scene.settle()


@pytest.mark.parametrize("on", [True, False])
async def test_a_reload_that_switches_it_off_lets_out_what_waits(tmp_path, on):
    async with watched(tmp_path, **ATOMIC) as scene:
        scene.stage.script("/100/1.png", Fault(delay=1.5))
        await scene.send(payloads.batch(list(banners(scene, 1))))
        await scene.stage.asked("/100/1.png")
        scene.daemon.write_config(manifest=f"atomic_batches = {str(on).lower()}\nchecksums = true")
        if not on:
            await scene.daemon.until(lambda: len(named(scene.daemon.root)) == SIZE - 1, "the others are named")
        await scene.daemon.until(lambda: len(named(scene.daemon.root)) == SIZE, "all are named")
        await scene.settle()
