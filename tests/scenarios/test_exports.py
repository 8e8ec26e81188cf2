"""Exports: a whole folder or nothing, its files listed beside it, and a reason wherever there is none."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime

from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Fault

MEMBERS = {
    "readme.txt": b"made for you",
    "spring/300x250.png": artwork("png", 1),
    "spring/160x600.png": artwork("png", 2),
    "deep/er/film.mp4": artwork("mp4"),
}


def folder(payload):
    """Where an export goes by default; at midnight UTC this is a test of patience."""
    return f"_exports/{datetime.now(UTC).date().isoformat()}_{payload['export_id']}"


def served(scene, members=MEMBERS, path="/export.zip"):
    scene.truth.exports(members.values())
    return scene.put(path, archive(members))


def listing(scene, payload):
    return json.loads((scene.daemon.root / f"{folder(payload)}.json").read_bytes())


async def test_an_archive_becomes_a_whole_folder_with_its_listing_beside_it(tmp_path):
    async with watched(tmp_path) as scene:
        payload = payloads.export(served(scene) + "?X-Amz-Signature=s3cret")
        await scene.send(payload)
        await scene.settle()
        assert scene.files() == {f"{folder(payload)}/{name}": content for name, content in MEMBERS.items()}
        said = listing(scene, payload)
        assert said["version"] == 1
        assert said["export_id"] == payload["export_id"]
        assert {file["path"]: (file["bytes"], file["sha256"]) for file in said["files"]} == {
            f"{folder(payload)}/{name}": (len(content), hashlib.sha256(content).hexdigest())
            for name, content in MEMBERS.items()
        }
        index = scene.daemon.index()
        assert index["totals"] == {"assets": 0, "bytes": 0, "folders": 0, "exports": 1}
        (line,) = index["exports"]
        assert line.pop("published_at").endswith("Z")
        assert line == {
            "export_id": payload["export_id"],
            "path": folder(payload),
            "files": len(MEMBERS),
            "bytes": sum(map(len, MEMBERS.values())),
            "sha256": hashlib.sha256(archive(MEMBERS)).hexdigest(),
            "requested_at": "2026-09-21T14:11:40.000Z",
            "generated_at": "2026-09-21T14:13:04.000Z",
            "manifest": f"{folder(payload)}.json",
        }
        assert "s3cret" not in json.dumps([said, index])


async def test_the_same_export_announced_again_changes_nothing(tmp_path):
    async with watched(tmp_path) as scene:
        payload = payloads.export(served(scene))
        await scene.send(payload)
        await scene.settle()
        before = (scene.daemon.root / f"{folder(payload)}.json").stat(), scene.daemon.index()["sequence"]
        await scene.send({**payload, "generated_at": 1789999999})
        await scene.settle()
        after = (scene.daemon.root / f"{folder(payload)}.json").stat(), scene.daemon.index()["sequence"]
        assert after == before
        assert scene.stage.requests["/export.zip"] == 1


async def test_a_kept_archive_lies_beside_its_folder(tmp_path):
    async with watched(tmp_path, exports="keep_archive = true") as scene:
        payload = payloads.export(served(scene))
        await scene.send(payload)
        await scene.settle()
        assert scene.files()[f"{folder(payload)}.zip"] == archive(MEMBERS)
        assert len(scene.files()) == len(MEMBERS) + 1


async def test_without_extraction_the_archive_is_the_file(tmp_path):
    async with watched(tmp_path, exports="extract = false") as scene:
        payload = payloads.export(served(scene))
        await scene.send(payload)
        await scene.settle()
        assert scene.files() == {f"{folder(payload)}.zip": archive(MEMBERS)}
        assert [file["path"] for file in listing(scene, payload)["files"]] == [f"{folder(payload)}.zip"]


async def test_an_export_that_is_one_file_is_published_as_that_file(tmp_path):
    async with watched(tmp_path) as scene:
        alone = {}
        for number, kind in enumerate(("png", "pdf", "mp4")):
            alone[kind] = payloads.export(scene.put(f"/{number}.zip", artwork(kind)), export=number)
            await scene.send(alone[kind])
        await scene.settle()
        assert scene.files() == {f"{folder(payload)}.{kind}": artwork(kind) for kind, payload in alone.items()}
        for kind, payload in alone.items():
            assert [file["path"] for file in listing(scene, payload)["files"]] == [f"{folder(payload)}.{kind}"]


BAD = {
    "traversal": ({"ok.png": b"x", "../../evil.png": b"x"}, "leads out"),
    "absolute": ({"/etc/evil": b"x"}, "absolute"),
    "bomb": ({"zeros": bytes(64 << 20)}, "bomb"),
    "twice": ({"a.png": b"x", "A.PNG": b"y"}, "same file"),
    "many": ({f"{n}": b"" for n in range(30)}, "more than 20"),
    "large": ({f"{n}": bytes([n]) * (1 << 20) for n in range(5)}, "expands to"),
    "empty": ({}, "no file"),
}


async def test_a_refused_archive_fails_with_its_reason_and_leaves_nothing(tmp_path):
    async with watched(tmp_path, exports='max_files = 20\nmax_expanded = "4MiB"') as scene:
        contents = {name: archive(members) for name, (members, _) in BAD.items()}
        reasons = {name: reason for name, (_, reason) in BAD.items()}
        reasons["bomb"] = "expand"  # whichever limit it meets first
        ids = {}
        for number, (name, content) in enumerate(contents.items()):
            payload = payloads.export(scene.stage.put(f"/{name}.zip", content), export=number)
            ids[payload["export_id"]] = name
            await scene.send(payload)
        await scene.settle()
        assert scene.files() == {}
        failures = await scene.failures()
        assert {ids[failure["id"]] for failure in failures} == set(reasons)
        for failure in failures:
            assert reasons[ids[failure["id"]]] in failure["reason"]
            assert failure["next_attempt_at"] is None
        for delivery in await scene.deliveries():
            assert delivery["outcome"] == "processed"
            (asset,) = delivery["assets"]
            assert asset["state"] == "failed"
            assert reasons[ids[asset["id"]]] in asset["reason"]
        assert all(scene.stage.requests[f"/{name}.zip"] == 1 for name in contents)


async def test_an_archive_that_comes_damaged_is_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCD_RETRY__GIVE_UP_AFTER", "1m")  # a busy machine takes its time
    whole = archive(MEMBERS)
    middle = len(whole) // 2
    short, changed = whole[:middle], whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
    async with watched(tmp_path) as scene:
        urls = [scene.put(f"/{number}.zip", damaged) for number, damaged in enumerate((short, changed))]
        for number, url in enumerate(urls):
            await scene.send(payloads.export(url, export=number))
        await scene.daemon.until(lambda: all(scene.stage.requests[f"/{number}.zip"] for number in range(2)), "both")
        assert scene.files() == {}
        for number in range(2):
            served(scene, path=f"/{number}.zip")
        await scene.settle()
        assert len(scene.files()) == 2 * len(MEMBERS)
        assert [asset["state"] for one in await scene.deliveries() for asset in one["assets"]] == ["published"] * 2


async def test_a_refused_export_that_is_announced_again_with_a_good_archive_is_published(tmp_path):
    async with watched(tmp_path) as scene:
        bad = payloads.export(scene.stage.put("/bad.zip", archive({"/etc/evil": b"x"})))
        await scene.send(bad)
        await scene.settle()
        assert len(await scene.failures()) == 1
        await scene.send({**bad, "archive_url": served(scene)})
        await scene.settle()
        assert len(scene.files()) == len(MEMBERS)
        assert await scene.failures() == []


async def test_banners_flow_while_a_large_export_trickles(tmp_path):
    async with watched(tmp_path) as scene:
        payload = payloads.export(served(scene))
        scene.stage.script("/export.zip", Fault(hold=(held := asyncio.Event())))
        await scene.send(payload)
        await scene.stage.asked("/export.zip")
        for n in range(20):
            await scene.send(payloads.new_banner(scene.put(f"/{n}.png", artwork("png", n)), visual=n))
        await scene.daemon.until(lambda: len(scene.files()) == 20, "the banners")
        assert scene.stage.requests["/export.zip"] == 1
        held.set()
        await scene.settle()
        assert len(scene.files()) == 20 + len(MEMBERS)


async def test_two_exports_never_share_a_folder(tmp_path):
    async with watched(tmp_path) as scene:
        ids = ["e/1", "e_1", "E_1", "../e_1", "e.json", "e", "e\N{RIGHT-TO-LEFT OVERRIDE}"]
        for number, name in enumerate(ids):
            members = {"x.png": artwork("png", number)}
            await scene.send(payloads.export(served(scene, members, f"/{number}.zip"), export_id=name))
        await scene.settle()
        folders = [path.removesuffix("/x.png") for path in scene.files()]
        published = len(ids) - 1  # an id that can't be seen is none
        assert len({folder.casefold() for folder in folders}) == published
        assert sorted(scene.files().values()) == sorted(artwork("png", number) for number in range(published))
        assert all(folder.startswith("_exports/") and folder.count("/") == 1 for folder in folders)
