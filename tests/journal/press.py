"""A journal at work with a tree in memory: every step of the pipeline by hand, in any order, crashes included."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from syncd.config import Mirror
from syncd.journal import Again, Decision, Dropped, Finished, GaveUp, Manifested, Placement, Published, Rules
from syncd.journal.sqlite import SqliteJournal, open_journal
from syncd.mirror import manifest
from syncd.mirror.names import Names
from syncd.model import (
    Arrival,
    Asset,
    Failed,
    Fetched,
    FolderContents,
    FolderLine,
    Format,
    Job,
    Retry,
    Template,
    TemplateStatus,
    held_key,
)

START = 1_790_000_000.0
HOUR = 3600.0
SPRING = Template("t1", "Spring sale")
SQUARE = Format("square", 300, 300, "px")
Step = tuple[Job, Fetched, Placement | str]


async def index_of(journal: SqliteJournal) -> tuple[list[FolderLine], list[dict[str, Any]]]:
    """All that the index names, at once."""
    return await journal.index(lambda folders, exports: (list(folders), list(exports)))


def rules(layout: str = "{template}/{format}/{filename}", keep_versions: int = 1, **gates: object) -> Rules:
    mirror = Mirror.model_validate({"root": "/unused", "layout": layout, "keep_versions": keep_versions})
    return Rules(
        Names(mirror), keep_versions, give_up_after=86_400.0, reviewed=frozenset({"abyssale"}), **gates,  # type: ignore[arg-type]
    )  # fmt: skip


def banner(id_: str = "b1", sharing_id: str = "s1", version: int | None = 1, **fields: object) -> Asset:
    said: dict[str, object] = {
        "url": f"https://host.test/{id_}-{version}.png?Signature=secret",
        "type": "png",
        "filename": "a.png",
        "template": SPRING,
        "format": SQUARE,
    }
    return Asset("abyssale", "file", id_, sharing_id=sharing_id, version=version, **{**said, **fields})  # type: ignore[arg-type]


def export(id_: str = "e1", **fields: object) -> Asset:
    return Asset("abyssale", "export", id_, **{"url": f"https://host.test/{id_}.zip", **fields})  # type: ignore[arg-type]


def arrival(name: str | None, body: bytes = b"{}", at: float = START, signed_at: str | None = None) -> Arrival:
    return Arrival("abyssale", name, signed_at, None, (("Content-Type", "application/json"),), body, at)


def content_of(asset: Asset) -> bytes:
    return f"{asset.id} {asset.version} {asset.url}".encode()


def download(asset: Asset, content: bytes | None = None) -> Fetched:
    content = content_of(asset) if content is None else content
    digest = hashlib.sha256(content).hexdigest()
    return Fetched(Path("unused"), len(content), digest, asset.type, asset.url, attempts=1, seconds=0.1)


class Press:
    """Drives the verbs as the pipeline does.

    `tree` is what a reader sees, `manifests` what is on disk of them, `held` what lies out of sight.
    """

    def __init__(self, journal: SqliteJournal, in_force: Rules) -> None:
        self.journal = journal
        self.rules = in_force
        self.now = START
        self.tree: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.manifests: dict[str, FolderContents] = {}
        self._deliveries = 0

    async def announce(
        self, *assets: Asset, status: TemplateStatus | None = None, outcome: str = "accepted", batch: str = ""
    ) -> Sequence[Finished]:
        self._deliveries += 1
        self.now += 1
        await self.journal.accept(arrival(f"d{self._deliveries}", at=self.now))
        (delivery,) = await self.journal.inbox(10)
        decision = Decision(delivery, "NEW_BANNER", outcome, "", assets, status, batch=batch)  # type: ignore[arg-type]
        return await self.journal.decide([decision], self.rules, self.now)

    async def jobs(self) -> list[Job]:
        lanes = [await self.journal.claim(lane, 1000, self.now + 1e6, frozenset()) for lane in ("visuals", "exports")]
        return [job for lane in lanes for job in lane]

    async def job(self, version: int | None = None) -> Job:
        """The only job, or that of a version."""
        (job,) = [job for job in await self.jobs() if version is None or job.asset.version == version]
        return job

    async def place(self, job: Job, content: bytes | None = None) -> Step:
        fetched = download(job.asset, content)
        (placement,) = await self.journal.place([(job, fetched)], self.rules)
        return job, fetched, placement

    def move(self, step: Step) -> None:
        _, fetched, placement = step
        assert isinstance(placement, Placement)
        former = placement.former or placement.key
        if placement.keep_as is not None and former in self.tree:
            self.tree.setdefault(placement.keep_as, self.tree[former])
        if step[0].held:
            self.held.pop(held_key(step[0].row))
        into = self.held if placement.closed else self.tree
        into[placement.key] = fetched.sha256

    async def settle(self, step: Step) -> Sequence[Finished]:
        return await self.journal.settle([self.ending(step)], self.rules, self.now)

    def ending(self, step: Step) -> Published | Dropped:
        job, fetched, placement = step
        if isinstance(placement, str):
            return Dropped(job, placement)
        return Published(placement, job, fetched, self.now, placement.key)

    async def publish(self, version: int | None = None, content: bytes | None = None) -> Placement | str:
        step = await self.place(await self.job(version), content)
        if isinstance(step[2], Placement):
            self.move(step)
        await self.settle(step)
        return step[2]

    async def give_up(self, job: Job) -> Sequence[Finished]:
        return await self.journal.settle([GaveUp(job, Failed("410", 1))], self.rules, self.now)

    async def recover(self) -> None:
        """What is done after a crash."""
        for job, fetched, placement in await self.journal.interrupted():
            if {**self.tree, **self.held}.get(placement.key) == fetched.sha256:
                await self.settle((job, fetched, placement))
        await self.journal.forget_placing()
        sizes = dict(self.rows("SELECT asset, bytes FROM assets"))
        there = {row: sizes.get(row, 0) for row in (int(key.rpartition("/")[2]) for key in self.held)}
        for row in await self.journal.holding.match(there, self.rules, self.now):  # type: ignore[arg-type]
            del self.held[held_key(row)]

    async def write_manifests(self) -> list[Manifested]:
        folders, _ = await self.journal.stale(100)
        self.manifests.update({folder.folder: folder for folder in folders})
        return [Manifested(manifest.line_of(folder), folder.change) for folder in folders]

    async def name_all(self) -> None:
        """Bring every manifest up to date."""
        await self.journal.manifested(await self.write_manifests(), [])

    async def sweep(self) -> None:
        files = await self.journal.holding.withdrawn(100)
        for key, row in files:
            if key in self.tree:
                self.held[held_key(row)] = self.tree.pop(key)
        await self.journal.holding.set_aside(files, self.rules, self.now)
        keys = await self.journal.removable(100)
        for key in keys:
            self.tree.pop(key, None)
            self.held.pop(key, None)
        await self.journal.removed(keys, self.rules, self.now)

    async def review(self) -> int:
        """Hold everything against the gates; returns how many files that takes back."""
        withdrawn, more = 0, True
        while more:
            step = await self.journal.holding.review(self.rules, 2, self.now)
            withdrawn, more = withdrawn + step.withdrawn, step.more
        return withdrawn

    async def let_out(self) -> None:
        """Publish what was held and may be visible."""
        while await self.journal.holding.opened():
            steps = await self.place_opened()
            for step in steps:
                self.move(step)
            await self.journal.settle([self.ending(step) for step in steps], self.rules, self.now)

    async def place_opened(self) -> list[Step]:
        """Place what was held and may be visible, as the publisher does: the newest of each visual.

        What is outdated is settled, and what is not there.
        """
        opened = await self.journal.holding.opened()
        batch = {job.visual: (job, fetched) for job, fetched in reversed(opened)}
        placements = await self.journal.place(list(batch.values()), self.rules)
        steps: list[Step] = []
        for (job, fetched), placement in zip(batch.values(), placements, strict=True):
            step = job, fetched, placement
            if isinstance(placement, Placement) and held_key(job.row) in self.held:
                steps.append(step)
            elif isinstance(placement, Placement):
                again = Again(job, Retry("the file that was held is gone", 0), self.now)
                await self.journal.settle([again], self.rules, self.now)
            else:
                await self.settle(step)
        return steps

    async def catch_up(self) -> None:
        await self.name_all()
        await self.sweep()

    def named(self) -> dict[str, str]:
        """What the manifests on disk say: key to SHA-256."""
        return {listed.key: listed.sha256 for folder in self.manifests.values() for listed in folder.listed}

    def current(self) -> dict[str, int | None]:
        """The newest versions that the manifests name."""
        return {
            listed.key: listed.version
            for folder in self.manifests.values()
            for listed in folder.listed
            if not listed.superseded
        }

    def under(self, **changes: object) -> None:
        """Go on under another config."""
        mirror = Mirror.model_validate({"root": "/unused", **changes})
        self.rules = replace(self.rules, naming=Names(mirror), keep_versions=mirror.keep_versions)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Look into the tables, where no verb says it."""
        return [tuple(row) for row in self.journal._db.execute(query, values)]

    def states(self) -> dict[int | None, str]:
        """Each version's state; versions must differ."""
        return dict(self.rows("SELECT version, state FROM assets"))  # type: ignore[arg-type]

    def outcomes(self) -> dict[str, str]:
        return dict(self.rows("SELECT id, outcome FROM deliveries"))  # type: ignore[arg-type]


@asynccontextmanager
async def press_at(path: Path, in_force: Rules | None = None) -> AsyncIterator[Press]:
    async with open_journal(path) as journal:
        yield Press(journal, in_force or rules())
