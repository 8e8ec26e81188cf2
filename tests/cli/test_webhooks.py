import asyncio
import json

import pytest
from aiohttp import web
from api import KEY, Api
from cli.command import command, write_config

from syncd.journal.sqlite import open_journal

URL = "https://mirror.example.com"
EVENTS = ["new_banner", "new_banner_batch", "new_export", "template_status"]


@pytest.fixture
async def api():
    async with Api().running() as running:
        yield running


@pytest.fixture
async def config(tmp_path):
    async with open_journal(tmp_path / "state" / "journal.db"):
        pass
    path = write_config(tmp_path)
    path.write_text(path.read_text() + f'api_key = "{KEY}"\n')
    return path


async def run(api, config, *args):
    ended = await asyncio.to_thread(command, "webhooks", *args, "--config", config, ABYSSALE_WEBHOOKS_BASE_URL=api.base)
    assert KEY not in ended.out + ended.err
    return ended


async def listed(api, config):
    ended = await run(api, config, "list", "--json")
    return json.loads(ended.out)["subscriptions"]


async def test_all_events_are_subscribed_each_to_its_own_path(api, config):
    ended = await run(api, config, "subscribe", "--url", URL)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == f"subscribed: sub-1 NEW_BANNER to {URL}/webhooks/abyssale/new_banner"
    assert list(api.subscriptions.values()) == [
        {"hook_url": f"{URL}/webhooks/abyssale/{event}", "type": event} for event in EVENTS
    ]
    assert {key for _, key in api.asked} == {KEY}
    rows = await listed(api, config)
    assert [(row["id"], row["event"], row["state"]) for row in rows] == [
        (f"sub-{n}", event.upper(), "active") for n, event in enumerate(EVENTS, 1)
    ]


async def test_some_events_may_go_to_a_path_of_a_proxys_own(api, config):
    await run(api, config, "subscribe", "new_export", "--url", f"{URL}/hooks/")
    assert [one["hook_url"] for one in api.subscriptions.values()] == [f"{URL}/hooks/new_export"]


async def test_an_event_of_another_platform_is_wrong_usage(api, config):
    ended = await run(api, config, "subscribe", "NEW_BANNER", "project.created", "--url", URL)
    assert (ended.code, api.subscriptions) == (2, {})
    assert "must be one of NEW_BANNER, NEW_BANNER_BATCH, NEW_EXPORT, TEMPLATE_STATUS\n" in ended.err


async def test_what_is_subscribed_is_not_subscribed_twice_unless_it_is_gone(api, config):
    for _ in range(2):
        await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)
    assert list(api.subscriptions) == ["sub-1"]
    api.subscriptions.clear()
    ended = await run(api, config, "subscribe", "NEW_BANNER", "--url", URL, "--json")
    (row,) = json.loads(ended.out)["subscriptions"]
    assert (row["id"], row["outcome"]) == ("sub-2", "subscribed")


async def test_one_that_can_not_be_asked_about_is_not_taken_for_known_nor_made_again(api, config):
    await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)

    async def broken():
        return web.Response(status=503)

    api.answer = broken
    ended = await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)
    assert ended.code == 1
    assert "failed: sub-1" in ended.out
    assert [path for path, _ in api.asked] == ["/subscribe", "/webhook/sub-1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://mirror.example.com", "mirror.example.com", "ftp://x", "https://", "https://u:p@x", "https://x?y=1",
        "https://[x", "https://x#y", "https://x/ y", "https://x:99999",
    ],
)  # fmt: skip
async def test_a_url_that_nothing_should_be_sent_to_is_wrong_usage(api, config, url):
    ended = await run(api, config, "subscribe", "--url", url)
    assert (ended.code, ended.out, api.asked) == (2, "", [])


async def test_force_takes_a_url_without_tls(api, config):
    assert (await run(api, config, "subscribe", "--force", "--url", "http://127.0.0.1:8080")).code == 0
    assert len(api.subscriptions) == 4


