"""Damage by hand, found and put right by `verify`, beside a running daemon and without one."""

import asyncio
import json
import os
import shutil
import signal

import pytest
from cli.command import process
from running import SECRET
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Fault

FOLDER = "Spring sale/medium-rectangle"
MEMBERS = {"a.png": artwork("png", 1), "deep/b.png": artwork("png", 2), "c.txt": b"text"}


def banner(scene, number, version=1, **fields):
    url = scene.put(f"/{number}.{version}.png", artwork("png", 10 * number + version))
    file = payloads.file(url, filename=f"{number}.png")
    file["type"] = "png"
    return payloads.new_banner(url, visual=number, version=version, file=file, **fields)


async def filled(scene, *, versions=(1,), count=3):
    """Some visuals and an export, all settled; returns the export's folder."""
    for version in versions:
        await scene.send(*(banner(scene, number, version) for number in range(1, count + 1)))
        await scene.settle()
    scene.truth.exports(MEMBERS.values())
    await scene.send(payloads.export(scene.put("/e.zip", archive(MEMBERS))))
    await scene.settle()
    return scene.daemon.index()["exports"][0]["path"]


async def syncd(scene, *args):
    """Run a command on the scene's config; returns its exit code and its document."""
    config = str(scene.daemon.config)
    ended = await process(*args, "--config", config, "--json", cwd=scene.daemon.folder, TEST_SECRET=SECRET)
    assert ended.out, ended.err
    return ended.code, json.loads(ended.out)


def paths(listed):
    return sorted(one["path"] for one in listed)


def found(said):
    return {what: paths(said[what]) for what in ("missing", "changed", "stray") if said[what]}


@pytest.fixture(params=["beside a daemon", "without a daemon"])
def beside(request):
    return request.param == "beside a daemon"


async def test_a_tree_that_is_whole_is_found_well(tmp_path, beside):
    async with watched(tmp_path, manifest="checksums = true", mirror="keep_versions = 2") as scene:
        await filled(scene, versions=(1, 2))
        if not beside:
            await scene.daemon.stop()
        code, said = await syncd(scene, "verify")
        assert (code, found(said)) == (0, {})
        assert said["checked"] == 6 + len(MEMBERS)
        published = [content for path, content in scene.files().items() if not path.endswith("SHA256SUMS")]
        assert said["bytes"] == sum(map(len, published))
        code, said = await syncd(scene, "verify", "--repair")
        assert (code, said["repaired"], said["plan"]) == (0, [], [])


async def test_damage_is_found_repaired_and_not_found_again(tmp_path, beside):
    async with watched(tmp_path) as scene:
        export = await filled(scene)
        before, root = scene.files(), scene.daemon.root
        scene.truth.look_away()
        if not beside:
            await scene.daemon.stop()
        (root / FOLDER / "1.png").write_bytes(before[f"{FOLDER}/1.png"][:-1] + b"x")
        (root / FOLDER / "2.png").unlink()
        (root / FOLDER / "stray.png").write_bytes(b"stray")
        (root / FOLDER / "link.png").symlink_to("/etc/passwd")
        (root / "elsewhere").mkdir()
        (root / "elsewhere" / "manifest.json").write_text("{}")
        (root / FOLDER / "manifest.json").write_text('{"version": 1, "ass')
        (root / export / "deep" / "b.png").write_bytes(b"")
        (root / export / "more.png").write_bytes(b"more")
        wrong = {
            "missing": [f"{FOLDER}/2.png"],
            "changed": sorted([f"{FOLDER}/1.png", f"{FOLDER}/manifest.json", f"{export}/deep/b.png"]),
            "stray": sorted(
                [f"{FOLDER}/link.png", f"{FOLDER}/stray.png", "elsewhere/manifest.json", f"{export}/more.png"]
            ),
        }
        code, said = await syncd(scene, "verify")
        assert (code, found(said)) == (1, wrong)

        code, said = await syncd(scene, "verify", "--repair", "--dry-run")
        assert (code, found(said), said["repaired"], len(said["plan"])) == (1, wrong, [], 8)

        code, said = await syncd(scene, "verify", "--repair")
        assert (code, found(said), said["unrepaired"]) == (0, wrong, [])
        assert sorted(said["repaired"]) == sorted(path for some in wrong.values() for path in some)
        aside = {one["path"]: root / one["to"] for one in said["quarantined"]}
        assert aside[f"{FOLDER}/stray.png"].read_bytes() == b"stray"
        assert aside[f"{FOLDER}/1.png"].read_bytes().endswith(b"x")
        assert aside[f"{FOLDER}/link.png"].is_symlink()
        assert (aside[export] / "c.txt").read_bytes() == b"text"
        assert scene.files() == before

        code, said = await syncd(scene, "verify", "--repair")
        assert (code, found(said), said["repaired"]) == (0, {}, [])
        if not beside:
            await scene.daemon.start()
        (root / "elsewhere").rmdir()
        await scene.settle()
        assert scene.stage.requests["/3.1.png"] == 1
        assert scene.stage.requests["/e.zip"] == 2


