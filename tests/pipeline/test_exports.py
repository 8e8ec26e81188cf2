import asyncio
import hashlib
import json
import time

import pytest

from syncd.demo import artwork, payloads
from syncd.journal.sqlite import open_journal
from syncd.live import Live
from syncd.model import Arrival, Failed, Fetched
from syncd.observe.metrics import Metrics
from syncd.pipeline import Works, exports, rules_of
from syncd.pipeline.exports import publish_export
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.reading import decide
from syncd.pipeline.room import open_tree

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


async def _nothing_to_open(_):
    return lambda: None


async def _announced(works):
    """An export as a claimed job, its archive fetched."""
    body = json.dumps(payloads.export("https://x.abyssale.com/e.zip")).encode()
    await works.journal.accept(Arrival("abyssale", "d1", None, None, (), body, time.time()))
    config = works.live.config
    decisions = [decide(delivery, config) for delivery in await works.journal.inbox(1)]
    await works.journal.decide(decisions, rules_of(config), works.clock())
    (job,) = await works.journal.claim("exports", 1, works.clock(), frozenset())
    content, path = artwork.archive(MEMBERS), works.store.temp()
    path.write_bytes(content)
    return job, Fetched(path, len(content), hashlib.sha256(content).hexdigest(), "zip", job.asset.url, 1, 0.1)


@pytest.fixture
async def works(tmp_path):
    path = tmp_path / "sync.toml"
    path.write_text(
        'mirror = { root = "mirror" }\njournal = { url = "sqlite:///state/journal.db" }\n'
        'sources.abyssale = { secret = { env = "SECRET" } }\n'
    )
    live = Live(path, _nothing_to_open, lambda _: None, {"SECRET": "s"})
    await live.start()
    async with open_journal(live.config.journal.path) as journal, open_tree(journal, live.config) as tree:
        yield Works(journal, tree, live, Metrics(), time.time)
    await live.close()


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