async def test_one_or_all_are_unsubscribed_and_forgotten(api, config):
    await run(api, config, "subscribe", "--url", URL)
    assert (await run(api, config, "unsubscribe", "sub-2")).code == 0
    assert list(api.subscriptions) == ["sub-1", "sub-3", "sub-4"]
    del api.subscriptions["sub-3"]
    ended = await run(api, config, "unsubscribe", "--all", "--json")
    assert ended.code == 0
    assert [row["outcome"] for row in json.loads(ended.out)["subscriptions"]] == [
        "unsubscribed",
        "gone",
        "unsubscribed",
    ]
    assert api.subscriptions == {}
    assert await listed(api, config) == []


async def test_an_id_may_be_shortened_where_only_one_begins_like_it(api, config):
    api._numbers = iter((77, 781, 782, 9))
    await run(api, config, "subscribe", "--url", URL)
    assert (await run(api, config, "unsubscribe", "sub-77")).code == 0
    ended = await run(api, config, "unsubscribe", "sub-7")
    assert (ended.code, ended.out) == (1, "")
    assert "beginning of several ids: sub-781, sub-782" in ended.err
    assert len(api.subscriptions) == 3


async def test_one_that_was_made_elsewhere_is_unsubscribed_by_its_whole_id(api, config):
    api.subscriptions["made-elsewhere"] = {}
    assert (await run(api, config, "unsubscribe", "made-elsewhere")).code == 0
    assert api.subscriptions == {}


@pytest.mark.parametrize("args", [[], ["x", "--all"], ["../x"]])
async def test_unsubscribe_wants_to_know_which(api, config, args):
    ended = await run(api, config, "unsubscribe", *args)
    assert (ended.code, ended.out, api.asked) == (2, "", [])


async def test_the_list_says_which_are_gone(api, config):
    await run(api, config, "subscribe", "NEW_BANNER", "NEW_EXPORT", "--url", URL)
    del api.subscriptions["sub-1"]
    assert [row["state"] for row in await listed(api, config)] == ["gone", "active"]
    table = await run(api, config, "list")
    assert table.code == 0
    assert "sub-1  NEW_BANNER" in table.out


async def test_without_any_it_says_where_others_are_seen(api, config):
    ended = await run(api, config, "list")
    assert (ended.code, ended.out) == (0, "")
    assert "dashboard" in ended.err


async def test_a_platform_that_says_no_is_a_failure_with_its_words(api, config):
    config.write_text(config.read_text().replace(KEY, "another-key"))
    ended = await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)
    assert (ended.code, api.subscriptions) == (1, {})
    assert ended.out == (
        f"failed: - NEW_BANNER to {URL}/webhooks/abyssale/new_banner: Abyssale's API says HTTP 401 unauthorized\n"
    )
    assert "another-key" not in ended.out + ended.err


@pytest.mark.parametrize("id_", [None, "", "a/../b", {}, "x" * 200])
async def test_an_answer_without_a_usable_id_is_a_failure(api, config, id_):
    async def odd():
        return web.json_response({"id": id_})

    api.answer = odd
    ended = await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)
    assert ended.code == 1
    assert "no usable id came back" in ended.out


async def test_a_redirect_is_not_followed_with_the_key(api, config):
    async with Api().running() as elsewhere:

        async def moved():
            return web.Response(status=307, headers={"Location": f"{elsewhere.base}/subscribe"})

        api.answer = moved
        ended = await run(api, config, "subscribe", "NEW_BANNER", "--url", URL)
        assert (ended.code, elsewhere.asked) == (1, [])
        assert "HTTP 307" in ended.out


async def test_without_an_api_key_it_says_where_it_belongs(tmp_path):
    ended = command("webhooks", "list", "--config", write_config(tmp_path))
    assert ended.code == 2
    assert "sources.abyssale.api_key: is missing" in ended.err
