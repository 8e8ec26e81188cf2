"""What the manifests say, checked against the files by programs that know nothing of syncd."""

import asyncio
import hashlib
import json
import re

from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork

FOLDER = "Spring sale/medium-rectangle"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def banner(scene, number, version=1, **fields):
    path = f"/{number}.{version}.png"
    url = scene.put(path, artwork("png", 10 * number + version))
    file = payloads.file(url + "?X-Amz-Signature=s3cret#f", filename=f"{number}.png")
    file["type"] = "png"
    return payloads.new_banner(url, visual=number, version=version, file=file, **fields)


async def checked(path):
    """Have `sha256sum` check a list in its own folder; returns its exit code."""
    process = await asyncio.create_subprocess_exec("sha256sum", "--strict", "--quiet", "-c", path.name, cwd=path.parent)
    return await process.wait()


async def test_an_entry_says_all_that_is_known_of_a_file(tmp_path):
    async with watched(tmp_path) as scene:
        links = {"view_url": "https://app.example.test/v", "edit_url": "https://app.example.test/e"}
        payload = banner(scene, 1, **links)
        await scene.send(payload)
        await scene.settle()
        content = artwork("png", 11)
        manifest = scene.manifest(FOLDER)
        assert manifest["version"] == 1
        assert manifest["sequence"] >= 1
        assert manifest["template"] == {
            "id": payload["template"]["id"], "name": "Spring sale", "status": None, "status_updated_at": None,
        }  # fmt: skip
        assert manifest["format"] == {"id": "medium-rectangle", "width": 300, "height": 250, "unit": "px"}
        (entry,) = manifest["assets"]
        (delivery,) = await scene.deliveries()
        assert TIME.fullmatch(entry["received_at"])
        assert TIME.fullmatch(entry["published_at"])
        assert entry.items() >= {
            "path": f"{FOLDER}/1.png", "id": payload["id"], "sharing_id": payload["sharing_id"], "version": 1,
            "type": "png", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
            "width": 300, "height": 250, "source_url": payload["file"]["url"].partition("?")[0],
            "delivery": delivery["id"], "received_at": delivery["received_at"], **links,
        }.items()  # fmt: skip
        index = scene.daemon.index()
        assert index["version"] == 1
        assert TIME.fullmatch(index["generated_at"])
        assert index["totals"] == {"assets": 1, "bytes": len(content), "folders": 1, "exports": 0}
        (line,) = index["folders"]
        assert line["path"] == FOLDER
        assert line["manifest"] == f"{FOLDER}/manifest.json"
        assert (line["assets"], line["bytes"], line["sequence"]) == (1, len(content), manifest["sequence"])
        assert "s3cret" not in json.dumps([manifest, index])


async def test_a_folder_that_nothing_happens_in_is_not_written_again(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene, 1, format={"id": "quiet"}))
        await scene.settle()
        quiet = scene.daemon.root / "Spring sale/quiet/manifest.json"
        before = quiet.stat()
        await scene.send(banner(scene, 2))
        await scene.settle()
        assert quiet.stat() == before
        assert scene.daemon.index()["totals"]["folders"] == 2


async def test_a_template_status_is_shown_whenever_it_came(tmp_path):
    async with watched(tmp_path) as scene:

        def shown(folder):
            template = scene.manifest(folder)["template"]
            return template["status"], template["status_updated_at"]

        await scene.send(payloads.template_status("IN_REVIEW", status_updated_at=1789000000))
        await scene.send(banner(scene, 1), banner(scene, 2, format={"id": "leaderboard"}))
        await scene.settle()
        assert shown(FOLDER) == ("IN_REVIEW", "2026-09-10T00:26:40.000Z")
        assert shown("Spring sale/leaderboard") == shown(FOLDER)
        await scene.send(payloads.template_status("APPROVED", status_updated_at=1789000100))
        await scene.settle()
        await scene.daemon.until(lambda: shown(FOLDER)[0] == "APPROVED", "the new status")
        assert shown("Spring sale/leaderboard") == ("APPROVED", "2026-09-10T00:28:20.000Z")
        await scene.send(payloads.template_status("REJECTED", status_updated_at=1789000050))
        await scene.send(banner(scene, 3))
        await scene.settle()
        assert shown(FOLDER)[0] == "APPROVED"
        await scene.send(payloads.template_status("SOMETHING_NEW", status_updated_at=1789000200))
        await scene.daemon.until(lambda: shown(FOLDER)[0] == "SOMETHING_NEW", "a status nobody knows")


async def test_a_renamed_template_is_called_by_its_new_name_in_all_its_folders(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene, 1), banner(scene, 2, format={"id": "leaderboard"}))
        await scene.settle()
        await scene.send(banner(scene, 3, template={**payloads.TEMPLATE, "name": "Summer sale"}))
        await scene.settle()

        def named():
            return {
                scene.manifest(f"Spring sale/{name}")["template"]["name"]
                for name in ("leaderboard", "medium-rectangle")
            }

        await scene.daemon.until(lambda: named() == {"Summer sale"}, "the new name")


