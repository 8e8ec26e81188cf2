import asyncio

import pytest
from abstract_stage import FILE, LAYER, PROJECT, TOKEN, Abstract, changed, event, push, tried

from syncd.config import AbstractSource, Secret
from syncd.mirror.session import Session
from syncd.model import Event, Failed, Retry, Template
from syncd.sources import abstract, abstract_api, abstract_ask
from syncd.sources.abstract_api import AbstractApi

OTHER = "DEADBEEF-1111-4222-8333-444455556666"
AT = "2021-03-04T09:15:00.000Z"


@pytest.fixture
async def platform():
    async with Abstract().running() as running:
        yield running


@pytest.fixture
async def client():
    session = Session(allow_private=True, proxy=None)
    yield session
    await session.close()


def source(platform, **keys):
    urls = {f"{role}_url": url for role, url in platform.urls.items()}
    return AbstractSource.model_construct(**{"token": Secret(TOKEN), "rate": 1000, **urls, **keys})


async def expanded(platform, client, *commits, **keys):
    pushed = abstract.decode(push(*commits), None)
    return await AbstractApi().expand(source(platform, **keys), pushed, client)


async def test_a_changed_layer_becomes_its_preview(platform, client):
    platform.commit("b7e4", content=b"png")
    answer = await expanded(platform, client, ("b7e4", AT))
    (asset,) = answer.assets
    assert isinstance(answer, Event)
    assert answer.commits == ()
    assert asset.url == f"{platform.urls['previews']}/projects/{PROJECT}/commits/b7e4/files/{FILE}/layers/{LAYER}"
    assert asset.filename == "icon/cart.png"
    assert (asset.project, asset.template) == (Template(PROJECT, "Checkout v2"), Template(FILE, "Icons"))
    assert asset.branch.name == "cart-icons"
    assert (asset.version, asset.type, asset.patient) == (1614849300000, "png", True)


async def test_only_the_newest_state_of_each_layer_counts_whatever_the_order(platform, client):
    platform.commit("aaaa", LAYER, OTHER, content=b"old")
    platform.commit("bbbb", LAYER, content=b"new")
    platform.names[OTHER] = "icon/bag"
    answer = await expanded(platform, client, ("bbbb", "2021-03-04T09:16:00Z"), ("aaaa", "2021-03-04T09:15:00Z"))
    assert {asset.filename: asset.id.partition(":")[0] for asset in answer.assets} == {
        "icon/cart.png": "bbbb", "icon/bag.png": "aaaa",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        changed(status="deleted", hasPreview=False),
        changed(status="deleted"),
        changed(status="none"),
        changed(hasPreview=False),
        {"type": "colors", "status": "edited", "hasPreview": True, "fileId": FILE, "meta": {}},
        changed(layer="../../../secrets"),
        changed(file=".."),
        "not a table",
    ],
)
async def test_what_has_no_preview_is_passed_over(platform, client, change):
    platform.changes["b7e4"] = [change]
    assert (await expanded(platform, client, ("b7e4", AT))).assets == ()


async def test_a_layer_that_a_later_commit_of_the_push_deleted_is_passed_over(platform, client):
    platform.commit("aaaa", LAYER, OTHER, content=b"png")
    platform.changes["bbbb"] = [changed(status="deleted", hasPreview=False), changed(OTHER, status="none")]
    answer = await expanded(platform, client, ("aaaa", "2021-03-04T09:15:00Z"), ("bbbb", "2021-03-04T09:16:00Z"))
    assert [asset.id for asset in answer.assets] == [f"aaaa:{FILE}:{OTHER}"]


async def test_a_layer_that_moved_to_another_page_is_fetched(platform, client):
    platform.commit("b7e4", content=b"png", status="added")
    platform.changes["b7e4"].append(changed(status="deleted", hasPreview=False, pageId="AAAA"))
    (asset,) = (await expanded(platform, client, ("b7e4", AT))).assets
    assert asset.id == f"b7e4:{FILE}:{LAYER}"


async def test_a_layer_edited_indirectly_is_fetched(platform, client):
    platform.commit("b7e4", content=b"png", status="edited-indirectly")
    assert len((await expanded(platform, client, ("b7e4", AT))).assets) == 1