async def test_what_can_not_be_downloaded_again_stays_listed_until_it_can(tmp_path, beside):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene, 1), banner(scene, 2))
        await scene.settle()
        scene.truth.look_away()
        if not beside:
            await scene.daemon.stop()
        path = scene.daemon.root / FOLDER / "1.png"
        path.write_bytes(b"damaged")
        scene.stage.script("/1.1.png", *[410] * 9)
        code, said = await syncd(scene, "verify", "--repair")
        assert (code, paths(said["unrepaired"]), said["repaired"]) == (1, [f"{FOLDER}/1.png"], [])
        assert "410" in said["unrepaired"][0]["reason"]
        assert not path.exists()
        assert [entry["path"] for entry in scene.manifest(FOLDER)["assets"]] == [f"{FOLDER}/2.png"]
        code, said = await syncd(scene, "verify")
        assert (code, found(said)) == (1, {"missing": [f"{FOLDER}/1.png"]})
        scene.stage.script("/1.1.png")
        code, said = await syncd(scene, "verify", "--repair")
        assert (code, said["repaired"]) == (0, [f"{FOLDER}/1.png"])
        assert path.read_bytes() == artwork("png", 11)


async def test_what_a_replay_brings_back_before_the_repair_does_stays_where_it_is(tmp_path):
    async with watched(tmp_path) as scene:
        await filled(scene, count=1)
        before, root = scene.files(), scene.daemon.root
        listed = (await scene.daemon.api("/api/deliveries"))["deliveries"]
        (delivery,) = [one["id"] for one in listed if one["event"] == "NEW_BANNER"]
        scene.truth.look_away()
        await scene.daemon.stop()
        (root / FOLDER / "1.png").unlink()
        assert (await syncd(scene, "replay", delivery))[0] == 0
        code, said = await syncd(scene, "verify", "--repair")
        assert (code, paths(said["unrepaired"])) == (0, [])
        assert scene.files() == before


async def test_an_older_version_comes_back_to_its_own_path(tmp_path, beside):
    async with watched(tmp_path, mirror="keep_versions = 2") as scene:
        for version in (1, 2):
            await scene.send(banner(scene, 1, version))
            await scene.settle()
        before = scene.files()
        assert before.keys() == {f"{FOLDER}/1.png", f"{FOLDER}/1.v1.png"}
        scene.truth.look_away()
        if not beside:
            await scene.daemon.stop()
        for path in before:
            (scene.daemon.root / path).unlink()
        code, said = await syncd(scene, "verify", "--repair")
        assert (code, sorted(said["repaired"])) == (0, [*sorted(before), f"{FOLDER}/manifest.json"][:2])
        assert scene.files() == before
        listed = {entry["path"]: entry.get("superseded", False) for entry in scene.manifest(FOLDER)["assets"]}
        assert listed == {f"{FOLDER}/1.png": False, f"{FOLDER}/1.v1.png": True}


async def test_a_reader_sees_the_damaged_file_or_none_or_the_whole_one_and_a_manifest_that_is_true(tmp_path, beside):
    async with watched(tmp_path) as scene:
        await filled(scene, count=2)
        scene.truth.look_away()
        if not beside:
            await scene.daemon.stop()
        path, damaged = scene.daemon.root / FOLDER / "1.png", b"damaged"
        path.write_bytes(damaged)
        scene.stage.script("/1.1.png", Fault(delay=0.5))
        repairing = asyncio.create_task(syncd(scene, "verify", "--repair"))
        seen, dropped = [], False
        while not repairing.done():
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                content = None
            named = f"{FOLDER}/1.png" in {entry["path"] for entry in scene.manifest(FOLDER)["assets"]}
            dropped = dropped or not named
            if (content, named) not in seen:
                seen.append((content, named))
            await asyncio.sleep(0.005)
        assert (await repairing)[0] == 0
        whole = artwork("png", 11)
        assert seen[0] == (damaged, True)
        assert {content for content, _ in seen} == {damaged, None, whole}
        assert dropped
        assert (None, True) not in seen, "the manifest dropped it before it went, and named it after it came"
        assert scene.files()[f"{FOLDER}/1.png"] == whole


