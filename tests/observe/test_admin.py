import asyncio
import socket
from contextlib import asynccontextmanager, closing
from html.parser import HTMLParser
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from journal.filled import NOW, RULES, announce, banner, filled

from syncd.errors import Problem
from syncd.journal import Decision
from syncd.journal.reading import SqliteReader
from syncd.model import Template, rfc3339
from syncd.observe import admin
from syncd.observe.metrics import Metrics

PROBLEM = {"message": "is <b>wrong</b>\n", "file": "sync.toml", "line": 3, "key": "server.listen"}


@pytest.fixture
async def journal(tmp_path):
    async with filled(tmp_path / "journal.db") as open_journal:
        yield open_journal


@pytest.fixture
async def insight(journal, tmp_path):
    live = {
        "version": "1.2.3",
        "started_at": NOW,
        "config": {"path": "/etc/sync.toml", "generation": 4, "loaded_at": NOW + 1, "error": None},
        "disk": {"mirror_free": 5 << 30, "journal_free": None},
    }
    reasons, problems, reloads, metrics = [], [], [], Metrics()

    def take_stock():
        metrics.free("mirror", live["disk"]["mirror_free"])

    async def reload():
        reloads.append(1)
        return list(problems)

    with closing(SqliteReader(tmp_path / "journal.db")) as reader:
        yield SimpleNamespace(
            reader=reader, metrics=metrics, take_stock=take_stock, reasons=lambda: list(reasons), live=lambda: live,
            trouble=reasons, reload=reload, problems=problems, reloads=reloads,
        )  # fmt: skip


@asynccontextmanager
async def serving(insight):
    runner = web.AppRunner(admin.admin_app(insight), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session
    finally:
        await runner.cleanup()


@pytest.fixture
async def client(insight):
    async with serving(insight) as session:
        yield session


async def get(client, path, code=200, **headers):
    async with client.get(path, headers=headers) as answer:
        assert answer.status == code, await answer.text()
        return await answer.json()


async def test_it_is_alive_even_when_it_is_not_ready(client, insight):
    insight.trouble.append("the disk is full")
    assert await get(client, "/healthz") == {"status": "alive"}


async def test_it_is_ready_until_there_is_a_reason_why_not(client, insight):
    assert await get(client, "/readyz") == {"ready": True, "reasons": []}
    insight.trouble.append("the disk is full")
    assert await get(client, "/readyz", 503) == {"ready": False, "reasons": ["the disk is full"]}


async def test_the_status_has_the_shape_of_the_contract(client, insight):
    insight.metrics.delivery("abyssale", "", "accepted", 7)
    insight.trouble.append("the disk is full")
    said = await get(client, "/api/status")
    assert said.pop("queue")["depth"] == 3
    assert [failure["id"] for failure in said.pop("failures")] == ["b4", "b3"]
    assert said == {
        "version": "1.2.3",
        "started_at": rfc3339(NOW),
        "ready": False,
        "reasons": ["the disk is full"],
        "config": {"path": "/etc/sync.toml", "generation": 4, "loaded_at": rfc3339(NOW + 1), "error": None},
        "deliveries": {
            "accepted": 7, "duplicate": 0, "processed": 0, "ignored": 0, "quarantined": 0, "rejected": 0,
        },
        "assets": {"pending": 2, "published": 2, "superseded": 0, "failed": 1},
        "disk": {"mirror_free": 5 << 30, "journal_free": None},
        "last_delivery_at": rfc3339(NOW + 6),
        "messages": {"pending": 0, "failed": 0},
    }  # fmt: skip


async def test_deliveries_are_listed_and_chosen(client):
    assert len((await get(client, "/api/deliveries"))["deliveries"]) == 7
    (newest,) = (await get(client, "/api/deliveries?limit=1"))["deliveries"]
    assert newest["id"] == "d-unread"
    (odd,) = (await get(client, "/api/deliveries?outcome=quarantined&source=abyssale"))["deliveries"]
    assert odd["reason"] == "not JSON"
    assert "payload" not in odd


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "limit=1_0", "limit=%D9%A1", "limit=1&limit=2",
     "outcome=lost", "outcome=", "source=%00", "source=A%20B", "since=1"],
)  # fmt: skip
async def test_a_query_that_means_nothing_is_answered_400(client, query):
    said = await get(client, f"/api/deliveries?{query}", 400)
    assert said["error"] == "query"
    assert said["detail"]


async def test_one_delivery_is_shown_by_its_id_or_the_beginning_of_it(client):
    shown = await get(client, "/api/deliveries/d-odd")
    assert shown == await get(client, "/api/deliveries/d-o")
    assert shown["payload"].endswith("not <JSON>")
    assert shown["headers"]["X-Secret"] == "***"


async def test_an_id_that_is_unknown_or_ambiguous_is_an_error(client):
    assert (await get(client, "/api/deliveries/nothing", 404))["error"] == "not_found"
    assert "d-export" in (await get(client, "/api/deliveries/d-", 409))["detail"]


