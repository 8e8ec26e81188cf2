import asyncio
import hashlib
import socket
import struct

import pytest
from mirror.desk import Desk, settings
from origin import HTML, Origin, head, ok, status
from storage import CUT, ETAG, FILE, OTHER, Storage

from syncd.mirror import body, part
from syncd.mirror.client import open_client
from syncd.mirror.content import HEAD
from syncd.mirror.part import Parts, Shelf
from syncd.model import Failed, Fetched
from syncd.model import Retry as Later


@pytest.fixture
async def origin():
    async with Origin().running() as running:
        yield running


@pytest.fixture
async def storage(origin):
    return Storage(origin)


@pytest.fixture
async def desk(tmp_path):
    folder = tmp_path / "temp"
    folder.mkdir()
    async with open_client(allow_private=True) as client:
        yield Desk(client, folder)


def whole(result, desk, content=FILE):
    assert isinstance(result, Fetched)
    assert result.path.read_bytes() == content
    assert (result.bytes, result.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert desk.leftovers() == [result.path]
    return True


async def test_a_body_cut_short_is_continued_with_the_missing_bytes_alone(origin, storage, desk):
    result = await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), storage.answer()))
    assert whole(result, desk)
    assert result.attempts == 2
    assert storage.header("If-Range") == ETAG
    kept = storage.ranges[1]
    assert 0 < kept <= CUT
    assert storage.served == [CUT, len(FILE) - kept]


async def test_it_is_continued_again_and_again(origin, storage, desk):
    desk.config = settings(retry={"attempts": 4})
    cuts = [storage.answer(cut=CUT), storage.answer(cut=2 * CUT), status(503), storage.answer()]
    assert whole(await desk.fetch(origin.url("/a.png", *cuts)), desk)
    assert 0 < storage.ranges[1] < storage.ranges[2]


async def test_what_came_before_a_reset_is_kept(origin, storage, desk):
    async def reset(writer):
        async with asyncio.timeout(5):
            while not any(path.stat().st_size for path in desk.leftovers()):
                await asyncio.sleep(0.001)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT, end=reset), storage.answer())), desk)
    assert storage.ranges[1] > 0


async def test_what_came_before_a_stall_is_kept(origin, storage, desk):
    desk.config = settings({"stall_timeout": "100ms"})

    async def stall(writer):
        await asyncio.Event().wait()

    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT, end=stall), storage.answer())), desk)
    assert storage.ranges[1] == CUT


async def test_what_came_before_a_drip_is_kept(origin, storage, desk, monkeypatch):
    monkeypatch.setattr(body, "PATIENCE", 0.3)
    monkeypatch.setattr(body, "SLOWEST", 100 * len(FILE))

    async def drip(writer):
        for at in range(CUT, len(FILE)):
            writer.write(FILE[at : at + 1])
            await asyncio.sleep(0.01)

    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT, end=drip), storage.answer())), desk)
    assert storage.ranges[1] > 0


async def test_a_redirect_is_followed_to_the_rest(origin, storage, desk):
    origin.url("/b.png", storage.answer(cut=CUT), storage.answer())
    result = await desk.fetch(origin.url("/a.png", status(302, Location="/b.png")))
    assert whole(result, desk)
    assert origin.asked == {"/a.png": 2, "/b.png": 2}
    assert storage.ranges[1] > 0


async def test_a_redirect_of_the_rest_obeys_the_same_rules(origin, storage, desk):
    away = status(302, Location="http://localhost/x")
    result = await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), away))
    assert isinstance(result, Failed)
    assert "a refused URL" in result.reason
    assert desk.leftovers() == []


async def test_a_small_file_is_continued_too(origin, storage, desk):
    small = FILE[: 4 * HEAD]
    cut, rest = storage.answer(small, cut=HEAD), storage.answer(small)
    assert whole(await desk.fetch(origin.url("/a.png", cut, rest)), desk, small)
    assert storage.ranges == [0, HEAD]
    assert storage.served == [HEAD, len(small) - HEAD]


async def test_a_beginning_too_short_to_tell_what_it_is_comes_again(origin, storage, desk):
    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=HEAD - 1), storage.answer())), desk)
    assert storage.ranges == [0, 0]


