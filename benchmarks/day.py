"""A day's deliveries as fast as they are taken, to see if memory grows with them.

A tenth are banners that are new, small files of about 2 KB; four tenths repeat one of those, three tenths are
kept out by a filter, two tenths can't be understood. `growth` is the slope of the resident set over time after the
first fifth, by least squares, times the length of that time: what all the rest of the day has added.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contest, Figures, Goal, Setting
from benchmarks.corpus import TEMPLATES, Banner, banners, make_banners
from benchmarks.daemon import syncd
from benchmarks.deliveries import announcement, signed
from benchmarks.origin import nginx
from benchmarks.processes import memory

ABOUT = "memory over a day of deliveries, new, repeated, filtered and malformed"
PEERS = ("nginx",)

_EVERY = 0.2  # seconds between looks at the memory
_FILTERED = f"Campaign {TEMPLATES:02}"
_MALFORMED = b'{"id":"%d","file":{"type":"png","url":["no","text"]}}'


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make the banners' files and serve them."""
    number = setting.size(50_000, 5000)
    wanted = banners(number // 10, setting.seed, median=2000)
    files = setting.folder / "origin"
    make_banners(files, wanted, setting.seed)
    with nginx(setting.folder / "nginx", files) as port:
        requests = setting.folder / "requests"

        def day(folder: Path) -> Figures:
            url = f"http://127.0.0.1:{port}"
            with syncd(folder, abyssale=f'templates = ["*", "!{_FILTERED}"]') as daemon:
                load.write(requests, signed([announcement(wanted[0], url)]))
                load.post(daemon.port, requests)
                daemon.until_indexed(assets=1)  # the first download loads what all of them need
                load.write(requests, _deliveries(wanted, number, url, setting.seed))
                samples = _Samples(daemon.pid)
                with samples.taken():
                    said = load.post(daemon.port, requests)
                    daemon.until_read()
                    ended = daemon.until_indexed(assets=len(wanted))
                counted = daemon.status()["deliveries"]
                if counted["rejected"] or not counted["quarantined"] or not counted["duplicate"]:
                    raise BenchmarkError(f"not the day that was meant: {counted}")
                figures = {"first": samples.found[0][1], "last": samples.found[-1][1], "peak": daemon.peak}
            return {**figures, "growth": samples.growth(), "rate": number / (ended - said.began), "posted": said.rate}

        yield Contest(
            {"syncd": day},
            {"growth": "MB", "first": "MB", "last": "MB", "peak": "MB", "posted": "/s", "rate": "/s, all done"},
            [Goal("growth after the first fifth, MB", "growth", "syncd", "at most", 5)],
            [f"{number} deliveries, {len(wanted)} of them new banners, 64 connections"],
        )


def _deliveries(wanted: list[Banner], number: int, url: str, seed: int) -> Iterator[bytes]:
    """All of the day's requests, in a mixed order in which the first of each banner comes before its repetitions."""
    chance = random.Random(seed)  # noqa: S311 - the same day for everybody
    fresh = list(signed(announcement(banner, url) for banner in wanted))
    kept_out = (replace(banner, template=TEMPLATES) for banner in banners(number * 3 // 10, seed, first=1_000_000))
    filtered = signed((announcement(banner, url) for banner in kept_out), salt="filtered")
    malformed = signed((_MALFORMED % one for one in range(number * 2 // 10)), salt="malformed")
    kinds = ["new"] * len(fresh) + ["filtered"] * (number * 3 // 10) + ["malformed"] * (number * 2 // 10)
    kinds += ["repeated"] * (number - len(kinds))
    chance.shuffle(kinds)
    sent = 0
    for kind in kinds:
        if kind == "new" or (kind == "repeated" and not sent):
            sent += 1
            yield fresh[sent - 1] if sent <= len(fresh) else fresh[-1]
        elif kind == "repeated":
            yield fresh[chance.randrange(min(sent, len(fresh)))]
        else:
            yield next(filtered if kind == "filtered" else malformed)


@dataclass(slots=True)
class _Samples:
    """The resident set over time: seconds of the monotonic clock, MB."""

    pid: int
    found: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take samples for the duration."""
        over = threading.Event()
        thread = threading.Thread(target=self._take, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _take(self, over: threading.Event) -> None:
        while not over.is_set():
            self.found.append((time.monotonic(), memory(self.pid)))
            over.wait(_EVERY)

    def growth(self) -> float:
        """MB that were added after the first fifth of the time, along the straight line that fits best."""
        (began, _), (ended, _) = self.found[0], self.found[-1]
        from_then = began + (ended - began) / 5
        times, sizes = zip(*((at, size) for at, size in self.found if at >= from_then), strict=True)
        if len(times) < 3:
            raise BenchmarkError("the day was too short to see a slope")
        return statistics.linear_regression(times, sizes).slope * (ended - from_then)