@pytest.mark.parametrize("at_once", [1, 2, 5, 500])
async def test_assets_are_one_document_however_they_are_read(client, monkeypatch, at_once):
    monkeypatch.setattr(admin, "_ASSETS_AT_ONCE", at_once)
    assets = (await get(client, "/api/assets"))["assets"]
    assert [asset["id"] for asset in assets] == ["b1", "b2", "b3", "b4", "e1"]
    (failed,) = (await get(client, "/api/assets?state=failed"))["assets"]
    assert failed["reason"] == "404 from host.test"
    assert await get(client, "/api/assets?state=superseded") == {"assets": []}
    await get(client, "/api/assets?state=gone", 400)


async def test_metrics_are_looked_up_when_they_are_asked_for(client):
    async with client.get("/metrics") as answer:
        assert answer.content_type == "text/plain"
        text = await answer.text()
    assert "syncd_queue_depth 3.0" in text
    assert 'syncd_journal_assets{state="failed"} 1.0' in text
    assert 'syncd_failures{kind="given_up"} 1.0' in text
    assert 'syncd_failures{kind="retrying"} 1.0' in text
    assert "syncd_last_delivery_timestamp_seconds 1.790000006e+09" in text
    assert 'syncd_free_bytes{of="mirror"} 5.36870912e+09' in text


async def test_metrics_outlive_the_journal_and_other_answers_say_it_is_gone(client, insight):
    insight.reader.close()
    async with client.get("/metrics") as answer:
        assert answer.status == 200
    for path in ("/", "/api/status", "/api/deliveries", "/api/deliveries/d-odd", "/api/assets"):
        assert (await get(client, path, 503))["error"] == "unavailable"


async def test_unknown_paths_and_methods_are_answered_in_json(client):
    assert await get(client, "/api/nothing", 404) == {"error": "not_found"}
    async with client.post("/api/status") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
        assert await answer.json() == {"error": "method_not_allowed"}


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/metrics", "/api/status", "/api/assets", "/api/nothing", "/api/deliveries?limit=x"]
)
async def test_no_answer_is_stored_or_guessed_at(client, path):
    async with client.get(path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "syncd"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "localhost:8081", "LOCALHOST.", "a.localhost", "syncd:80",
             socket.gethostname(), ""],
)  # fmt: skip
async def test_our_own_names_are_answered(client, host):
    await get(client, "/healthz", Host=host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", "a b", "[::1",
             "evil.example:80:80", "127.0.0.1@evil.example", "127.1.evil"],
)  # fmt: skip
async def test_a_name_that_anybody_can_point_at_us_is_refused(client, host):
    for path in ("/", "/api/status", "/api/nothing"):
        assert (await get(client, path, 403, Host=host))["error"] == "host"


async def test_a_reload_is_asked_for_and_answered_with_the_generation(client):
    async with client.post("/-/reload") as answer:
        assert (answer.status, await answer.json()) == (200, {"generation": 4})


async def test_a_reload_that_is_refused_says_all_that_is_wrong(client, insight):
    insight.problems.append(Problem(**PROBLEM))
    async with client.post("/-/reload") as answer:
        assert answer.status == 422
        said = await answer.json()
    assert (said["error"], said["problems"]) == ("config", [PROBLEM])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8081"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example"},
    ],
)
async def test_no_page_can_ask_for_a_reload(client, insight, headers):
    async with client.post("/-/reload", headers=headers) as answer:
        assert answer.status == 403
    async with client.get("/-/reload") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert insight.reloads == []


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "onload", "onerror")]

    def handle_data(self, data):
        self.text += data


async def test_the_page_shows_how_things_are_and_needs_nothing_else(client):
    async with client.get("/") as answer:
        assert answer.content_type == "text/html"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
        page = Page(await answer.text())
    assert page.links == []
    assert not {"script", "link", "img", "iframe", "form"} & set(page.tags)
    for word in ("is ready", "404 from host.test", "d-unread", "/etc/sync.toml", "5.0 GiB", "given up"):
        assert word in page.text


async def test_nothing_from_outside_becomes_markup_on_the_page(client, journal, insight):
    hostile = "<script>alert(1)</script>\"'&\x1b\u202e"
    unread = await journal.inbox(10)
    await journal.decide([Decision(delivery, hostile, "quarantined", hostile) for delivery in unread], RULES, NOW)
    await announce(journal, "d-markup", banner(7, id=hostile, template=Template("t7", hostile)))
    insight.trouble.append(hostile)
    insight.live()["config"]["error"] = PROBLEM
    async with client.get("/") as answer:
        text = await answer.text()
    page = Page(text)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "is not ready: <script>alert(1)</script>" in page.text
    assert "sync.toml:3: server.listen: is <b>wrong</b>\\n" in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text


async def test_many_at_once_are_answered_over_the_one_connection(client):
    answers = await asyncio.gather(*(get(client, path) for path in ["/api/status", "/api/assets"] * 20))
    assert all(len(answer["assets"]) in (4, 5) for answer in answers)
