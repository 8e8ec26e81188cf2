"""The approval gate: only what is approved is visible, in whichever order status and banners come."""

import asyncio
import signal

import pytest
from cli.command import process
from running import SECRET, running
from scene import Scene, watched
from truth import Truth

from syncd.demo import payloads
from syncd.demo.artwork import artwork
from syncd.demo.stage import Stage

FOLDER = "Spring sale/medium-rectangle"
APPROVAL = {"approval": 'publish = ["APPROVED"]'}


def banner(scene, number, visual=1, **fields):
    url = scene.put(f"/{visual}/{number}.png", artwork("png", 10 * visual + number))
    return payloads.new_banner(
        url, visual=visual, version=number, file=payloads.file(url, filename=f"{visual}.png"), **fields
    )


def status(word, at=0, **fields):
    return payloads.template_status(word, status_updated_at=1_789_000_000 + at, **fields)


async def counts(scene, **wanted):
    """Wait until so many assets are in these states, and nothing is left to do."""

    async def so():
        now = await scene.daemon.api("/api/status")
        found = {state: now["assets"].get(state, 0) for state in wanted}
        return found == wanted and now["queue"]["depth"] == 0

    await scene.daemon.until(so, f"{wanted}")


async def gone(scene):
    """Wait until nothing at all is visible, folders included."""
    folder = scene.daemon.root / "Spring sale"
    await scene.daemon.until(lambda: not folder.exists(), "the folder is gone")
    await scene.settle()
    assert scene.files() == {}


def held(scene):
    return {path.name for path in (scene.daemon.root / ".syncd" / "held").iterdir()}


