import asyncio
import gc
import hashlib
import resource
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from origin import PNG, Origin, chunked, head, ok, raw, then_silence

from syncd.config.tree import Download
from syncd.errors import StoreUnavailable
from syncd.mirror import body
from syncd.mirror.body import save
from syncd.mirror.client import ask, open_client
from syncd.mirror.limits import Bandwidth
from syncd.mirror.part import Part
from syncd.mirror.setback import Setback

LARGE = PNG + bytes(range(251)) * 15_000  # 3.7 MiB, no two pieces alike
DOWNLOAD = Download(allowed_hosts=["127.0.0.1"], allow_http=True, allow_private=True)


async def saved(answer, path: Path, *, kind="file", declared="png", max_size=100 << 20, min_free=0):
    async with (
        Origin().running() as origin,
        open_client(allow_private=True) as client,
        ask(client, origin.url("/a", answer), DOWNLOAD) as response,
    ):
        part = Part(path, min_free)
        await save(
            response,
            part,
            declared=declared,
            kind=kind,
            max_size=max_size,
            bandwidth=Bandwidth(lambda: 0),
        )
        return part


def etag(content: bytes, **headers: object) -> dict[str, object]:
    return {"ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"', **headers}


@pytest.mark.parametrize("size", [1, 256 << 10, body.BEGINNING - 1, body.BEGINNING, body.BEGINNING + 1, len(LARGE)])
@pytest.mark.parametrize("pack", [ok, chunked])
async def test_a_body_of_any_size_is_kept_to_the_byte(tmp_path, size, pack):
    content = LARGE[:size]
    result = await saved(pack(content), tmp_path / "a", declared="")
    assert (tmp_path / "a").read_bytes() == content
    assert (result.received, result.sha256) == (size, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("content", [PNG, LARGE])
async def test_an_md5_etag_vouches_for_the_body(tmp_path, content):
    assert (await saved(ok(content, **etag(content)), tmp_path / "a")).received == len(content)
    with pytest.raises(Setback, match="ETag"):
        await saved(ok(content, **etag(b"another")), tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"d41d8cd98f00b204e9800998ecf8427e-2"'},
        {"ETag": 'W/"d41d8cd98f00b204e9800998ecf8427e"'},
        {"ETag": "d41d8cd98f00b204e9800998ecf8427e"},
        etag(b"x", x_amz_server_side_encryption="aws:kms"),
        etag(b"x", x_amz_server_side_encryption="aws:kms:dsse"),
        etag(b"x", x_amz_server_side_encryption_customer_algorithm="AES256"),
    ],
)
async def test_an_etag_that_is_no_md5_says_nothing(tmp_path, headers):
    assert (await saved(ok(PNG, **headers), tmp_path / "a")).received == len(PNG)


async def test_memory_does_not_grow_with_the_body(tmp_path):
    piece = bytes(1 << 20)
    answer = raw(head(Content_Length=len(PNG) + 50 * len(piece)), PNG, *[piece] * 50)
    tracemalloc.start()
    try:
        await saved(answer, tmp_path / "a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a").stat().st_size == len(PNG) + (50 << 20)
    assert peak < 10 << 20


async def test_a_cancelled_download_leaves_nothing(tmp_path):
    sent = asyncio.Event()

    async def half(writer):
        writer.write(head(Content_Length=64 << 20) + PNG)
        for _ in range(32):  # more than the buffers between us hold, so that the file is there
            writer.write(bytes(1 << 20))
            await writer.drain()
        sent.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(saved(half, tmp_path / "a"))
    await sent.wait()
    assert (tmp_path / "a").exists()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("content", [PNG, LARGE])
async def test_a_download_that_is_cancelled_before_it_is_written_leaves_nothing(tmp_path, content, times):
    loop, free, waits = asyncio.get_running_loop(), threading.Event(), asyncio.Event()

    class OneThread(ThreadPoolExecutor):
        def submit(self, *work):
            waits.set()
            return super().submit(*work)

    threads = OneThread(1)
    ThreadPoolExecutor.submit(threads, free.wait)
    loop.set_default_executor(threads)
    saving = asyncio.create_task(saved(ok(content), tmp_path / "a"))
    try:
        async with asyncio.timeout(5):
            await waits.wait()
        for _ in range(times):
            saving.cancel()
            await asyncio.sleep(0)
    finally:
        free.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    await loop.shutdown_default_executor()  # a larger one is removed in a thread
    assert list(tmp_path.iterdir()) == []


async def test_a_write_that_fails_after_its_download_was_cancelled_is_nobodys_news(tmp_path):
    loop, news = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: news.append(context))

    def full():
        begun.set()
        free.wait()
        raise StoreUnavailable("full")

    begun, free = threading.Event(), threading.Event()
    writing = asyncio.create_task(body._to_its_end(full))
    assert await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    await asyncio.sleep(0)
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    del writing
    gc.collect()
    assert news == []


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"another")])
async def test_nothing_is_added_to_a_file_that_somebody_else_has_changed(tmp_path, change):
    part = Part(tmp_path / "a")
    part.append(PNG)
    change(part.path)
    with pytest.raises(StoreUnavailable):
        part.open()
    with pytest.raises(StoreUnavailable):
        part.append(PNG)


@pytest.mark.parametrize("content", [PNG, LARGE])
async def test_a_full_disk_is_not_the_servers_fault(tmp_path, content):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreUnavailable, match="File too large"):
            await saved(ok(content), tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("content", [PNG, LARGE])
@pytest.mark.parametrize("pack", [ok, chunked])
async def test_what_would_leave_less_than_min_free_is_not_written(tmp_path, content, pack):
    with pytest.raises(StoreUnavailable, match="min_free"):
        await saved(pack(content), tmp_path / "a", min_free=1 << 60)
    assert not (tmp_path / "a").exists()


async def test_a_file_that_is_there_is_neither_written_nor_removed(tmp_path):
    (tmp_path / "a").write_bytes(b"another's")
    with pytest.raises(StoreUnavailable):
        await saved(ok(), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"another's"


async def test_a_link_in_the_way_is_not_followed(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        await saved(ok(), tmp_path / "a")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("answer", [raw(head(Content_Length=2000)), chunked(PNG, PNG)])
async def test_no_more_than_max_size_is_taken(tmp_path, answer):
    with pytest.raises(Setback, match="max_size"):
        await saved(answer, tmp_path / "a", max_size=1999)
    assert not (tmp_path / "a").exists()


async def test_exactly_max_size_is_fine(tmp_path):
    assert (await saved(ok(), tmp_path / "a", max_size=len(PNG))).received == len(PNG)


async def test_a_wrong_file_is_refused_by_its_beginning(tmp_path):
    page = b"<html>" + bytes(body.BEGINNING)
    with pytest.raises(Setback, match="HTML"):
        await saved(then_silence(head(Content_Length=1 << 30), page), tmp_path / "a", max_size=2 << 30)
