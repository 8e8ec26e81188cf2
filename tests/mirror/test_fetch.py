import asyncio
import hashlib
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from mirror.desk import Desk, settings
from origin import HTML, PNG, Origin, chunked, endless, head, ok, raw, reset, status, then_silence

from syncd.errors import StoreUnavailable
from syncd.mirror import body
from syncd.mirror.client import open_client
from syncd.mirror.limits import Slots
from syncd.model import Failed, Fetched
from syncd.model import Retry as Later


@pytest.fixture
async def origin():
    async with Origin().running() as running:
        yield running


@pytest.fixture
async def desk(tmp_path):
    folder = tmp_path / "temp"
    folder.mkdir()
    async with open_client(allow_private=True) as client:
        yield Desk(client, folder)


async def test_a_file_arrives_whole_hashed_and_named(origin, desk):
    result = await desk.fetch(origin.url("/a.png", ok()) + "?X-Amz-Signature=secret")
    assert isinstance(result, Fetched)
    assert result.path.read_bytes() == PNG
    assert stat.S_IMODE(result.path.stat().st_mode) == 0o600
    assert (result.bytes, result.sha256) == (len(PNG), hashlib.sha256(PNG).hexdigest())
    assert (result.type, result.url, result.attempts) == ("png", origin.url("/a.png"), 1)


async def test_a_connection_serves_one_file_after_another(desk):
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG))
                writer.write(PNG)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        for n in range(5):
            assert isinstance(await desk.fetch(f"{base}/{n}.png"), Fetched)
        await desk.session.close()
    assert len(connections) == 1


async def test_a_presigned_url_is_sent_to_the_byte(origin, desk):
    target = "/a%2fb%2B+c.png?X-Amz-Credential=AK%2F2026%2f&X=a+b~%7E"
    origin.answers["/a%2fb%2B+c.png"] = [ok()]
    assert isinstance(await desk.fetch(origin.base + target), Fetched)
    assert origin.targets == [target]


async def test_a_url_with_spaces_and_umlauts_is_quoted(origin, desk):
    origin.answers["/a%20%C3%BC.png"] = [ok()]
    assert isinstance(await desk.fetch(origin.url("/a ü.png")), Fetched)


async def test_a_chunked_body_of_tiny_pieces_is_put_together(origin, desk):
    pieces = [PNG[at : at + 7] for at in range(0, len(PNG), 7)]
    result = await desk.fetch(origin.url("/a.png", chunked(*pieces)))
    assert result.path.read_bytes() == PNG


async def test_an_export_may_be_one_plain_file(origin, desk):
    result = await desk.fetch(origin.url("/x.zip", ok()), type="zip", kind="export")
    assert result.type == "png"


async def test_an_html5_visual_has_to_be_a_zip(origin, desk):
    result = await desk.fetch(origin.url("/x.zip", ok()), type="zip", kind="html5")
    assert "png instead of zip" in result.reason


@pytest.mark.parametrize("fault", [status(500), status(503), status(408), status(425), status(429), reset])
async def test_a_hiccup_is_tried_again_at_once(origin, desk, fault):
    result = await desk.fetch(origin.url("/a.png", fault, fault, ok()))
    assert isinstance(result, Fetched)
    assert result.attempts == 3
    assert [path.name for path in desk.leftovers()] == [result.path.name]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(503), "HTTP 503"),
        (status(206), "HTTP 206"),
        (status(304), "HTTP 304"),
        (status(302), "HTTP 302 without a usable Location"),
        (status(302, Location="http://[half"), "HTTP 302 without a usable Location"),
        (status(302, Location="/a.png"), "more than 5 redirects"),
        (reset, "a broken connection|a body cut short"),
        (raw(head(Content_Length=len(PNG) + 1) + PNG), "a body cut short"),
        (raw(head(Transfer_Encoding="chunked") + b"10\r\n" + PNG[:9]), "a body cut short"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "an answer that is not HTTP"),
        (raw(b""), "a broken connection"),
        (ok(b""), "an empty body"),
        (ok(HTML), "an HTML page instead of png"),
        (ok(b"\xff\xd8\xff" + PNG), "jpeg instead of png"),
        (ok(Content_Encoding="gzip"), "Content-Encoding 'gzip'"),
        (ok(ETag='"00000000000000000000000000000000"'), "ETag"),
    ],
)
async def test_what_may_mend_is_left_to_a_later_go(origin, desk, answer, reason):
    result = await desk.fetch(origin.url("/a.png", answer) + "?token=secret")
    assert isinstance(result, Later)
    assert result.attempts == 3
    assert any(part in result.reason for part in reason.split("|"))
    assert result.reason.endswith(f"from {origin.url('/a.png')} (attempt 3 of 3)")
    assert desk.leftovers() == []


