"""What an operator does about what went wrong: `retry`, `replay` and `explain` beside a daemon and without one."""

import asyncio
import json
import signal
import uuid

from cli.command import command, process
from running import running
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Stage

BANNER = "Spring sale/medium-rectangle/a.png"


async def syncd(daemon, *args, code=0):
    """Run a command as the operator, who does not know the daemon's secrets."""
    ended = await asyncio.to_thread(command, *args, "--config", daemon.config)
    assert ended.code == code, ended
    return ended.out + ended.err


async def as_json(daemon, *args):
    return json.loads((await asyncio.to_thread(command, *args, "--json", "--config", daemon.config)).out)


async def send(scene, payload):
    name = uuid.uuid4().hex
    assert (await scene.daemon.send(payload, delivery_id=name))[0] == 200
    return name


async def ended(scene, delivery):
    """Wait until nothing of a delivery waits; returns its entry."""

    async def over():
        entry = await scene.daemon.api(f"/api/deliveries/{delivery}")
        return entry if entry["outcome"] != "accepted" else None

    return await scene.daemon.until(over, f"{delivery} ends")


# ---- retry ----


async def test_a_failed_asset_is_tried_again_and_published(tmp_path):
    async with watched(tmp_path) as scene:
        payload = payloads.new_banner(scene.stage.url("/a.png"))
        name = await send(scene, payload)
        assert (await ended(scene, name))["assets"][0]["state"] == "failed"
        scene.put("/a.png", artwork("png"))
        said = await syncd(scene.daemon, "retry", payload["id"][:20])
        assert f"{BANNER} (version 1): is tried again" in said
        assert "the daemon does it now" in said
        entry = await ended(scene, name)
        assert (entry["outcome"], entry["assets"][0]["state"]) == ("processed", "published")
        assert await scene.failures() == []
        assert f"{BANNER} (version 1): is published" in await syncd(scene.daemon, "retry", BANNER, code=1)
        assert "nothing has failed" in await syncd(scene.daemon, "retry", "--failed")


async def test_what_waits_for_its_next_go_is_tried_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNCD_RETRY__PAUSE", "1h")
    monkeypatch.setenv("SYNCD_RETRY__GIVE_UP_AFTER", "24h")
    async with watched(tmp_path) as scene:
        urls = [scene.put(f"/{n}.png", artwork("png", n)) for n in (1, 2)]
        for n in (1, 2):
            scene.stage.script(f"/{n}.png", 503, 503, 503)
        await scene.send(*(payloads.new_banner(url, visual=n) for n, url in enumerate(urls)))

        async def both_wait():
            return len(await scene.failures()) == 2

        await scene.daemon.until(both_wait, "both wait")
        said = await as_json(scene.daemon, "retry", "--failed")
        assert sorted(asset["path"].rpartition("/")[2] for asset in said["retried"]) == ["1.png", "2.png"]
        assert (said["left"], said["unknown"], said["running"]) == ([], [], True)
        await scene.settle()
        assert len(scene.files()) == 2


async def test_a_superseded_version_is_left_alone_and_named_so(tmp_path):
    async with watched(tmp_path) as scene:
        url = scene.put("/a.png", artwork("png", 2))
        old = payloads.new_banner(scene.stage.url("/a.png"), version=1)
        await scene.send(payloads.new_banner(url, version=2), old)
        await scene.settle()
        said = await syncd(scene.daemon, "retry", old["id"], "nothing/like.png", code=1)
        assert "(version 1): a newer version was announced (version 2)" in said
        assert "no asset has the id or path nothing/like.png" in said


# ---- replay ----


async def test_what_a_filter_ignored_is_processed_once_the_filter_lets_it_pass(tmp_path):
    async with watched(tmp_path, abyssale='templates = ["Autumn"]') as scene:
        name = await send(scene, payloads.new_banner(scene.put("/a.png", artwork("png"))))
        assert (await ended(scene, name))["outcome"] == "ignored"
        scene.daemon.write_config(abyssale='templates = ["*"]')

        async def in_force():
            return (await scene.daemon.api("/api/status"))["config"]["generation"] == 2

        await scene.daemon.until(in_force, "the new filter is in force")
        planned = await syncd(scene.daemon, "replay", "--outcome", "ignored", "--since", "1h", "--dry-run")
        assert f"{name}: NEW_BANNER, would be accepted\n  {BANNER} (version 1): would be fetched" in planned
        assert (await scene.deliveries())[0]["outcome"] == "ignored"
        said = await as_json(scene.daemon, "replay", "--outcome", "ignored", "--since", "1h")
        assert said == {"replayed": [{"id": name, "was": "ignored"}], "unknown": [], "running": True}
        assert (await ended(scene, name))["outcome"] == "processed"
        assert list(scene.files()) == [BANNER]
        await scene.settle()


async def test_what_could_not_be_understood_is_read_again_and_set_aside_again(tmp_path):
    async with watched(tmp_path) as scene:
        name = await send(scene, {"export_id": 7, "archive_url": "none of ours"})
        assert (await ended(scene, name))["outcome"] == "quarantined"
        assert "would be quarantined" in await syncd(scene.daemon, "replay", name[:12], "--dry-run")
        assert f"{name}: was quarantined, is read again" in await syncd(scene.daemon, "replay", name[:12])
        entry = await ended(scene, name)
        assert entry["outcome"] == "quarantined"
        assert entry["reason"]