async def test_the_change_names_a_layer_before_and_after(platform, client):
    platform.commit("b7e4", content=b"png", meta={"name": ["cart", "icon/basket"]})
    (asset,) = (await expanded(platform, client, ("b7e4", AT))).assets
    assert asset.filename == "icon/basket.png"
    assert not any("layers" in path for path in platform.paths("api"))


async def test_a_layer_that_nobody_can_name_is_called_by_its_id(platform, client):
    platform.commit("b7e4", OTHER, content=b"png")
    (asset,) = (await expanded(platform, client, ("b7e4", AT))).assets
    assert asset.filename == f"{OTHER}.png"


async def test_exported_assets_are_named_with_their_format_and_fetched_from_the_host_of_the_config(platform, client):
    platform.changes["b7e4"] = []
    listed = {"fileId": FILE, "layerId": LAYER, "layerName": "icon/cart", "fileFormat": "png"}
    platform.exported = {
        "b7e4": [
            {**listed, "id": "aa01", "formatName": "1x", "url": "https://objects.goabstract.com/assets/aa01"},
            {**listed, "id": "aa02", "formatName": "2x", "url": "https://objects.goabstract.com/assets/aa02"},
            {**listed, "id": "aa03", "fileFormat": "SVG", "url": "https://elsewhere.example/aa03"},
            {**listed, "id": "..", "url": "https://objects.goabstract.com/assets/aa04"},
            {**listed, "id": "aa05"},
        ]
    }
    one, two, three = (await expanded(platform, client, ("b7e4", AT))).assets
    assert [asset.filename for asset in (one, two, three)] == ["icon/cart@1x.png", "icon/cart@2x.png", "icon/cart.svg"]
    assert one.url == f"{platform.urls['objects']}/assets/aa01"
    assert three.url == "https://elsewhere.example/aa03"
    assert len({asset.sharing_id for asset in (one, two, three)}) == 3


async def test_without_a_token_nothing_is_asked(platform, client):
    answer = await expanded(platform, client, ("b7e4", AT), token=None)
    assert (answer.assets, answer.commits, platform.asked) == ((), (), [])
    assert "no token" in answer.notes[0]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_refusal_that_may_pass_is_asked_again_later(platform, client, status, monkeypatch):
    monkeypatch.setattr(abstract_ask, "MOMENT", 0.0)
    platform.answer = (status, {})
    answer = await expanded(platform, client, ("b7e4", AT))
    assert isinstance(answer, Retry)
    assert f"HTTP {status}" in answer.reason
    assert TOKEN not in answer.reason


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_that_does_not_pass_ends_it(platform, client, status):
    platform.answer = (status, {})
    assert isinstance(await expanded(platform, client, ("b7e4", AT)), Failed)


async def test_nobody_there_is_asked_again_later(platform, client, monkeypatch):
    monkeypatch.setattr(abstract_ask, "MOMENT", 0.0)
    answer = await expanded(platform, client, ("b7e4", AT), api_url="http://127.0.0.1:9")
    assert isinstance(answer, Retry)
    assert "can't be reached" in answer.reason


async def test_no_redirect_of_the_api_is_followed(platform, client):
    platform.answer = (302, {"Location": f"{platform.urls['objects']}/elsewhere"})
    assert isinstance(await expanded(platform, client, ("b7e4", AT)), Retry)
    assert platform.paths("objects") == []


@pytest.mark.parametrize("delta", [False, True])
async def test_a_budget_that_is_used_up_is_waited_for_as_the_platform_says(platform, client, delta):
    platform.budget, platform.window, platform.delta = 2, 0.5, delta
    platform.commit("b7e4", content=b"png")
    answer = await expanded(platform, client, ("b7e4", AT))
    assert len(answer.assets) == 1
    assert platform.refused <= 3


async def test_a_wait_too_long_for_memory_is_the_journals(platform, client):
    platform.answer = (429, {"ratelimit-reset": "600"})
    assert await expanded(platform, client, ("b7e4", AT)) == Retry(
        f"Abstract's API says HTTP 429 to /projects/{PROJECT}/branches/71aa20b4-93c1-4d0e-8f6b-2c9d5e4f3a10"
        "/commits/b7e4/changeset", 1, 600.0,
    )  # fmt: skip
    assert len(platform.asked) == 1