@pytest.mark.parametrize("etag", [None, 'W/"abc"', "abc", '"a\tb"', '""', '"a", "b"'])
async def test_without_a_strong_etag_it_begins_anew(origin, storage, desk, etag):
    cut = storage.answer(cut=CUT, ETag=etag)
    assert whole(await desk.fetch(origin.url("/a.png", cut, storage.answer())), desk)
    assert storage.ranges == [0, 0]


async def test_without_a_known_length_it_begins_anew(origin, storage, desk):
    async def chunked(writer):
        piece = FILE[:CUT]
        writer.write(head(Transfer_Encoding="chunked", ETag=ETAG) + b"%x\r\n%s\r\n" % (CUT, piece))

    assert whole(await desk.fetch(origin.url("/a.png", chunked, storage.answer())), desk)
    assert storage.ranges == [0]


async def test_another_content_comes_as_a_whole(origin, storage, desk):
    fresh = storage.answer(OTHER, etag='"new"')
    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), fresh)), desk, OTHER)
    assert storage.served == [CUT, len(OTHER)]


async def test_a_server_without_ranges_sends_it_as_a_whole(origin, storage, desk):
    fresh = storage.answer(obedient=False)
    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), fresh)), desk)


@pytest.mark.parametrize(
    "changed",
    [
        {"ETag": '"new"'},
        {"ETag": None},
        {"ETag": f"W/{ETAG}"},
        {"Content_Range": None},
        {"Content_Range": f"bytes 0-{len(FILE) - 1}/{len(FILE)}"},
        {"Content_Range": f"bytes {CUT + 1}-{len(FILE) - 1}/{len(FILE)}"},
        {"Content_Range": f"bytes {CUT}-{len(FILE) - 2}/{len(FILE)}"},
        {"Content_Range": f"bytes {CUT}-{len(FILE) - 1}/{len(FILE) + 1}"},
        {"Content_Range": f"bytes {CUT}-{len(FILE) - 1}/*"},
        {"Content_Encoding": "gzip"},
    ],
)
async def test_a_rest_that_does_not_fit_is_thrown_away(origin, storage, desk, changed):
    misfit = storage.answer(OTHER, **changed)
    result = await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), misfit, storage.answer()))
    assert whole(result, desk)
    assert result.attempts == 3
    assert (storage.ranges[1] > 0, storage.ranges[2]) == (True, 0)


async def test_a_416_is_not_taken_as_complete(origin, storage, desk):
    answers = [storage.answer(cut=CUT), status(416, Content_Range=f"bytes */{len(FILE)}"), storage.answer()]
    assert whole(await desk.fetch(origin.url("/a.png", *answers)), desk)
    assert storage.ranges == [0, 0]


async def test_a_416_that_nobody_asked_for_fails_at_once(origin, desk):
    assert isinstance(await desk.fetch(origin.url("/a.png", status(416))), Failed)


@pytest.mark.parametrize("rest", [FILE[CUT : CUT + 1000], FILE[CUT:] + b"more"])
async def test_a_rest_of_the_wrong_length_is_not_published(origin, storage, desk, rest):
    async def chunked(writer):
        begin = storage.header("Range")[6:-1]
        fits = f"bytes {begin}-{len(FILE) - 1}/{len(FILE)}"
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest)
        writer.write(head(206, Transfer_Encoding="chunked", ETag=ETAG, Content_Range=fits) + framed)

    desk.config = settings(retry={"attempts": 2})
    result = await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), chunked))
    assert isinstance(result, Later)
    assert f"bytes instead of {len(FILE)}" in result.reason
    assert desk.leftovers() == []


async def test_an_md5_etag_vouches_for_beginning_and_rest_together(origin, storage, desk):
    etag = f'"{hashlib.md5(FILE, usedforsecurity=False).hexdigest()}"'
    good = origin.url("/a.png", storage.answer(cut=CUT, etag=etag), storage.answer(etag=etag))
    result = await desk.fetch(good)
    assert whole(result, desk)
    result.path.unlink()
    desk.config = settings(retry={"attempts": 2})
    bad = origin.url("/b.png", storage.answer(cut=CUT, etag=etag), storage.answer(OTHER, etag=etag))
    result = await desk.fetch(bad)
    assert isinstance(result, Later)
    assert "ETag contradicts" in result.reason
    assert storage.ranges[3] > 0
    assert desk.leftovers() == []


