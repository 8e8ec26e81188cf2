import asyncio
import time

import pytest
from aiohttp import web
from api import KEY, Api

from syncd.model import Asset, Failed, Retry
from syncd.sources import abyssale_api
from syncd.sources.abyssale_api import AbyssaleApi

OLD = Asset(
    source="abyssale", kind="file", id="banner-1", url="https://old.test/a.png", fallback_url="https://old.test/c.png",
    type="png", version=2, filename="a.png",
)  # fmt: skip
FRESH = {"type": "png", "url": "https://new.test/a.png?sig=1", "cdn_url": "https://cdn.test/a.png"}


@pytest.fixture
async def api(monkeypatch):
    async with Api().running() as running:
        monkeypatch.setenv("ABYSSALE_BASE_URL", running.base)
        monkeypatch.setenv("ABYSSALE_MAX_RETRIES", "5")
        yield running


@pytest.fixture
async def client():
    client = AbyssaleApi()
    yield client
    await client.close()


def says(status, body=None, **headers):
    async def answer():
        return web.json_response(body, status=status, headers=headers)

    return answer


async def test_a_banners_urls_are_asked_for_by_its_id_with_the_key(api, client):
    api.banners["banner-1"] = {"id": "banner-1", "version": 2, "file": FRESH, "format": {"id": "another"}}
    result = await client.look_up(KEY, OLD)
    assert (result.url, result.fallback_url) == (FRESH["url"], FRESH["cdn_url"])
    assert (result.id, result.version, result.filename, result.format) == (OLD.id, 2, "a.png", OLD.format)
    assert api.asked == [("/banners/banner-1", KEY)]


async def test_a_fallback_image_lies_where_its_banner_says(api, client):
    asset = Asset(source="abyssale", kind="fallback", id="banner-1", url="https://old.test/a.jpeg", type="jpeg")
    api.banners["banner-1"] = {"id": "banner-1", "file": {**FRESH, "fallback_image_url": "https://new.test/f.jpeg"}}
    result = await client.look_up(KEY, asset)
    assert (result.url, result.fallback_url) == ("https://new.test/f.jpeg", "")


async def test_another_version_is_not_taken_for_this_one(api, client):
    api.banners["banner-1"] = {"id": "banner-1", "version": 3, "file": FRESH}
    assert isinstance(await client.look_up(KEY, OLD), Failed)


@pytest.mark.parametrize("file", [None, [], "x", {}, {"url": None}, {"url": 7}, {"url": "file:///etc/passwd"}])
async def test_an_answer_without_a_usable_url_gives_none(api, client, file):
    api.banners["banner-1"] = {"id": "banner-1", "file": file}
    result = await client.look_up(KEY, OLD)
    assert (result.url, result.fallback_url) == ("", "")


@pytest.mark.parametrize(
    ("status", "name"),
    [(404, "visual_not_found"), (401, "unauthorized"), (403, "forbidden"), (400, "x"), (429, "feature_not_in_plan")],
)
async def test_a_definite_no_is_final(api, client, status, name):
    api.answer = says(status, {"id": name, "message": "no"})
    assert await client.look_up(KEY, OLD) == Failed(f"Abyssale's API says HTTP {status} {name}", 0)
    assert len(api.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
async def test_a_bad_moment_is_for_later_and_not_asked_again_here(api, client, status):
    api.answer = says(status, {"id": "later\n", "message": "no"})
    assert await client.look_up(KEY, OLD) == Retry(f"Abyssale's API says HTTP {status} later", 0)
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("wish", "after"), [("90", 90), ("inf", 86_400), ("9" * 20, 86_400), ("nan", 0), ("soon", None)]
)
async def test_its_retry_after_is_passed_on_within_reason(api, client, wish, after):
    api.answer = says(429, {"id": "request_rate_limited", "message": "slow down"}, **{"Retry-After": wish})
    assert (await client.look_up(KEY, OLD)).after == after


@pytest.mark.parametrize("body", [None, [], "text", 7])
async def test_an_answer_of_another_shape_is_for_later(api, client, body):
    api.answer = says(200, body)
    assert isinstance(await client.look_up(KEY, OLD), Retry)


async def test_nothing_hostile_in_an_answer_stops_us(api, client):
    async def nested():
        return web.Response(text="[" * 200_000, content_type="application/json")

    api.answer = nested
    assert isinstance(await client.look_up(KEY, OLD), Retry)


async def test_an_answer_without_an_end_is_given_up(api, client, monkeypatch):
    monkeypatch.setattr(abyssale_api, "LONGEST_ANSWER", 1000)
    api.banners["banner-1"] = {"id": "banner-1", "file": FRESH, "view_url": "x" * 1000}
    assert await client.look_up(KEY, OLD) == Retry("Abyssale's API does not answer", 0)


async def test_an_answer_that_is_packed_is_not_unpacked(api, client):
    async def packed():
        answer = web.json_response({"id": "banner-1", "file": FRESH})
        answer.enable_compression(force=web.ContentCoding.gzip)
        return answer

    api.answer = packed
    assert await client.look_up(KEY, OLD) == Retry("Abyssale's API does not answer", 0)


async def test_silence_is_for_later(api, client, monkeypatch):
    async def silence():
        await asyncio.Event().wait()

    api.answer = silence
    monkeypatch.setattr(abyssale_api, "PATIENCE", 0.05)
    assert await client.look_up(KEY, OLD) == Retry("Abyssale's API does not answer", 0)


async def test_nobody_there_is_for_later(client, monkeypatch):
    monkeypatch.setenv("ABYSSALE_BASE_URL", "http://127.0.0.1:1")
    assert isinstance(await client.look_up(KEY, OLD), Retry)


@pytest.mark.parametrize(("base", "key"), [("http://[half", KEY), ("ftp://127.0.0.1", KEY), (None, "schlüssel\n")])
async def test_what_cannot_be_asked_stops_nobody(api, client, monkeypatch, base, key):
    if base:
        monkeypatch.setenv("ABYSSALE_BASE_URL", base)
    result = await client.look_up(key, OLD)
    assert isinstance(result, Retry)
    assert "schl" not in result.reason


async def test_a_redirect_is_not_followed_with_the_key(api, client):
    async with Api().running() as elsewhere:
        api.answer = says(302, Location=f"{elsewhere.base}/banners/banner-1")
        assert isinstance(await client.look_up(KEY, OLD), Retry)
        assert elsewhere.asked == []


async def test_questions_keep_the_rate_that_the_api_takes(api, client):
    began = time.monotonic()
    await asyncio.gather(*(client.look_up(KEY, OLD) for _ in range(5)))
    assert time.monotonic() - began >= 5 * abyssale_api.APART


async def test_an_id_stays_one_part_of_the_path(api, client):
    asset = Asset(source="abyssale", kind="file", id="../designs?x=#y", url="https://old.test/a.png")
    assert isinstance(await client.look_up(KEY, asset), Failed)
    assert api.asked == [("/banners/../designs?x=#y", KEY)]
