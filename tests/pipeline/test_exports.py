import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pipeline.works import announced, works_at

from syncd.demo import artwork, payloads
from syncd.model import Failed
from syncd.pipeline import exports
from syncd.pipeline.exports import publish_export
from syncd.pipeline.publishing import Publisher

MEMBERS = {f"{n}.png": artwork.artwork("png", n) for n in range(50)}


class _Telling(Publisher):
    """Says when it has taken something to publish."""

    def __init__(self, works):
        super().__init__(works)
        self.taken = asyncio.Event()

    def _next_batch(self):
        batch = super()._next_batch()
        if batch:
            self.taken.set()
        return batch


async def _announced(works, number=0):
    payload = payloads.export("https://x.abyssale.com/e.zip")
    payload["export_id"] = f"{number:08d}{payload['export_id'][8:]}"
    return await announced(works, payload, artwork.archive(MEMBERS))


@pytest.fixture
async def works(tmp_path):
    async with works_at(tmp_path) as works:
        yield works


async def test_an_export_that_is_cancelled_while_it_moves_is_whole_all_the_same(works):
    publisher = _Telling(works)
    job, fetched = await _announced(works)
    running = asyncio.create_task(publisher.run())
    await works.moving.acquire()  # so that the publisher takes the export, and then waits to move it
    exporting = asyncio.create_task(publish_export(works, publisher, job, fetched))
    async with asyncio.timeout(10):
        await publisher.taken.wait()
    exporting.cancel()
    await asyncio.wait([exporting])
    works.moving.release()
    async with asyncio.timeout(10):
        while not (await works.journal.stale(1))[1]:
            works.changed.clear()
            await works.changed.wait()
    running.cancel()
    await asyncio.wait([running])
    assert {file.name: file.read_bytes() for file in (works.store.root / job.key).iterdir()} == MEMBERS


async def test_an_archive_that_finds_a_bug_fails_and_does_not_end_the_daemon(works, monkeypatch):
    def stumble(*_, **__):
        raise IndexError("here")

    monkeypatch.setattr(exports, "extract", stumble)
    job, fetched = await _announced(works)
    result = await publish_export(works, Publisher(works), job, fetched)
    assert result == Failed("a bug of syncd: IndexError('here')", 1)
    assert not fetched.path.exists()


async def test_archives_that_take_long_leave_threads_for_everybody_else(works, monkeypatch):
    go_on = threading.Event()

    def linger(*_, **__):
        assert go_on.wait(10)
        raise exports.ArchiveRefused("here")

    monkeypatch.setattr(exports, "extract", linger)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(5))  # as many as one processor has
    publisher = Publisher(works)
    fetched = [await _announced(works, number) for number in range(8)]
    exporting = [asyncio.create_task(publish_export(works, publisher, *one)) for one in fetched]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(lambda: None)
    finally:
        go_on.set()
    assert set(await asyncio.gather(*exporting)) == {Failed("the archive is refused: here", 1)}