async def test_the_limit_of_size_is_that_of_the_whole(origin, storage, desk):
    async def lowering(writer):
        desk.config = settings({"max_size": "5MiB"})
        await storage.answer(cut=CUT)(writer)

    result = await desk.fetch(origin.url("/a.png", lowering, storage.answer()))
    assert isinstance(result, Failed)
    assert "download.max_size" in result.reason
    assert desk.leftovers() == []


async def test_a_beginning_of_another_kind_is_not_kept(origin, storage, desk):
    page = HTML + bytes(CUT)
    result = await desk.fetch(origin.url("/a.png", storage.answer(page, cut=CUT)))
    assert "an HTML page" in result.reason
    assert storage.ranges == [0, 0, 0]


async def test_the_other_url_is_not_joined_to_it(origin, storage, desk):
    cdn = origin.url("/cdn.png", ok(FILE))
    result = await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), status(404)), cdn)
    assert whole(result, desk)
    assert storage.header("Range") is None


async def test_the_next_go_continues_what_one_has_left_off(origin, storage, desk):
    parts: Parts = {}
    url = origin.url("/a.png", storage.answer(cut=CUT), *[status(503)] * 2, storage.answer())
    assert isinstance(await desk.fetch(url, parts=parts), Later)
    assert len(desk.leftovers()) == 1
    assert whole(await desk.fetch(url, parts=parts), desk)
    assert parts == {}
    assert storage.served == [CUT, len(FILE) - storage.ranges[1]]


async def test_the_next_go_does_not_join_another_content_to_it(origin, storage, desk):
    parts: Parts = {}
    fresh = storage.answer(OTHER, etag='"new"')
    url = origin.url("/a.png", storage.answer(cut=CUT), *[status(503)] * 2, fresh)
    assert isinstance(await desk.fetch(url, parts=parts), Later)
    assert whole(await desk.fetch(url, parts=parts), desk, OTHER)


async def left_off(origin, storage, desk, path):
    """The parts of a job whose go has ended after CUT bytes."""
    parts: Parts = {}
    assert isinstance(await desk.fetch(origin.url(path, storage.answer(cut=CUT), status(503)), parts=parts), Later)
    return parts


async def test_a_shelf_keeps_parts_for_their_job_alone(origin, storage, desk):
    shelf, parts = Shelf(), await left_off(origin, storage, desk, "/a.png")
    kept = dict(parts)
    shelf.leave(7, parts)
    assert parts == {}
    assert shelf.take(8) == {}
    assert shelf.take(7) == kept
    assert shelf.take(7) == {}


async def test_a_shelf_that_is_cleared_leaves_no_file(origin, storage, desk):
    shelf = Shelf()
    shelf.leave(7, await left_off(origin, storage, desk, "/a.png"))
    assert len(desk.leftovers()) == 1
    shelf.clear()
    assert desk.leftovers() == []
    assert shelf.take(7) == {}


@pytest.mark.parametrize(("limit", "value"), [("MOST_PARTS", 1), ("MOST_BYTES", CUT)])
async def test_a_full_shelf_takes_no_more(origin, storage, desk, monkeypatch, limit, value):
    monkeypatch.setattr(part, limit, value)
    shelf, parts = Shelf(), await left_off(origin, storage, desk, "/b.png")
    (lying,) = parts.values()
    lying.received = CUT  # which of it had been written when the connection broke is a matter of luck
    shelf.leave(7, await left_off(origin, storage, desk, "/a.png"))
    shelf.leave(8, parts)
    assert len(parts) == 1
    assert len(shelf.take(7)) == 1
    assert shelf.take(8) == {}


async def test_a_cancelled_wait_leaves_nothing(origin, storage, desk):
    desk.config = settings(retry={"first": "1h", "longest": "1h"})
    left_off = asyncio.Event()
    sleeping = desk.sleep

    async def sleep(seconds):
        left_off.set()
        await sleeping(seconds)

    desk.sleep = sleep
    going = asyncio.create_task(desk.fetch(origin.url("/a.png", storage.answer(cut=CUT))))
    await left_off.wait()
    assert len(desk.leftovers()) == 1
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert desk.leftovers() == []


async def test_a_beginning_that_was_swept_away_comes_again(origin, storage, desk):
    async def sleep(seconds):
        for path in desk.leftovers():
            path.unlink()

    desk.sleep = sleep
    assert whole(await desk.fetch(origin.url("/a.png", storage.answer(cut=CUT), storage.answer())), desk)
    assert storage.ranges == [0, 0]
