"""A journal with a bit of everything in it, filled through the verbs of the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from syncd.config import Mirror
from syncd.journal import Again, Decision, GaveUp, Published, Rules
from syncd.journal.sqlite import SqliteJournal, open_journal
from syncd.mirror.names import Names
from syncd.model import Arrival, Asset, ExportFile, Failed, Fetched, Format, Job, Retry, Template

NOW = 1_790_000_000.0
RULES = Rules(Names(Mirror.model_validate({"root": "/unused"})), keep_versions=1, give_up_after=86_400.0)
TEMPLATE = Template("t1", "Spring sale")
FORMAT = Format("square", 300, 300, "px")
HEADERS = (("Content-Type", "application/json"), ("X-Twice", "one"), ("X-Twice", "two"), ("X-Secret", "***"))


def banner(number: int, **fields: object) -> Asset:
    said = {
        "source": "abyssale",
        "kind": "file",
        "id": f"b{number}",
        "url": f"https://host.test/{number}.png?Signature=secret",
        "type": "png",
        "sharing_id": f"s{number}",
        "version": 1,
        "filename": f"{number}.png",
        "template": TEMPLATE,
        "format": FORMAT,
    }
    return Asset(**{**said, **fields})


EXPORT = Asset(source="abyssale", kind="export", id="e1", url="https://host.test/e1.zip", generated_at=NOW - 5)


def fetched(url: str, content: bytes = b"content", kind: str = "png") -> Fetched:
    return Fetched(Path("unused"), len(content), "ab" * 32, kind, url, attempts=1, seconds=0.1)


async def accept(journal: SqliteJournal, name: str, at: float = NOW, body: bytes | None = None) -> None:
    await journal.accept(Arrival("abyssale", name, f"{name}", None, HEADERS, body or f"{{{name}}}".encode(), at))


async def read_all(journal: SqliteJournal) -> None:
    """Set aside what nobody has read yet."""
    unread = await journal.inbox(10)
    await journal.decide([Decision(delivery, "", "ignored") for delivery in unread], RULES, NOW)


async def announce(journal: SqliteJournal, name: str, *assets: Asset, at: float = NOW) -> None:
    await accept(journal, name, at)
    (delivery,) = await journal.inbox(10)
    event = "NEW_EXPORT" if assets[0].kind == "export" else "NEW_BANNER"
    await journal.decide([Decision(delivery, event, "accepted", assets=assets)], RULES, at)


async def job_of(journal: SqliteJournal, asset: Asset) -> Job:
    jobs = await journal.claim(asset.lane, 1000, NOW + 1e6, frozenset())
    return next(job for job in jobs if job.asset.id == asset.id)


async def publish(journal: SqliteJournal, asset: Asset, files: tuple[ExportFile, ...] | None = None) -> None:
    job = await job_of(journal, asset)
    file = fetched(asset.url, kind="zip" if files else "png")
    (placement,) = await journal.place([(job, file)], RULES)
    await journal.settle([Published(placement, job, file, NOW + 2, placement.key, files=files)], RULES, NOW + 2)


@asynccontextmanager
async def filled(path: Path) -> AsyncIterator[SqliteJournal]:
    """One each that is published, waits, waits after a failed go, failed, is quarantined and is unread; an export."""
    async with open_journal(path) as journal:
        await announce(journal, "d-published", banner(1), at=NOW)
        await publish(journal, banner(1))
        await announce(journal, "d-waiting", banner(2), at=NOW + 1)
        await announce(journal, "d-retrying", banner(3), at=NOW + 2)
        again = Again(await job_of(journal, banner(3)), Retry("503 from host.test", attempts=5), NOW + 120)
        await journal.settle([again], RULES, NOW + 3)
        await announce(journal, "d-failed", banner(4), at=NOW + 3)
        ended = GaveUp(await job_of(journal, banner(4)), Failed("404 from host.test", attempts=3))
        await journal.settle([ended], RULES, NOW + 4)
        await announce(journal, "d-export", EXPORT, at=NOW + 4)
        await publish(journal, EXPORT, (ExportFile("a.png", 3, "cd" * 32), ExportFile("b/c.png", 4, "ef" * 32)))
        await accept(journal, "d-odd", NOW + 5, b"\xff\x00 not <JSON>")
        (odd,) = await journal.inbox(10)
        await journal.decide([Decision(odd, "", "quarantined", "not JSON")], RULES, NOW + 5)
        await accept(journal, "d-unread", NOW + 6)
        yield journal
