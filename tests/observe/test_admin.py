import asyncio
import gc
import json
import logging
import socket
import weakref
from contextlib import asynccontextmanager, closing
from html.parser import HTMLParser
from types import SimpleNamespace

import aiohttp
import pytest
import yarl
from intake.receiver import LOOPBACK, exchange, read_answer
from journal.filled import NOW, RULES, announce, banner, filled

from syncd.errors import JournalUnavailable, Problem
from syncd.journal import Decision
from syncd.journal.reading import SqliteReader
from syncd.model import Template, rfc3339
from syncd.observe import views
from syncd.observe.admin import Admin
from syncd.observe.metrics import Metrics
from syncd.observe.views import RELOAD
from syncd.web import connection
from syncd.web.listen import bind
from syncd.web.server import Listener

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
    admin = Admin(insight)
    listener = Listener(bind(LOOPBACK), admin, timeout=lambda: 10.0)
    listener.open()
    try:
        yield listener
    finally:
        await listener.drain(0)
        await admin.close()


@pytest.fixture
async def listener(insight):
    async with serving(insight) as running:
        yield running


@pytest.fixture
async def client(listener):
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.port}") as session:
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
    monkeypatch.setattr(views, "_ASSETS_AT_ONCE", at_once)
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


# ---- what takes its time, and who does not wait for it ----

ASSET = {"id": "x" * 4000}


class Endless:
    """Assets without an end, as a reader gives them; `given` counts them, after `breaks` they can't be read."""

    def __init__(self, monkeypatch, insight, *, end=10**9):
        self.given, self.breaks, self.end = 0, None, end
        self.reading = None
        monkeypatch.setattr(insight.reader, "assets", self.assets)

    def assets(self, _state):
        def give():
            while self.given < self.end:
                if self.given == self.breaks:
                    raise JournalUnavailable("the disk is gone")
                self.given += 1
                yield ASSET

        reading = give()
        self.reading = weakref.ref(reading)
        return reading


@pytest.fixture
def endless(monkeypatch, insight):
    return Endless(monkeypatch, insight)


def ask(path, *headers, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]).encode()


async def none_left(listener):
    async with asyncio.timeout(10):
        while listener._connections:
            await asyncio.sleep(0.001)


async def connected(listener):
    return await asyncio.open_connection("127.0.0.1", listener.port)


async def begun(reader):
    """The headers of a stream that goes on."""
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()


async def test_a_long_list_is_read_as_fast_as_its_client_takes_it(listener, endless):
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets"))
    assert "Transfer-Encoding: chunked" in await begun(reader)
    taken = -1
    while endless.given != taken:  # until all that lies between is full
        taken = endless.given
        await asyncio.sleep(0.1)
    assert taken < 20_000
    assert (await exchange(("127.0.0.1", listener.port), ask("/api/status"))).status == 200
    while endless.given == taken:
        await asyncio.wait_for(reader.read(1 << 20), 10)
    writer.close()


async def test_of_a_client_that_goes_away_in_the_middle_nothing_is_kept(listener, endless, caplog):
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets"))
    await begun(reader)
    writer.transport.abort()
    await none_left(listener)
    async with asyncio.timeout(10):
        while endless.reading() is not None:
            await asyncio.sleep(0.001)
            gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_client_that_takes_nothing_of_a_long_list_is_cut_off_in_time(listener, endless, monkeypatch):
    monkeypatch.setattr(connection, "_UNREAD", 0.1)
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets"))
    await none_left(listener)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1 << 30), 10)
    writer.close()


async def test_a_list_that_can_not_be_read_to_its_end_is_seen_to_have_none(listener, client, endless, caplog):
    endless.breaks = 2000
    async with client.get("/api/assets") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert "the journal can't be read" in caplog.text
    endless.given = endless.breaks
    assert (await get(client, "/api/assets", 503))["detail"] == "the disk is gone"