async def test_a_published_file_is_fetched_again_under_its_path_and_stays_visible(tmp_path):
    async with watched(tmp_path) as scene:
        name = await send(scene, payloads.new_banner(scene.put("/a.png", artwork("png"))))
        await scene.settle()
        before = scene.entries()[BANNER]
        assert "is published, would be fetched again" in await syncd(scene.daemon, "replay", name, "--dry-run")
        assert scene.stage.requests["/a.png"] == 1
        await syncd(scene.daemon, "replay", name)
        await scene.stage.asked("/a.png", 2)
        await scene.settle()
        assert (await ended(scene, name))["outcome"] == "processed"
        assert scene.entries()[BANNER] == before


async def test_a_published_file_that_is_gone_from_its_url_stays(tmp_path):
    async with watched(tmp_path) as scene:
        name = await send(scene, payloads.new_banner(scene.put("/a.png", artwork("png"))))
        await scene.settle()
        scene.stage.remove("/a.png")
        await syncd(scene.daemon, "replay", name)
        await scene.stage.asked("/a.png", 4)
        entry = await ended(scene, name)
        assert (entry["assets"][0]["state"], "404" in entry["assets"][0]["reason"]) == ("published", True)
        assert await scene.failures() == []
        await scene.settle()
        assert list(scene.files()) == [BANNER]


async def test_an_export_is_whole_while_it_is_replaced_by_itself(tmp_path):
    async with watched(tmp_path) as scene:
        members = {f"{n}.png": artwork("png", n) for n in range(40)}
        scene.truth.serves(*members.values())
        scene.truth.exports(members.values())
        name = await send(scene, payloads.export(scene.stage.put("/e.zip", archive(members))))
        await scene.settle()
        for round_ in (2, 3, 4):
            await syncd(scene.daemon, "replay", name)
            await scene.stage.asked("/e.zip", round_)
            await scene.settle()
        assert len(scene.files()) == 40


async def test_an_older_version_replayed_does_not_replace_the_newer(tmp_path):
    async with watched(tmp_path) as scene:
        old = await send(scene, payloads.new_banner(scene.put("/1/a.png", artwork("png", 1)), version=1))
        await scene.settle()
        await scene.send(payloads.new_banner(scene.put("/2/a.png", artwork("png", 2)), version=2))
        await scene.settle()
        newer = scene.files()
        planned = await as_json(scene.daemon, "replay", old, "--dry-run")
        assert planned["deliveries"][0]["assets"][0]["fetch"] is False
        await syncd(scene.daemon, "replay", old)
        assert (await ended(scene, old))["assets"][0]["state"] == "superseded"
        await scene.settle()
        assert scene.files() == newer
        assert scene.stage.requests["/1/a.png"] == 1


async def test_orders_given_while_the_daemon_is_stopped_are_done_at_its_next_start(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        url = stage.url("/a.png")
        await daemon.send(payloads.new_banner(url), delivery_id="failed")
        await daemon.send(payloads.new_banner(stage.put("/b.png", artwork("png", 2)), visual=2), delivery_id="gone")

        async def over():
            status = await daemon.api("/api/status")
            return status["queue"]["depth"] == 0 and status["assets"]["failed"] == 1

        await daemon.until(over, "one is published, one failed")
        await daemon.stop()
        (daemon.root / "Spring sale/medium-rectangle/b.png").unlink()
        stage.put("/a.png", artwork("png"))
        for order in (("retry", "--failed"), ("replay", "gone")):
            assert "the daemon does not run, and does it at its next start" in await syncd(daemon, *order)
        await daemon.start()
        await daemon.idle()
        names = {path.rpartition("/")[2] for path in daemon.files()}
        assert names == {"a.png", "b.png"}


async def test_a_replay_survives_a_crash(tmp_path):
    async with Stage() as stage, running(tmp_path) as daemon:
        await daemon.send(payloads.new_banner(stage.put("/a.png", artwork("png"))), delivery_id="d1")
        await daemon.idle()
        await syncd(daemon, "replay", "d1")
        await daemon.stop(signal.SIGKILL)
        await daemon.start()
        await stage.asked("/a.png", 2)
        await daemon.idle()
        assert (await daemon.api("/api/deliveries/d1"))["outcome"] == "processed"


# ---- explain ----


async def test_a_file_is_explained_with_what_it_replaced(tmp_path):
    async with watched(tmp_path) as scene:
        old = await send(scene, payloads.new_banner(scene.put("/1/a.png", artwork("png", 1)), version=1))
        await scene.settle()
        new = await send(
            scene, payloads.new_banner(scene.put("/2/a.png", artwork("png", 2)) + "?Sig=secret", version=2)
        )
        await scene.settle()
        said = await as_json(scene.daemon, "explain", BANNER.upper())
        assert (said["path"], said["state"], said["version"]) == (BANNER, "published", 2)
        assert (said["as_recorded"], said["in_manifest"], said["attempts"]) == (True, True, 1)
        assert said["url"].endswith("/2/a.png")
        assert [delivery["id"] for delivery in said["deliveries"]] == [new]
        assert [(one["version"], one["delivery"]) for one in said["replaced"]] == [(1, old)]
        inside = scene.daemon.root / "Spring sale"
        shown = await process("explain", "medium-rectangle/a.png", "--config", str(scene.daemon.config), cwd=inside)
        assert (shown.code, f"{BANNER} is published" in shown.out) == (0, True)
        assert "secret" not in shown.out