async def test_checksums_satisfy_sha256sum(tmp_path):
    async with watched(tmp_path, manifest="checksums = true", mirror="keep_versions = 2") as scene:
        members = {"a/b c.png": artwork("png", 1), "d.txt": b"text"}
        scene.truth.exports(members.values())
        await scene.send(banner(scene, 1), banner(scene, 1, version=2), banner(scene, 2))
        await scene.send(payloads.export(scene.put("/e.zip", archive(members))))
        await scene.settle()
        lists = sorted(scene.daemon.root.rglob("*SHA256SUMS"))
        assert len(lists) == 2
        for path in lists:
            assert await checked(path) == 0
        listed = (scene.daemon.root / FOLDER / "SHA256SUMS").read_text()
        assert {line.split("  ")[1] for line in listed.splitlines()} == {"1.png", "2.png"} | (
            {"1.v1.png"} if (scene.daemon.root / FOLDER / "1.v1.png").exists() else set()
        )


async def test_checksums_come_and_go_with_the_setting(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene, 1))
        await scene.settle()
        sums = scene.daemon.root / FOLDER / "SHA256SUMS"
        assert not sums.exists()
        scene.daemon.write_config(manifest="checksums = true")
        await scene.daemon.until(sums.exists, "checksums of what was there")
        await scene.settle()
        scene.daemon.write_config()
        await scene.daemon.until(lambda: not sums.exists(), "no list that nobody keeps true")
        await scene.send(banner(scene, 1, version=2))
        await scene.settle()
        assert not sums.exists()
        # A setting that changed while nobody ran counts too.
        await scene.daemon.stop()
        scene.daemon.write_config(manifest="checksums = true")
        await scene.daemon.start()
        await scene.daemon.until(sums.exists, "checksums of what was there")
        assert await checked(sums) == 0


async def test_a_manifest_whose_checksums_can_not_be_written_counts_its_changes(tmp_path):
    async with watched(tmp_path, manifest="checksums = true") as scene:
        (scene.daemon.root / FOLDER / "SHA256SUMS").mkdir(parents=True)
        manifest, sequences = scene.daemon.root / FOLDER / "manifest.json", []
        for number in (1, 2):
            await scene.send(banner(scene, number))
            await scene.daemon.until(
                lambda number=number: manifest.exists() and len(scene.manifest(FOLDER)["assets"]) == number,
                "it is named",
            )
            sequences.append(scene.manifest(FOLDER)["sequence"])
        assert sequences[0] < sequences[1]


async def test_an_index_that_was_lost_or_is_behind_is_written_at_the_next_start(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(banner(scene, 1))
        await scene.settle()
        index = scene.daemon.root / "manifest.json"
        before = scene.daemon.index()
        await scene.daemon.stop()
        # As a crash between the folder's manifest and the index leaves it.
        older = tmp_path / "older.json"
        older.write_text(json.dumps({**before, "folders": [], "totals": dict.fromkeys(before["totals"], 0)}))
        older.replace(index)  # at once: it is being watched
        await scene.daemon.start()
        await scene.settle()
        assert scene.daemon.index()["totals"] == before["totals"]
        assert scene.daemon.index()["sequence"] > before["sequence"]


async def test_modes_are_those_of_the_config(tmp_path):
    async with watched(tmp_path) as scene:
        scene.truth.modes = 0o640, 0o750
        scene.daemon.write_config(mirror='file_mode = "0640"\ndir_mode = "0750"')

        async def in_force():
            return (await scene.daemon.api("/api/status"))["config"]["generation"] > 1

        await scene.daemon.until(in_force, "the new modes")
        await scene.send(banner(scene, 1))
        members = {"a/b.png": artwork("png", 1)}
        scene.truth.exports(members.values())
        await scene.send(payloads.export(scene.put("/e.zip", archive(members))))
        await scene.settle()
        assert len(scene.files()) == 2


async def test_a_folder_that_is_left_empty_goes_and_comes_back_with_its_sequence_going_on(tmp_path):
    async with watched(tmp_path, mirror='layout = "{template}/v{version}/{filename}"') as scene:
        for version in (1, 2):
            await scene.send(banner(scene, 1, version=version))
            await scene.settle()
        assert scene.files() == {"Spring sale/v2/1.png": artwork("png", 12)}
        assert [line["path"] for line in scene.daemon.index()["folders"]] == ["Spring sale/v2"]
        assert scene.daemon.index()["totals"]["folders"] == 1
        first = scene.daemon.root / "Spring sale/v1"
        await scene.daemon.until(lambda: not first.exists(), "an empty folder goes")
        await scene.send(banner(scene, 2, version=1))
        await scene.settle()
        assert scene.files().keys() == {"Spring sale/v1/2.png", "Spring sale/v2/1.png"}
        assert scene.manifest("Spring sale/v1")["sequence"] > 2  # named a file, and none, and the new one
