"""Abstract beside Abyssale, or alone: what is pushed there appears as previews."""

import asyncio
import json
import re
import signal
from contextlib import asynccontextmanager

from abstract_stage import FILE, LAYER, PROJECT, TOKEN, Abstract, event, push, tried
from running import running

from syncd.demo.artwork import artwork
from syncd.sources import abstract

KEY = "lab-signing-key"
PATH = "Checkout v2/cart-icons/Icons/icon_cart.png"
OTHER = "DEADBEEF-1111-4222-8333-444455556666"
FIRST, SECOND = ("aaaa", "2021-03-04T09:15:00Z"), ("bbbb", "2021-03-04T09:15:00.500Z")


def art(number):
    return artwork("png", number)


class Scene:
    """A platform and a daemon that hears it."""

    def __init__(self, platform, daemon):
        self.platform, self.daemon = platform, daemon

    async def send(self, body, *, key=KEY):
        headers = {"Content-Type": "application/json", **abstract.request_headers(body, key, None, 0.0)}
        url = f"http://127.0.0.1:{self.daemon.port}/webhooks/abstract"
        async with self.daemon.session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def push(self, *commits, **where):
        status, answer = await self.send(push(*commits, **where))
        assert (status, answer["status"]) == (200, "accepted"), answer

    async def delivery(self, number=-1):
        answer = await self.daemon.api("/api/deliveries?limit=100")
        return list(reversed(answer["deliveries"]))[number]

    async def files(self):
        await self.daemon.idle()
        return self.daemon.files()


@asynccontextmanager
async def scene(folder, *, token=True, more=""):
    async with Abstract().running() as platform:
        table = f'[sources.abstract]\nsecret = "{KEY}"\n{f"token = {json.dumps(TOKEN)}" if token else ""}\n'
        table += f"{platform.config()}\n{more}"
        async with running(folder, abyssale=table) as daemon:
            yield Scene(platform, daemon)


async def test_a_pushed_layer_appears_under_project_branch_file_and_layer(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.commit("aaaa", content=art(1))
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(1)}
        delivery = await stage.delivery()
        assert (delivery["source"], delivery["event"], delivery["outcome"]) == (
            "abstract",
            "commits.created",
            "processed",
        )
        folder = json.loads((stage.daemon.root / PATH).parent.joinpath("manifest.json").read_bytes())
        assert (folder["template"]["id"], folder["template"]["name"]) == (FILE, "Icons")
        (entry,) = folder["assets"]
        assert entry["id"] == f"aaaa:{FILE}:{LAYER}"
        assert TOKEN not in json.dumps(folder)
        assert TOKEN not in stage.daemon.log.read_text()


async def test_a_newer_commit_replaces_and_an_older_late_one_does_not(tmp_path):
    async with scene(tmp_path) as stage:
        for sha, number in (("aaaa", 1), ("bbbb", 2)):
            stage.platform.commit(sha, content=art(number))
        await stage.push(SECOND)
        assert await stage.files() == {PATH: art(2)}
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(2)}
        assert (await stage.delivery())["assets"][0]["state"] == "superseded"
        assert not any("aaaa" in path for path in stage.platform.paths("previews"))


async def test_a_preview_that_is_not_rendered_yet_is_waited_for(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.commit("aaaa", content=art(1))
        stage.platform.unrendered["aaaa", LAYER] = 7  # more than one go
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(1)}