async def test_the_pace_is_kept_by_questions_and_downloads_together(platform, client):
    api, keys = AbstractApi(), source(platform, rate=3)
    platform.changes["b7e4"] = []
    await api.expand(keys, abstract.decode(push(("b7e4", AT)), None), client)  # two questions
    door = api.door(keys, f"{platform.urls['previews']}/projects/p")
    assert door.wait(1.0) == 0.0
    assert door.wait(1.0) > 50.0


def test_the_token_is_for_previews_and_objects_alone():
    api, keys = AbstractApi(), AbstractSource.model_construct(token=Secret(TOKEN), rate=1)
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert api.door(keys, "https://previews.goabstract.com/projects/p").headers == shown
    assert api.door(keys, "https://objects.goabstract.com/assets/a").headers == shown
    for other in (
        "https://previews.goabstract.com.evil.example/p",
        "https://previews.goabstract.com@evil.example/p",
        "https://previews.goabstract.com:444/p",
        "http://previews.goabstract.com/p",
        "https://evil.example/previews.goabstract.com/",
        "https://previews.goabstract.com",
    ):
        assert api.door(keys, other) is None
    assert api.door(AbstractSource.model_construct(token=None), "https://previews.goabstract.com/p") is None


async def test_an_answer_without_an_end_is_not_read_to_it(platform, client, monkeypatch):
    monkeypatch.setattr(abstract_ask, "LONGEST_ANSWER", 100)
    monkeypatch.setattr(abstract_ask, "MOMENT", 0.0)
    platform.commit("b7e4", content=b"png")
    assert isinstance(await expanded(platform, client, ("b7e4", AT)), Retry)


async def test_a_push_of_nothing_asks_nothing(platform, client):
    answer = await AbstractApi().expand(source(platform), Event(abstract.COMMITS), client)
    assert (answer.assets, platform.asked) == ((), [])


async def test_turns_are_waited_for_in_memory_by_questions(platform, client):
    pushed = abstract.decode(push(("b7e4", AT)), None)
    api = AbstractApi()
    api._pace.rest(0.2)
    platform.changes["b7e4"] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert isinstance(await api.expand(source(platform), pushed, client), Event)
    assert loop.time() - began >= 0.2


async def test_what_the_platform_calls_an_error_was_missed_in_the_order_in_which_it_tried(platform, client):
    first, second = event("project.created", id="p1"), event("project.updated", id="p1")
    record = [
        tried(second, at="2026-11-22T03:00:01Z"), tried(first), tried(first, error=False), {"error": True}, 7,
        {"error": True, "request": {"body": "text"}},
    ]  # fmt: skip
    platform.deliveries = {
        "w1": ("https://hooks.example.com/webhooks/abstract", record),
        "w2": ("https://hooks.example.com/elsewhere", [tried(first)]),
        "..": ("https://hooks.example.com/webhooks/abstract", [tried(first)]),
    }
    keys = source(platform, organization="o1", path="/webhooks/abstract")
    assert [one.body for one in await AbstractApi().missed(keys, client)] == [first, second]


async def test_no_record_is_asked_for_without_an_organization_or_a_token(platform, client):
    assert await AbstractApi().missed(source(platform, organization=""), client) == ()
    assert await AbstractApi().missed(source(platform, organization="o1", token=None), client) == ()
    assert platform.asked == []


async def test_a_record_that_may_not_be_read_is_asked_for_later(platform, client):
    platform.answer = (403, {})
    keys = source(platform, organization="o1", path="/webhooks/abstract")
    assert isinstance(await AbstractApi().missed(keys, client), Retry)


async def test_of_more_files_than_the_journal_takes_at_once_the_newest_are_fetched(platform, client, monkeypatch):
    monkeypatch.setattr(abstract_api, "MOST_ASSETS", 2)
    platform.commit("aaaa", "L1", "L2", content=b"old")
    platform.commit("bbbb", "L3", content=b"new")
    answer = await expanded(platform, client, ("bbbb", "2021-03-04T09:16:00Z"), ("aaaa", "2021-03-04T09:15:00Z"))
    assert [asset.filename for asset in answer.assets] == ["L2.png", "L3.png"]
    assert answer.notes == ("1 files of the oldest commits left out",)
