import asyncio

import httpx
import pytest
from aiohttp import web
from api import KEY, Api, says
from proxy import Proxy

from syncd.sources import abyssale_session
from syncd.sources.abyssale_session import AbyssaleSession, Answer


@pytest.fixture
async def api(monkeypatch):
    async with Api().running() as running:
        monkeypatch.setenv("ABYSSALE_BASE_URL", running.base)
        monkeypatch.setenv("ABYSSALE_WEBHOOKS_BASE_URL", running.base)
        yield running


@pytest.fixture
async def told():
    return []


@pytest.fixture
async def session(told):
    async with AbyssaleSession(KEY, tell=told.append) as session:
        yield session


async def test_an_answer_is_kept_as_it_came(api, session):
    api.banners["b1"] = {"id": "b1", "file": {"url": "https://host.test/ä?x=%2f"}, "n": 1.10}
    answer = await session.banner("b1")
    assert (answer.status, answer.reason) == (200, "")
    assert answer.body == web.json_response(api.banners["b1"]).body


async def test_questions_keep_the_rate_that_the_platform_takes(api, session):
    began = asyncio.get_running_loop().time()
    for _ in range(4):
        await session.banner("b1")
    assert asyncio.get_running_loop().time() - began >= 3 * abyssale_session.APART


async def test_a_refusal_is_said_in_words_and_counts_for_all_only_where_it_is_the_keys(api, session):
    assert await session.banner("b1") == Answer(404, reason="Abyssale's API says HTTP 404 visual_not_found")
    async with AbyssaleSession("another", tell=print) as other:
        refused = await other.banner("b1")
    assert (refused.status, refused.hopeless) == (401, True)


async def test_an_answer_without_an_end_is_given_up(api, monkeypatch):
    monkeypatch.setattr(abyssale_session, "LONGEST_ANSWER", 1000)
    api.banners["b1"] = {"id": "b1" * 1000}
    async with AbyssaleSession(KEY, tell=print) as session:
        answer = await session.banner("b1")
    assert (answer.status, answer.body) == (None, b"")
    assert "can't be reached (read error)" in answer.reason


async def test_an_answer_that_is_packed_is_not_unpacked(api, session):
    async def packed():
        answer = web.Response(body=b"{}" * 1000)
        answer.enable_compression(force=web.ContentCoding.gzip)
        return answer

    api.answer = packed
    assert (await session.banner("b1")).reason == "Abyssale's API can't be reached (decoding error)"


@pytest.mark.parametrize("question", ["banner", "generation_request", "subscription", "unsubscribe"])
async def test_an_id_stays_one_part_of_the_path_and_no_redirect_is_followed(api, session, question):
    async with Api().running() as elsewhere:

        async def moved():
            return says(302, {}, Location=f"{elsewhere.base}/x")

        api.answer = moved
        answer = await getattr(session, question)("../a?b#c")
        assert answer.reason == "Abyssale's API says HTTP 302"
        assert elsewhere.asked == []
    assert api.asked[0][0].endswith("/../a?b#c")  # as the server reads it, out of one quoted part


@pytest.mark.parametrize(
    ("remaining", "reset", "wait"),
    [
        ("0", "5", 5),
        ("0", "1790000060", 60),
        ("0", "1780000000", 0),
        ("0", "soon", 1),
        ("0", "9" * 12, 3600),
        ("1", "5", 0),
    ],
)
def test_a_budget_that_is_used_up_says_when_there_is_more(remaining, reset, wait):
    response = httpx.Response(200, headers={"X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset})
    assert abyssale_session._wish(response, 1_790_000_000.0) == wait


@pytest.mark.parametrize(("base", "key"), [("http://[half", KEY), ("ftp://127.0.0.1", KEY), (None, "schlüssel\n")])
async def test_what_can_not_be_asked_is_a_reason_without_the_key(api, monkeypatch, base, key):
    if base:
        monkeypatch.setenv("ABYSSALE_BASE_URL", base)
    async with AbyssaleSession(key, tell=print) as session:
        answer = await session.banner("b1")
    assert answer.status is None
    assert answer.reason
    assert "schl" not in answer.reason


async def test_a_proxy_with_a_password_is_the_way_where_there_is_one(api, monkeypatch):
    api.banners["b1"] = {"id": "b1"}
    monkeypatch.setenv("ABYSSALE_BASE_URL", "http://api.test")
    async with Proxy("me:s3cret/word").running() as proxy:
        proxy.where["api.test"] = int(api.base.rpartition(":")[2])
        way = f"http://me:s3cret%2Fword@127.0.0.1:{proxy.port}"
        async with AbyssaleSession(KEY, tell=print, proxy=way) as session:
            assert (await session.banner("b1")).status == 200
        proxy.refusal = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
        async with AbyssaleSession(KEY, tell=print, proxy=way) as session:
            refused = await session.banner("b1")
    assert proxy.asked[0] == ("GET", "http://api.test/banners/b1")
    assert "407" in refused.reason
    assert "s3cret" not in refused.reason
