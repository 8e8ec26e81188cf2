import json

import pytest
from api import KEY, Api
from cli.command import process
from running import SECRET, Running
from scene import watched

from syncd.demo import artwork, payloads

PNG, OTHER = artwork.artwork("png"), artwork.artwork("jpeg")


@pytest.fixture
async def api():
    async with Api().running() as running:
        yield running


async def syncd(daemon: Running, api: Api, *args: str):
    """Run `syncd import` as an operator would, beside the daemon."""
    return await process(
        "import",
        *args,
        "--config",
        str(daemon.config),
        cwd=daemon.folder,
        TEST_SECRET=SECRET,
        ABYSSALE_BASE_URL=api.base,
    )


def banner(name, url, **fields):
    return {
        "id": name,
        "file": payloads.file(url),
        "format": {"id": "square"},
        "template": {"id": "t1", "name": "Spring"},
        **fields,
    }


async def test_what_was_missed_is_imported_beside_the_running_daemon_once(tmp_path, api):
    async with watched(tmp_path, abyssale=f'api_key = "{KEY}"') as scene:
        api.banners["b1"] = banner("b1", scene.put("/b1.png", PNG))
        api.requests["r1"] = {"banners": [banner("b2", scene.put("/b2.jpeg", OTHER), version=3)], "errors": []}
        ended = await syncd(scene.daemon, api, "b1", "r1", "--json")
        assert (ended.code, ended.err) == (0, "")
        ids = [result["delivery"] for result in json.loads(ended.out)["imported"]]
        await scene.daemon.until(lambda: len(scene.files()) == 2, "both are published")
        await scene.settle()
        assert scene.files() == {"Spring/square/b1.png": PNG, "Spring/square/b2.jpeg": OTHER}
        deliveries = await scene.deliveries()
        assert [(one["id"], one["event"], one["outcome"]) for one in deliveries] == [
            (ids[0], "NEW_BANNER", "processed"),
            (ids[1], "NEW_BANNER_BATCH", "processed"),
        ]
        again = await syncd(scene.daemon, api, "b1", "r1", "--json")
        assert [result["outcome"] for result in json.loads(again.out)["imported"]] == ["known", "known"]
        assert len(scene.files()) == len(await scene.deliveries()) == 2


async def test_an_older_version_that_is_imported_does_not_replace_a_newer_one(tmp_path, api):
    async with watched(tmp_path, abyssale=f'api_key = "{KEY}"') as scene:
        newer = banner("b2", scene.put("/b2.png", PNG), version=2, sharing_id="s1")
        await scene.send(newer)
        await scene.settle()
        api.banners["b1"] = banner("b1", scene.put("/b1.jpeg", OTHER), version=1, sharing_id="s1")
        assert (await syncd(scene.daemon, api, "b1")).code == 0
        await scene.daemon.until(lambda: outcome(scene, "superseded"), "it is read")
        await scene.settle()
        assert list(scene.files().values()) == [PNG]


async def outcome(scene, state):
    return any(asset["state"] == state for one in await scene.deliveries() for asset in one["assets"])


async def test_what_is_imported_while_nothing_runs_is_published_after_the_start_under_the_filters(tmp_path, api):
    async with watched(tmp_path, abyssale=f'api_key = "{KEY}"\nformats = ["square"]') as scene:
        await scene.daemon.stop()
        api.banners["b1"] = banner("b1", scene.put("/b1.png", PNG))
        api.banners["b2"] = banner("b2", scene.put("/b2.png", PNG), format={"id": "story"})
        ended = await syncd(scene.daemon, api, "b1", "b2", "never")
        assert ended.code == 1
        assert ended.out.splitlines()[-1] == "never: the platform knows no banner or generation request of this id"
        await scene.daemon.start()
        await scene.daemon.until(lambda: len(scene.files()) == 1, "it is published")
        await scene.settle()
        assert list(scene.files()) == ["Spring/square/b1.png"]
        assert [one["outcome"] for one in await scene.deliveries()] == ["processed", "ignored"]