async def test_a_mirror_that_is_not_there_is_no_mass_of_missing_files(tmp_path):
    async with watched(tmp_path) as scene:
        await filled(scene, count=1)
        scene.truth.look_away()
        await scene.daemon.stop()
        config, root = str(scene.daemon.config), scene.daemon.root
        root.rename(tmp_path / "elsewhere")
        for there in (False, True):
            if there:
                root.mkdir()
            for repair in ([], ["--repair"]):
                ended = await process("verify", *repair, "--config", config, cwd=tmp_path, TEST_SECRET=SECRET)
                assert (ended.code, ended.out) == (1, "")
                assert ("lost its marker" if there else "is not there") in ended.err
        assert list(root.iterdir()) == []
        shutil.rmtree(root)
        (tmp_path / "elsewhere").rename(root)


async def test_a_daemon_at_work_raises_no_false_alarm(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 2") as scene:

        async def publish():
            for version in range(1, 9):
                await scene.send(*(banner(scene, number, version) for number in range(1, 9)))
                members = {**MEMBERS, "n.txt": str(version).encode()}
                scene.truth.exports(members.values())
                await scene.send(payloads.export(scene.put(f"/e{version}.zip", archive(members))))

        publishing = asyncio.create_task(publish())
        while not publishing.done():
            code, said = await syncd(scene, "verify") if (scene.daemon.root / "manifest.json").exists() else (0, {})
            assert code == 0, said
            await asyncio.sleep(0.01)
        await publishing
        await scene.settle()
        assert (await syncd(scene, "verify"))[0] == 0


async def test_only_named_paths_are_looked_at(tmp_path):
    async with watched(tmp_path) as scene:
        await filled(scene)
        scene.truth.look_away()
        for name in ("1.png", "2.png"):
            (scene.daemon.root / FOLDER / name).write_bytes(b"damaged")
        code, said = await syncd(scene, "verify", str(scene.daemon.root / FOLDER / "1.png"))
        assert (code, said["checked"], found(said)) == (1, 1, {"changed": [f"{FOLDER}/1.png"]})
        code, said = await syncd(scene, "verify", "_exports")
        assert (code, said["checked"], found(said)) == (0, len(MEMBERS), {})
        code, said = await syncd(scene, "verify", "--repair")
        assert code == 0


async def test_leftovers_of_a_killed_daemon_are_stray_until_they_are_cleared(tmp_path):
    async with watched(tmp_path) as scene:
        await filled(scene, count=1)
        await scene.daemon.stop(signal.SIGKILL)
        left = scene.daemon.root / ".syncd/tmp/1-1"
        left.write_bytes(b"left")
        code, said = await syncd(scene, "verify")
        assert (code, found(said)) == (1, {"stray": [".syncd/tmp/1-1"]})
        code, said = await syncd(scene, "prune", "--dry-run")
        assert (code, said["temps"], said["bytes"], left.exists()) == (0, ["1-1"], 4, True)
        code, said = await syncd(scene, "prune")
        assert (code, said["temps"], said["bytes"], left.exists()) == (0, ["1-1"], 4, False)
        assert (await syncd(scene, "verify"))[0] == 0


async def test_versions_beyond_a_lowered_limit_are_pruned_manifest_first(tmp_path, beside):
    async with watched(tmp_path, mirror="keep_versions = 3") as scene:
        for version in (1, 2, 3):
            await scene.send(banner(scene, 1, version))
            await scene.settle()
        assert len(scene.files()) == 3
        if not beside:
            await scene.daemon.stop()
        scene.daemon.write_config(mirror="keep_versions = 1")
        code, said = await syncd(scene, "prune", "--dry-run")
        assert (code, len(said["versions"]), len(scene.files())) == (0, 2, 3)
        code, said = await syncd(scene, "prune")
        assert (code, sorted(said["versions"])) == (0, [f"{FOLDER}/1.v1.png", f"{FOLDER}/1.v2.png"])
        assert scene.files() == {f"{FOLDER}/1.png": artwork("png", 13)}
        assert (await syncd(scene, "verify"))[0] == 0
        code, said = await syncd(scene, "prune")
        assert (said["versions"], said["bytes"]) == ([], 0)


async def test_old_quarantine_and_empty_folders_are_pruned(tmp_path):
    async with watched(tmp_path) as scene:
        await filled(scene, count=1)
        scene.truth.look_away()
        root = scene.daemon.root
        (root / "stray").write_bytes(b"stray")
        assert (await syncd(scene, "verify", "--repair"))[0] == 0
        code, said = await syncd(scene, "prune")
        assert said["quarantine"] == []
        (batch,) = (root / ".syncd/quarantine").iterdir()
        os.utime(batch, (0, 0))
        (root / "a/b").mkdir(parents=True)
        os.utime(root / "a/b", (0, 0))
        code, said = await syncd(scene, "prune")
        assert (code, said["quarantine"], said["bytes"]) == (0, [batch.name], 5)
        assert said["folders"] == ["a/b", "a"]
        assert not batch.exists()
        assert not (root / "a").exists()
