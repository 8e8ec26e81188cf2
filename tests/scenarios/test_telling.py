"""Those whom the config names are told: programs of each change, in order, and people of what matters to them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator

from audience import SECRET, Audience
from cli.command import Ended, command
from running import Running, running
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork
from syncd.demo.stage import Stage

FOLDER = "Spring sale/medium-rectangle"
PUBLIC = 'public_url = "https://cdn.example.com/m"'


def hook(base: str, **keys: str) -> str:
    """A table of a hook, impatient."""
    said = {"url": f'"{base}/hook"', "secret": f'"{SECRET}"', "max_delay": '"50ms"', **keys}
    return "\n".join(["[[hooks]]", *(f"{name} = {value}" for name, value in said.items())]) + "\n"


def notify(base: str, on: str = '["*"]', **keys: str) -> str:
    """A table of a notification, impatient."""
    said = {"url": f'"{base.replace("http://", "json://")}/people"', "on": on, "max_delay": '"50ms"', **keys}
    return "\n".join(["[[notify]]", *(f"{name} = {value}" for name, value in said.items())]) + "\n"


def texts(audience: Audience) -> list[tuple[str, str]]:
    """What people have read: titles and texts."""
    return [(asked.said["title"], asked.said["message"]) for asked in audience.heard]


async def syncd(daemon: Running, *words: str) -> Ended:
    """Run a command beside the daemon."""
    return await asyncio.to_thread(command, *words, "--config", daemon.config, TEST_SECRET="x")


def banners(stage: Stage, numbers: Iterator[int] | range) -> list[payloads.Payload]:
    return [payloads.new_banner(stage.put(f"/{n}.png", artwork("png", n)), visual=n) for n in numbers]


async def test_a_hook_is_told_of_what_is_published_replaced_and_removed(tmp_path):
    async with (
        Audience().listening() as programs,
        watched(tmp_path, mirror=PUBLIC, exports=hook(programs.base)) as scene,
    ):
        first = payloads.new_banner("", file=payloads.file(scene.put("/a.png", artwork("png", 1)), filename="a b.png"))
        await scene.send(first)
        await scene.daemon.until(programs.changes, "the first change is told")
        await scene.settle()
        (change,) = programs.changes()
        entry = scene.entries()[f"{FOLDER}/a b.png"]
        assert change["event"] == "asset.published"
        assert (change["path"], change["sha256"], change["bytes"]) == (entry["path"], entry["sha256"], entry["bytes"])
        assert change["url"] == "https://cdn.example.com/m/Spring%20sale/medium-rectangle/a%20b.png"
        assert (change["template"], change["format"]) == ("Spring sale", "medium-rectangle")
        assert change["delivery"] == (await scene.deliveries())[0]["id"]
        (asked,) = programs.heard
        assert asked.said["type"] == "tree.changed"
        assert asked.headers["webhook-id"].startswith("msg_")
        await scene.send(payloads.new_banner(scene.put("/c.jpeg", artwork("jpeg", 2)), version=2))
        await scene.daemon.until(lambda: programs.paths("asset.removed"), "the old file's removal is told")
        assert [(change["event"], change["path"]) for change in programs.changes()[1:]] == [
            ("asset.published", f"{FOLDER}/a b.jpeg"),
            ("asset.removed", f"{FOLDER}/a b.png"),
        ]


async def test_each_change_arrives_in_order_though_the_receiver_fails_at_times_and_the_daemon_is_killed(tmp_path):
    programs = Audience(answer=lambda nth: 503 if nth in (1, 4) else 200)
    async with (
        programs.listening(),
        Stage() as stage,
        running(tmp_path, exports=hook(programs.base, max_items="2")) as daemon,
    ):
        for version in range(1, 4):
            url = stage.put(f"/v{version}/a.png", artwork("png", version))
            await daemon.send(payloads.new_banner(url, version=version))
            await daemon.idle()
        await daemon.until(lambda: programs.asked, "one attempt was made")
        await daemon.stop(signal.SIGKILL)
        await daemon.start()
        for payload in banners(stage, range(10, 13)):
            await daemon.send(payload)
        await daemon.until(lambda: len(programs.changes()) == 6, "everything is told")
        assert programs.paths()[f"{FOLDER}/a.png"] == 3
        told = [change["version"] for change in programs.changes() if change["path"] == f"{FOLDER}/a.png"]
        assert told == [1, 2, 3]
        ids = [asked.headers["webhook-id"] for asked in programs.asked]
        for name in set(ids):  # the same id is the same content
            assert len({json.dumps(asked.said) for asked in programs.asked if asked.headers["webhook-id"] == name}) == 1


async def test_a_burst_is_folded_into_one_message_that_lists_a_few(tmp_path):
    async with Audience().listening() as people, Stage() as stage:
        config = notify(people.base, '["asset.published"]', max_delay='"1500ms"')
        async with running(tmp_path, exports=config) as daemon:
            await daemon.send(payloads.batch(banners(stage, range(200))))
            await daemon.idle()
            await daemon.until(lambda: people.heard, "people are told")
            titles = [title for title, _ in texts(people)]
            assert len(titles) <= 3
            assert "syncd: 200 files published" in titles
            lines = texts(people)[-1][1].splitlines()
            assert len(lines) == 11
            assert lines[-1] == "… and 190 more"


async def test_people_are_told_of_exports_batches_statuses_failures_and_a_rejected_config(tmp_path):
    async with Audience().listening() as people, watched(tmp_path, mirror=PUBLIC, exports=notify(people.base)) as scene:
        packed = scene.put("/e.zip", archive({"x.png": artwork("png", 9), "y.png": artwork("png", 8)}))
        scene.truth.exports([artwork("png", 9), artwork("png", 8)])
        errors = [{"template_format_name": "leaderboard", "reason": "headline <b>does not fit</b>\u202e @everyone"}]
        good = payloads.new_banner(scene.put("/1.png", artwork("png", 1)), visual=1)
        gone = payloads.new_banner(scene.stage.url("/gone.png"), visual=2)
        await scene.send(payloads.batch([good, gone], errors=errors), payloads.export(packed))

        def told(*words: str) -> bool:
            return any(all(word in f"{title}\n{text}" for word in words) for title, text in texts(people))

        await scene.daemon.until(
            lambda: told("1 published, 1 failed", "leaderboard: headline", "gone.png: HTTP 404"), "the batch"
        )
        await scene.daemon.until(
            lambda: told("_exports/", "2 files", "https://cdn.example.com/m/_exports/"), "the export"
        )
        await scene.send(
            payloads.template_status("IN_REVIEW"), payloads.template_status("APPROVED", status_updated_at=1790000000)
        )
        await scene.daemon.until(lambda: told("IN_REVIEW -> APPROVED", FOLDER), "the status")
        valid = scene.daemon.config.read_text()
        scene.daemon.config.write_text(valid + "\ncolour = 1\n")
        await scene.daemon.until(lambda: told("colour"), "the rejected config")
        said = "\n".join(text for _, text in texts(people))
        assert "\u202e" not in said
        assert "<b>" not in said
        assert "@everyone" not in said
        scene.daemon.config.write_text(valid)


async def test_people_are_told_of_a_disk_that_is_low_and_usable_again(tmp_path):
    async with Audience().listening() as people, running(tmp_path, exports=notify(people.base, '["disk.*"]')) as daemon:
        good = daemon.config.read_text()
        daemon.config.write_text(good.replace('min_free = "0"', 'min_free = "1000TiB"'))
        await daemon.until(lambda: any("less than mirror.min_free" in text for _, text in texts(people)), "it is low")
        daemon.config.write_text(good)
        await daemon.until(
            lambda: any("The mirror is usable again" in text for _, text in texts(people)), "all is well"
        )


async def test_a_dead_target_delays_no_download_and_nobody_else(tmp_path):
    async with Audience().listening() as programs, Stage() as stage:
        dead = hook("http://127.0.0.1:1", name='"dead"') + notify("http://127.0.0.1:1")
        async with running(tmp_path, exports=dead + hook(programs.base)) as daemon:
            for payload in banners(stage, range(5)):
                await daemon.send(payload)
            await daemon.idle()
            await daemon.until(lambda: len(programs.paths()) == 5, "the others are told")
            status = await daemon.api("/api/status")
            assert status["messages"]["pending"] >= 2
            assert status["assets"]["published"] == 5


async def test_a_silent_source_is_told_of_once_over_restarts(tmp_path):
    async with Audience().listening() as people, Stage() as stage:
        config = notify(people.base, '["source.silent"]')
        async with running(tmp_path, abyssale='silent_after = "1s"', exports=config) as daemon:
            for payload in banners(stage, range(1)):
                await daemon.send(payload)
            await daemon.until(lambda: people.heard, "the silence is told")
            await daemon.stop()
            await daemon.start()
            await daemon.idle()
            await daemon.send(banners(stage, range(1, 2))[0])
            await daemon.until(lambda: len(people.heard) == 2, "the next silence is told")
        assert {title for title, _ in texts(people)} == {"syncd: Source silent"}


async def test_a_target_that_is_new_begins_at_the_present_and_one_that_stays_misses_nothing(tmp_path):
    async with (
        Audience().listening() as programs,
        Stage() as stage,
        running(tmp_path, exports=hook(programs.base)) as daemon,
    ):
        await daemon.send(banners(stage, range(1))[0])
        await daemon.until(lambda: len(programs.changes()) == 1, "the first")
        late = Audience()
        async with late.listening():
            daemon.write_config(exports=hook(programs.base) + hook(late.base))
            await daemon.until(lambda: "config in force" in daemon.log.read_text(), "the reload")
            await daemon.send(banners(stage, range(1, 2))[0])
            await daemon.until(lambda: late.changes() and len(programs.changes()) == 2, "both are told")
            assert list(late.paths()) == [f"{FOLDER}/1.png"]


async def test_a_message_is_seen_given_up_and_replayed_by_commands(tmp_path):
    programs = Audience(answer=lambda nth: 410 if nth == 1 else 200)
    async with (
        programs.listening(),
        Audience().listening() as people,
        Stage() as stage,
        running(tmp_path, exports=hook(programs.base, name='"builds"') + notify(people.base, '["none.*"]')) as daemon,
    ):
        await daemon.send(banners(stage, range(1))[0])
        await daemon.until(lambda: daemon.config and programs.asked, "it is asked")

        async def failed() -> bool:
            return bool((await daemon.api("/api/status"))["messages"] == {"pending": 0, "failed": 1})

        await daemon.until(failed, "the message is given up")
        listed = await syncd(daemon, "messages", "--failed", "--json")
        (message,) = json.loads(listed.out)["messages"]
        assert (message["target"], message["state"], message["reason"]) == ("builds", "failed", "HTTP 410")
        shown = await syncd(daemon, "messages", "show", message["id"][:9], "--json")
        assert json.loads(json.loads(shown.out)["body"]) == programs.asked[0].said
        assert (await syncd(daemon, "messages", "replay", "--failed")).code == 0
        await daemon.until(lambda: programs.heard, "it is told after all")
        assert programs.heard[0].headers["webhook-id"] == message["id"]
        assert await syncd(daemon, "notify", "test") == Ended(0, "json://***: sent\n", "")
        assert people.heard[-1].said["title"] == "syncd: This is a test of syncd: who reads it, will be told."
        assert (await syncd(daemon, "hooks", "test")).code == 0
        assert programs.heard[-1].said["data"]["changes"][0]["event"] == "syncd.test"
        unknown = await syncd(daemon, "messages", "replay", "msg_none")
        assert (unknown.code, "no message has an id" in unknown.err) == (1, True)