@pytest.mark.parametrize("pieces", [(), (head()[:20],), (head(Content_Length=len(PNG)), PNG[:500])])
async def test_a_server_that_falls_silent_is_left(origin, desk, pieces):
    desk.config = settings({"stall_timeout": "50ms", "connect_timeout": "50ms"}, {"attempts": 1})
    result = await desk.fetch(origin.url("/a.png", then_silence(*pieces)))
    assert isinstance(result, Later)
    assert result.reason.startswith("nothing for 0.05s from")
    assert desk.leftovers() == []


async def test_a_server_that_drips_is_left(origin, desk, monkeypatch):
    monkeypatch.setattr(body, "PATIENCE", 0.05)

    async def drip(writer):
        writer.write(head(Content_Length=len(PNG)))
        for at in range(len(PNG)):
            writer.write(PNG[at : at + 1])
            await asyncio.sleep(0.01)

    desk.config = settings(retry={"attempts": 1})
    result = await desk.fetch(origin.url("/a.png", drip))
    assert result.reason.startswith("a drip of")


@pytest.mark.parametrize("code", [400, 401, 402, 405, 451])
async def test_another_4xx_fails_at_once(origin, desk, code):
    result = await desk.fetch(origin.url("/a.png", status(code)))
    assert result == Failed(f"HTTP {code} from {origin.url('/a.png')} (attempt 1 of 3)", 1)


@pytest.mark.parametrize("code", [403, 404, 410])
async def test_a_missing_file_is_asked_for_in_one_go_only(origin, desk, code):
    result = await desk.fetch(origin.url("/a.png", status(code)))
    assert result == Failed(f"HTTP {code} from {origin.url('/a.png')} (attempt 3 of 3)", 3)


async def test_a_missing_file_may_appear_within_the_go(origin, desk):
    assert isinstance(await desk.fetch(origin.url("/a.png", status(404), ok())), Fetched)


@pytest.mark.parametrize("answer", [raw(head(Content_Length=2 << 20)), endless])
async def test_a_file_beyond_max_size_fails_at_once(origin, desk, answer):
    desk.config = settings({"max_size": "1MiB"})
    result = await desk.fetch(origin.url("/a.png", answer))
    assert isinstance(result, Failed)
    assert result.attempts == 1
    assert "download.max_size" in result.reason
    assert desk.leftovers() == []


async def test_a_redirect_is_followed(origin, desk):
    origin.url("/b.png", ok())
    result = await desk.fetch(origin.url("/a.png", status(302, Location="/b.png")))
    assert result.url == origin.url("/a.png")
    assert result.bytes == len(PNG)