async def test_a_client_of_http_1_0_reads_a_long_list_until_the_connection_ends(listener, monkeypatch, insight):
    Endless(monkeypatch, insight, end=1200)
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets", "Connection: keep-alive", version="1.0"))
    head = await begun(reader)
    assert "Connection: close" in head
    assert "Transfer-Encoding" not in head
    assert len(json.loads(await asyncio.wait_for(reader.read(), 10))["assets"]) == 1200
    writer.close()


async def test_only_the_head_is_answered_to_who_asks_for_it_alone(listener, endless):
    reader, writer = await connected(listener)
    for path in ("/healthz", "/", "/api/assets", "/api/deliveries/d-odd"):
        writer.write(ask(path, method="HEAD"))
        assert (await begun(reader)).startswith("HTTP/1.1 200")
    writer.write(ask("/healthz"))
    assert (await read_answer(reader)).json == {"status": "alive"}
    assert endless.given <= 1000
    writer.close()


async def test_what_is_asked_ahead_is_answered_in_order(listener):
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets") + ask("/api/deliveries"))
    writer.write(ask(RELOAD, "Content-Length: 5", method="POST") + b"hello" + ask("/healthz", "Connection: close"))
    said = await asyncio.wait_for(reader.read(), 10)
    assert said.count(b"HTTP/1.1 200 OK") == 4
    places = [said.index(b'{"%b"' % word) for word in (b"assets", b"deliveries", b"generation", b"status")]
    assert places == sorted(places)
    writer.close()


async def test_a_list_under_way_is_told_to_its_end_while_the_listener_closes(listener, client, monkeypatch, insight):
    Endless(monkeypatch, insight, end=5000)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{listener.port}/api/assets") as answer,
    ):
        draining = asyncio.create_task(listener.drain(10))
        await asyncio.sleep(0.2)
        assert not draining.done()
        assert len((await answer.json())["assets"]) == 5000
        await draining


async def test_a_list_without_an_end_holds_up_no_stop(listener, endless):
    reader, writer = await connected(listener)
    writer.write(ask("/api/assets"))
    await begun(reader)
    await asyncio.wait_for(listener.drain(0.1), 5)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1 << 30), 10)
    writer.close()


async def test_what_is_asked_at_the_end_is_not_answered_any_more(insight):
    waits = asyncio.Event()
    insight.reload = waits.wait
    async with serving(insight) as listener:
        reader, writer = await connected(listener)
        writer.write(ask("/-/reload", method="POST"))
        async with asyncio.timeout(10):
            while not any(link.begun for link in listener._connections):
                await asyncio.sleep(0)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await read_answer(reader)
    writer.close()


@pytest.mark.parametrize(
    ("raw", "code", "word"),
    [
        (b"NONSENSE\r\n\r\n", 400, "malformed"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed"),
        (ask(RELOAD, "Content-Length: 1000000", method="POST"), 413, "too_large"),
        (ask(RELOAD, "Transfer-Encoding: chunked", method="POST") + b"20000\r\n" + bytes(131072), 413, "too_large"),
        (ask("/api/deliveries/%00%2e%ff"), 404, "not_found"),
        (ask("/api/deliveries/"), 404, "not_found"),
        (ask("/api/deliveries/a/b"), 404, "not_found"),
    ],
)  # fmt: skip
async def test_what_can_not_be_answered_is_refused_in_json(listener, insight, raw, code, word):
    answer = await exchange(("127.0.0.1", listener.port), raw)
    assert (answer.status, answer.json["error"]) == (code, word)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert insight.reloads == []


async def test_an_id_may_be_written_with_escapes(client):
    async with client.get(yarl.URL("/api/deliveries/%64-od%64", encoded=True)) as answer:
        assert (await answer.json())["id"] == "d-odd"


async def test_a_bug_is_answered_500_and_logged(client, insight, caplog):
    insight.reasons = lambda: 1 / 0
    assert (await get(client, "/readyz", 500))["error"] == "internal"
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.exc_info[0] is ZeroDivisionError
