"""A download as a pipeline would have it done: terms, limits, and a folder for temp files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp

from syncd.config.tree import Config, Download, Mirror, Retry
from syncd.mirror.fetch import LookUp, Means, fetch
from syncd.mirror.limits import Bandwidth, Slots
from syncd.mirror.outages import Outages
from syncd.mirror.part import Parts, discard
from syncd.model import Asset

DOWNLOAD = {
    "allowed_hosts": ["127.0.0.1"],
    "allow_http": True,
    "allow_private": True,
    "max_size": "60MiB",
    "connect_timeout": "5s",
    "stall_timeout": "5s",
}
RETRY = {"attempts": 3, "first": "1ms", "longest": "5ms"}


def settings(download: dict | None = None, retry: dict | None = None) -> Config:
    return Config.model_construct(
        mirror=Mirror.model_construct(min_free=0),
        download=Download(**DOWNLOAD | (download or {})),
        retry=Retry(**RETRY | (retry or {})),
    )


async def nothing_new(asset: Asset) -> Asset:
    return asset


@dataclass
class Desk:
    """What a pipeline would hold: the terms in force, the limits, and a folder for temp files."""

    session: aiohttp.ClientSession
    folder: Path
    config: Config = field(default_factory=settings)
    borrowed: int = 0
    slots: Slots = field(default_factory=lambda: Slots(lambda: (8, 8)))
    numbers: Iterator[int] = field(default_factory=count)
    outages: Outages = field(default_factory=Outages)
    look_up: LookUp = field(default=nothing_new)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def client(self) -> aiohttp.ClientSession:
        return self.session

    @contextmanager
    def borrow(self) -> Iterator[Desk]:
        self.borrowed += 1
        try:
            yield self
        finally:
            self.borrowed -= 1

    async def fetch(self, url: str, fallback="", *, type="png", kind="file", id="1", parts: Parts | None = None):  # noqa: A002 - the asset's word
        asset = Asset(source="abyssale", kind=kind, id=id, url=url, fallback_url=fallback, type=type)
        go_parts: Parts = {} if parts is None else parts
        try:
            return await fetch(asset, go_parts, self.means())
        finally:
            if parts is None:  # there won't be another go
                discard(go_parts)

    def means(self, **others) -> Means:
        everything = {
            "temp": lambda: self.folder / f"{next(self.numbers)}.part",
            "borrow": self.borrow,
            "slots": self.slots,
            "bandwidth": Bandwidth(lambda: self.config.download.bandwidth),
            "outages": self.outages,
            "look_up": self.look_up,
            "sleep": self.sleep,
        }
        return Means(**everything | others)

    def leftovers(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.suffix != ".gone"]  # that one is on its way out
