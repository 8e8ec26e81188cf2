"""The pipeline's works over a real journal and a real tree, for steps that are taken by hand."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from syncd.config import Loaded
from syncd.journal.sqlite import open_journal
from syncd.live import Live
from syncd.model import Arrival, Fetched, Job
from syncd.observe.metrics import Metrics
from syncd.pipeline import Works, rules_of
from syncd.pipeline.reading import decide
from syncd.pipeline.room import open_tree


async def _nothing_to_open(_: Loaded) -> Callable[[], None]:
    return lambda: None


@asynccontextmanager
async def works_at(folder: Path) -> AsyncIterator[Works]:
    """Works whose state is below `folder`."""
    path = folder / "sync.toml"
    path.write_text(
        'mirror = { root = "mirror" }\njournal = { url = "sqlite:///state/journal.db" }\n'
        'sources.abyssale = { secret = { env = "SECRET" } }\n'
    )
    live = Live(path, _nothing_to_open, lambda _: None, {"SECRET": "s"})
    await live.start()
    async with open_journal(live.config.journal.path) as journal, open_tree(journal, live.config) as tree:
        yield Works(journal, tree, live, Metrics(), time.time)
    await live.close()


async def announced(works: Works, payload: Any, content: bytes) -> tuple[Job, Fetched]:
    """What a payload announces as a claimed job, its file fetched."""
    body = json.dumps(payload).encode()
    await works.journal.accept(Arrival("abyssale", None, None, None, (), body, time.time()))
    config = works.live.config
    decisions = [decide(delivery, config) for delivery in await works.journal.inbox(1)]
    await works.journal.decide(decisions, rules_of(config), works.clock())
    (asset,) = decisions[0].assets
    (job,) = await works.journal.claim(asset.lane, 1, works.clock(), frozenset())
    path = works.store.temp()
    path.write_bytes(content)
    return job, Fetched(path, len(content), hashlib.sha256(content).hexdigest(), asset.type or "zip", asset.url, 1, 0.1)