@pytest.mark.parametrize(
    "location", ["http://localhost/x", "//user@127.0.0.1/", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
async def test_a_redirect_obeys_the_same_rules(origin, desk, location):
    result = await desk.fetch(origin.url("/a.png", status(302, Location=location)))
    assert isinstance(result, Failed)
    assert result.reason.startswith("a refused URL")


async def test_a_refused_url_is_never_asked(origin, desk):
    desk.config = settings({"allow_http": False})
    result = await desk.fetch(origin.url("/a.png", ok()))
    assert isinstance(result, Failed)
    assert "scheme 'http'" in result.reason
    assert origin.targets == []


async def test_an_asset_without_a_url_fails(desk):
    assert await desk.fetch("") == Failed("no URL to ask (attempt 1 of 3)", 1)


async def test_retry_after_holds_the_next_attempt_and_no_slot(origin, desk):
    desk.slots = Slots(lambda: (1, 1))
    desk.config = settings(retry={"longest": "5s"})
    asked = asyncio.Event()

    async def busy(writer):
        asked.set()
        await status(429, Retry_After=1)(writer)

    began = time.monotonic()
    waiting = asyncio.create_task(desk.fetch(origin.url("/busy.png", busy, ok())))
    await asked.wait()
    assert isinstance(await desk.fetch(origin.url("/b.png", ok())), Fetched)
    assert not waiting.done()
    assert desk.borrowed == 0
    assert (await waiting).attempts == 2
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("in_seconds", [True, False])
async def test_a_long_retry_after_ends_the_go_with_the_servers_wish(origin, desk, in_seconds):
    date = (datetime.now(UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    wish = 3600 if in_seconds else date
    result = await desk.fetch(origin.url("/a.png", status(503, Retry_After=wish)))
    assert isinstance(result, Later)
    assert result.attempts == 1
    assert result.after == pytest.approx(3600, abs=3)


async def test_the_other_url_stands_in_for_a_missing_file_at_once(origin, desk):
    result = await desk.fetch(origin.url("/a.png", status(404)), origin.url("/cdn.png", ok()))
    assert (result.url, result.attempts) == (origin.url("/cdn.png"), 1)


async def test_the_other_url_is_spared_at_hiccups_until_the_last_attempt(origin, desk):
    result = await desk.fetch(origin.url("/a.png", status(503)), origin.url("/cdn.png", ok()))
    assert (result.url, result.attempts) == (origin.url("/cdn.png"), 3)
    assert origin.asked == {"/a.png": 3, "/cdn.png": 1}


async def test_the_other_url_is_asked_before_a_long_wait(origin, desk):
    busy = origin.url("/a.png", status(503, Retry_After=3600))
    assert (await desk.fetch(busy, origin.url("/cdn.png", ok()))).attempts == 1


async def test_the_cdn_can_be_preferred(origin, desk):
    desk.config = settings({"prefer": "cdn"})
    await desk.fetch(origin.url("/a.png", ok()), origin.url("/cdn.png", ok()))
    assert origin.targets == ["/cdn.png"]


async def test_one_hopeful_url_leaves_the_asset_to_a_later_go(origin, desk):
    result = await desk.fetch(origin.url("/a.png", status(401)), origin.url("/cdn.png", status(503)))
    assert isinstance(result, Later)
    assert "HTTP 401 from" in result.reason
    assert "HTTP 503 from" in result.reason
    assert origin.asked == {"/a.png": 1, "/cdn.png": 3}


async def test_an_asset_fails_when_neither_url_has_it(origin, desk):
    result = await desk.fetch(origin.url("/a.png", status(404)), origin.url("/cdn.png", status(410)))
    assert isinstance(result, Failed)
    assert origin.asked == {"/a.png": 3, "/cdn.png": 3}


async def test_each_attempt_works_under_the_terms_of_its_time(origin, desk):
    async def reloading(writer):
        desk.config = settings({"allowed_hosts": ["example.com"]}, {"attempts": 9})
        await status(503)(writer)

    result = await desk.fetch(origin.url("/a.png", reloading, ok()))
    assert isinstance(result, Failed)
    assert "allowed_hosts" in result.reason
    assert result.reason.endswith("(attempt 2 of 9)")


async def test_terms_are_borrowed_while_a_body_is_read(origin, desk):
    seen = []

    async def looking(writer):
        seen.append(desk.borrowed)
        await ok()(writer)

    await desk.fetch(origin.url("/a.png", looking))
    assert seen == [1]
    assert desk.borrowed == 0


async def test_a_disk_that_fails_burns_no_attempt(origin, desk):
    desk.folder.rmdir()
    with pytest.raises(StoreUnavailable, match="No such file"):
        await desk.fetch(origin.url("/a.png", ok()))
    assert origin.asked["/a.png"] == 1
    desk.folder.mkdir()


# A file that is missing is looked up


def looked_up(desk, answer):
    """Have the platform answer so; returns the list of those it was asked for."""
    asked = []

    async def look_up(asset):
        asked.append(asset.id)
        return replace(asset, url=answer, fallback_url="") if isinstance(answer, str) else answer

    desk.look_up = look_up
    return asked


@pytest.mark.parametrize("code", [403, 404, 410])
async def test_a_missing_file_is_looked_up_once_and_asked_for_where_it_is(origin, desk, code):
    asked = looked_up(desk, origin.url("/new.png", ok()))
    result = await desk.fetch(origin.url("/a.png", status(code)), origin.url("/cdn.png", status(404)))
    assert isinstance(result, Fetched)
    assert (result.url, result.attempts) == (origin.url("/new.png"), 3)
    assert asked == ["1"]
    assert origin.asked == {"/a.png": 3, "/cdn.png": 3, "/new.png": 1}


async def test_nothing_is_looked_up_that_may_come_by_itself(origin, desk):
    asked = looked_up(desk, origin.url("/new.png", ok()))
    assert isinstance(await desk.fetch(origin.url("/a.png", status(404), status(404), ok())), Fetched)
    assert isinstance(await desk.fetch(origin.url("/b.png", status(503))), Later)
    assert isinstance(await desk.fetch(origin.url("/c.png", status(401))), Failed)
    assert isinstance(await desk.fetch(origin.url("/d.png", status(404)), origin.url("/e.png", status(503))), Later)
    assert asked == []


async def test_a_look_up_that_tells_nothing_new_asks_nobody(origin, desk):
    url = origin.url("/a.png", status(404))
    looked_up(desk, url)
    assert isinstance(await desk.fetch(url), Failed)
    assert origin.asked == {"/a.png": 3}


async def test_an_unknown_banner_fails_as_before(origin, desk):
    looked_up(desk, Failed("the API says HTTP 404", 0))
    url = origin.url("/a.png", status(404))
    assert await desk.fetch(url) == Failed(f"HTTP 404 from {url}; the API says HTTP 404 (attempt 3 of 3)", 3)


async def test_a_platform_that_does_not_answer_leaves_it_to_a_later_go(origin, desk):
    looked_up(desk, Later("the API says HTTP 429", 0, after=1800))
    result = await desk.fetch(origin.url("/a.png", status(404)))
    assert isinstance(result, Later)
    assert (result.attempts, result.after) == (3, 1800)


@pytest.mark.parametrize(("answer", "ends"), [(status(503), Later), (status(404), Failed)])
async def test_a_fresh_url_may_fail_like_any_other(origin, desk, answer, ends):
    looked_up(desk, origin.url("/new.png", answer))
    result = await desk.fetch(origin.url("/a.png", status(403)))
    assert isinstance(result, ends)
    assert "HTTP 403 from" in result.reason
    assert f"from {origin.url('/new.png')}" in result.reason


@pytest.mark.parametrize("fresh", ["http://localhost/x", "file:///etc/passwd", "http://user@127.0.0.1/"])
async def test_a_fresh_url_obeys_the_same_rules(origin, desk, fresh):
    looked_up(desk, fresh)
    result = await desk.fetch(origin.url("/a.png", status(404)))
    assert isinstance(result, Failed)
    assert "a refused URL" in result.reason