async def test_a_banner_is_held_until_its_design_is_approved(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(banner(scene, 1))
        await counts(scene, held=1, published=0)
        assert scene.files() == {}
        (delivery,) = await scene.deliveries()
        (asset,) = delivery["assets"]
        assert delivery["outcome"] == "processed"
        assert (asset["state"], asset["reason"]) == ("held", "its design has no status yet")
        assert asset["path"] == f"{FOLDER}/1.png", "its key is reserved"
        await scene.send(status("APPROVED"))
        await counts(scene, held=0, published=1)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/1.png": artwork("png", 11)}
        assert scene.stage.requests["/1/1.png"] == 1, "no second download"
        assert held(scene) == set()


async def test_a_banner_of_an_approved_design_is_published_at_once(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(status("approved"), banner(scene, 1))
        await scene.settle()
        assert list(scene.files()) == [f"{FOLDER}/1.png"]


async def test_an_approval_that_is_taken_back_withdraws_and_a_new_one_publishes_again(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(status("APPROVED"), *(banner(scene, 1, visual) for visual in range(1, 6)))
        await scene.settle()
        before = scene.files()
        assert len(before) == 5
        for at, word in enumerate(["IN_REVIEW", "APPROVED", "REJECTED", "APPROVED"], start=1):
            await scene.send(status(word, at))
            closed = word != "APPROVED"
            await counts(scene, held=5 * closed, published=5 * (not closed))
            if closed:
                await gone(scene)
                assert len(held(scene)) == 5
            else:
                await scene.settle()
                assert scene.files() == before
        assert all(scene.stage.requests[f"/{visual}/1.png"] == 1 for visual in range(1, 6))


async def test_statuses_that_flutter_end_as_the_last_one_says(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(*(banner(scene, 1, visual) for visual in range(1, 4)))
        words = ["APPROVED", "REJECTED"] * 5 + ["APPROVED"]
        await scene.send(*(status(word, at) for at, word in enumerate(words)))
        await counts(scene, held=0, published=3)
        await scene.settle()
        assert len(scene.files()) == 3


async def test_a_new_version_of_a_withdrawn_design_is_what_is_published_in_the_end(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(status("APPROVED"), banner(scene, 1))
        await scene.settle()
        await scene.send(status("IN_REVIEW", 1), banner(scene, 2))
        await counts(scene, held=1, published=0, superseded=1)
        await scene.send(status("APPROVED", 2))
        await counts(scene, published=1)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/1.png": artwork("png", 12)}


async def test_a_reload_switches_the_gate_on_and_off(tmp_path):
    async with watched(tmp_path) as scene:
        other = {"id": "d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5ff", "name": "Autumn"}
        await scene.send(status("APPROVED"), banner(scene, 1), banner(scene, 1, 2, template=other))
        await scene.settle()
        assert len(scene.files()) == 2
        scene.daemon.write_config(**APPROVAL)
        await counts(scene, held=1, published=1)
        await scene.settle()
        assert list(scene.files()) == [f"{FOLDER}/1.png"]
        scene.daemon.write_config(approval='publish = ["IN_REVIEW"]')
        await counts(scene, held=2, published=0)
        await gone(scene)
        scene.daemon.write_config()
        await counts(scene, held=0, published=2)
        await scene.settle()
        assert len(scene.files()) == 2
        assert "files are withdrawn, their designs are not approved" in scene.daemon.log.read_text()


async def test_html5_visuals_are_held_with_their_fallback_image(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        file = payloads.file(scene.put("/moving.zip", artwork("zip", 1)))
        file["fallback_image_url"] = scene.put("/moving.jpeg", artwork("jpeg", 1))
        await scene.send(payloads.new_banner(file["url"], file=file))
        await counts(scene, held=2)
        assert scene.files() == {}
        await scene.send(status("APPROVED"))
        await counts(scene, published=2)
        await scene.settle()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_held_files_survive_a_restart(tmp_path, how):
    truth = Truth(tmp_path / "mirror")
    async with Stage() as stage, truth.watching(), running(tmp_path, **APPROVAL) as daemon:
        scene = Scene(stage, daemon, truth)
        await scene.send(banner(scene, 1), banner(scene, 1, 2))
        await counts(scene, held=2)
        await daemon.stop(how)
        (lost, _) = sorted((tmp_path / "mirror" / ".syncd" / "held").iterdir())
        lost.unlink()
        (lost.parent / "999").write_bytes(b"nobody's")
        (lost.parent / "999").chmod(0o644)
        await daemon.start()
        await counts(scene, held=2)
        await daemon.until(lambda: len(held(scene)) == 2 and "999" not in held(scene), "what is held is in order")
        await scene.send(status("APPROVED"))
        await counts(scene, published=2)
        await scene.settle()
        assert stage.requests["/1/1.png"] + stage.requests["/2/1.png"] == 3, "only the lost one is fetched again"


async def test_a_held_file_that_disappears_while_the_daemon_runs_is_fetched_again(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(banner(scene, 1))
        await counts(scene, held=1)
        for path in (scene.daemon.root / ".syncd" / "held").iterdir():
            path.write_bytes(b"damaged")
        await scene.send(status("APPROVED"))
        await counts(scene, published=1)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/1.png": artwork("png", 11)}
        assert scene.stage.requests["/1/1.png"] == 2


async def test_many_held_files_are_let_out_in_steps_while_deliveries_are_taken(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        many = range(1, 601)
        contents = artwork("png", 1)
        url = scene.put("/same.png", contents)
        await asyncio.gather(
            *(
                scene.send(
                    payloads.batch(
                        [
                            payloads.new_banner(url, visual=visual, file=payloads.file(url, filename=f"{visual}.png"))
                            for visual in many[start : start + 100]
                        ],
                        request=start,
                    )
                )
                for start in range(0, 600, 100)
            )
        )
        await counts(scene, held=600)
        await scene.send(status("APPROVED"))
        await counts(scene, published=600)
        await scene.settle()
        await scene.send(status("REJECTED", 1))
        await counts(scene, held=600)
        await gone(scene)


async def test_commands_tell_what_is_held_and_why(tmp_path):
    async with watched(tmp_path, **APPROVAL) as scene:
        await scene.send(status("IN_REVIEW"), banner(scene, 1))
        await counts(scene, held=1)

        async def syncd(*args):
            ended = await process(*args, "--config", str(scene.daemon.config), cwd=tmp_path, TEST_SECRET=SECRET)
            return ended.out

        explained = await syncd("explain", f"{FOLDER}/1.png")
        assert "is fetched, and held until it may be visible" in explained
        assert "its design is IN_REVIEW" in explained
        assert "1 held" in await syncd("status")
        (delivery,) = [one for one in await scene.deliveries() if one["assets"]]
        shown = await syncd("deliveries", "show", delivery["id"])
        assert "held" in shown
        assert "its design is IN_REVIEW" in shown
        assert "is fetched, and held: its design is IN_REVIEW" in await syncd("retry", delivery["assets"][0]["id"])
        assert "held" not in await syncd("verify"), "what is out of sight is neither missing nor stray"
        found = (await scene.daemon.api("/api/assets?state=held"))["assets"]
        assert [(one["state"], one["reason"], one["published_at"]) for one in found] == [
            ("held", "its design is IN_REVIEW", None)
        ]
        assert 'syncd_journal_assets{state="held"} 1.0' in await metrics(scene)


async def metrics(scene):
    async with scene.daemon.session.get(f"http://127.0.0.1:{scene.daemon.admin}/metrics") as answer:
        return await answer.text()