async def test_branches_and_files_of_one_name_in_two_projects_keep_it(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.commit("aaaa", content=art(1))
        stage.platform.names["p2"] = "Website"
        await stage.push(FIRST, branch="master", name="Master")
        await stage.push(FIRST, branch="master", name="Master", project="p2")
        assert set(await stage.files()) == {
            "Checkout v2/Master/Icons/icon_cart.png", "Website/Master/Icons/icon_cart.png",
        }  # fmt: skip


async def test_exported_assets_lie_beside_the_preview(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.commit("aaaa", content=art(1))
        url = "https://objects.goabstract.com/assets/aa01"
        listed = {"id": "aa01", "fileId": FILE, "layerId": LAYER, "layerName": "icon/cart", "fileFormat": "png"}
        stage.platform.exported = {"aaaa": [{**listed, "formatName": "2x", "url": url}]}
        stage.platform.objects["assets/aa01"] = art(2)
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(1), PATH.replace(".png", "@2x.png"): art(2)}


async def test_the_token_does_not_follow_a_redirect(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.objects["elsewhere.png"] = art(1)
        stage.platform.commit("aaaa", content=b"")
        stage.platform.previews["aaaa", LAYER] = f"{stage.platform.urls['objects']}/elsewhere.png"
        await stage.push(FIRST)
        await stage.daemon.until(lambda: stage.platform.paths("objects"), "the redirect is followed")
        assert {asked.token for asked in stage.platform.asked if asked.role == "objects"} == {None}
        assert all(asked.token for asked in stage.platform.asked if asked.role != "objects")


async def test_an_api_that_is_down_is_asked_until_it_is_back_also_after_a_crash(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.commit("aaaa", content=art(1))
        stage.platform.answer = (503, {})
        await stage.push(FIRST)

        async def waits():
            delivery = await stage.delivery()
            return "HTTP 503" in delivery["reason"] and delivery

        delivery = await stage.daemon.until(waits, "the question failed")
        assert (delivery["outcome"], delivery["event"]) == ("accepted", "commits.created")
        assert (await stage.daemon.api("/api/status"))["queue"]["depth"] == 1
        await stage.daemon.stop(signal.SIGKILL)
        stage.platform.answer = None
        await stage.daemon.start()
        assert await stage.files() == {PATH: art(1)}
        assert (await stage.delivery())["outcome"] == "processed"


async def test_one_that_waits_for_the_platform_holds_up_no_other(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.answer = (503, {})
        await stage.push(FIRST)
        for number in range(3):
            await stage.send(event("project.updated", id=f"p{number}", name="Checkout"))

        async def read():
            return (await stage.delivery())["outcome"] == "processed"

        await stage.daemon.until(read, "the later ones are read")
        assert (await stage.delivery(0))["outcome"] == "accepted"
        stage.platform.answer = None
        stage.platform.changes["aaaa"] = []
        await stage.daemon.until(lambda: _processed(stage), "the first one, too")


async def _processed(stage):
    return (await stage.delivery(0))["outcome"] == "processed"


async def test_what_is_never_answered_ends_where_an_operator_sees_it(tmp_path):
    async with scene(tmp_path) as stage:
        stage.platform.answer = (403, {})
        await stage.push(FIRST)

        async def quarantined():
            return (await stage.delivery())["outcome"] == "quarantined"

        await stage.daemon.until(quarantined, "it is given up")
        assert "given up" in (await stage.delivery())["reason"]
        await stage.daemon.idle()


async def test_without_a_token_events_are_recorded(tmp_path):
    async with scene(tmp_path, token=False) as stage:
        await stage.push(FIRST)
        await stage.send(event("comment.created", id="c1", body="Stroke too thin"))
        await stage.send(event("ping"))

        async def ended():
            return (await stage.daemon.api("/api/status"))["queue"]["depth"] == 0

        await stage.daemon.until(ended, "all are read")
        said = [await stage.delivery(number) for number in range(3)]
        assert [one["outcome"] for one in said] == ["processed", "processed", "ignored"]
        assert "no token" in said[0]["reason"]
        assert stage.platform.asked == []


async def test_the_same_body_is_a_duplicate_and_a_forged_one_refused(tmp_path):
    async with scene(tmp_path, token=False) as stage:
        body = event("project.created", id=PROJECT)
        status, answer = await stage.send(body)
        assert (status, answer["status"], len(answer["delivery"])) == (200, "accepted", 64)
        assert await stage.send(body) == (200, {"status": "duplicate", "delivery": answer["delivery"]})
        assert await stage.send(body, key="another") == (401, {"error": "signature"})


async def test_filters_and_a_layout_of_its_own(tmp_path):
    more = 'projects = ["!Check*"]\nlayout = "abstract/{project}/{stem}.{ext}"'
    async with scene(tmp_path, more=more) as stage:
        stage.platform.commit("aaaa", content=art(1))
        stage.platform.names["p2"] = "Website"
        await stage.push(FIRST)
        await stage.push(FIRST, project="p2")
        assert set(await stage.files()) == {"abstract/Website/icon_cart.png"}
        assert (await stage.delivery(0))["outcome"] == "ignored"


async def test_the_rate_is_kept_and_nothing_counts_as_failing_that_waits_for_its_turn(tmp_path):
    async with scene(tmp_path, more="rate = 6") as stage:
        layers = [f"L{number}" for number in range(6)]
        stage.platform.commit("aaaa", *layers, content=art(1), meta={"name": ["icon"]})
        await stage.push(FIRST)
        await stage.daemon.until(lambda: len(stage.platform.asked) == 6, "the budget is used up")

        async def put_off():
            log = stage.daemon.log.read_text()
            return len(stage.daemon.files()) == 2 and log

        await stage.daemon.until(put_off, "two have had their turn")
        await asyncio.sleep(0.3)
        status = await stage.daemon.api("/api/status")
        assert (len(stage.platform.asked), status["failures"], status["assets"]["pending"]) == (6, [], 4)


async def test_abstract_alone_is_a_source(tmp_path):
    async with scene(tmp_path) as stage:
        text = stage.daemon.config.read_text()
        stage.daemon.write_config(re.sub(r"\[sources.abyssale\]\nsecret = .*\n", "", text))
        stage.platform.commit("aaaa", content=art(1))

        async def reloaded():
            return (await stage.daemon.api("/api/status"))["config"]["generation"] == 2

        await stage.daemon.until(reloaded, "it is in force")
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(1)}


async def test_what_was_sent_while_nobody_listened_is_fetched_at_the_next_start_and_once(tmp_path):
    async with scene(tmp_path, more='organization = "o1"') as stage:
        stage.platform.commit("aaaa", content=art(1))
        stage.platform.commit("bbbb", content=art(2))
        await stage.push(FIRST)
        assert await stage.files() == {PATH: art(1)}
        assert await stage.daemon.stop() == 0
        ours, theirs = "https://hooks.example.com/webhooks/abstract", "https://hooks.example.com/other"
        late = [tried(push(FIRST)), tried(push(SECOND)), tried(push(SECOND), error=False)]
        stage.platform.deliveries = {"w1": (ours, late), "w2": (theirs, [tried(event("project.created", id="p9"))])}
        await stage.daemon.start()

        async def two():
            return len((await stage.daemon.api("/api/deliveries"))["deliveries"]) == 2

        await stage.daemon.until(two, "the missed one is here")
        assert await stage.files() == {PATH: art(2)}
        assert await stage.daemon.stop() == 0
        before = len(stage.platform.paths("api"))
        await stage.daemon.start()
        await stage.daemon.until(lambda: len(stage.platform.paths("api")) == before + 2, "the record is read again")
        assert await stage.files() == {PATH: art(2)}
        assert await two()
