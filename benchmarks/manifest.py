"""What one more banner costs in a tree that is there already: of a thousand assets up to a million.

At every size the new ones go to the same ten folders of a hundred assets each, ten a second, so that as many manifests
are to be written, and the index, which names every folder, about twice a second. After that come single ones, each
posted when the one before is named: `named` is the median of those, and begins with the wait of half of
`manifest.delay` that lets a burst be written once.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks import load
from benchmarks.contest import Contender, Contest, Figures, Goal, Setting
from benchmarks.corpus import Banner, make_banners
from benchmarks.daemon import Daemon, syncd
from benchmarks.deliveries import announcement, signed
from benchmarks.history import banner_in, fill
from benchmarks.origin import nginx
from benchmarks.processes import fine_cpu_seconds

ABOUT = "CPU of one more banner, from POST to manifest, by the size of the tree"
PEERS = ("nginx",)

_FOLDERS = 10
_PACE = 10
_BYTES = 4000


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Fill the journals; they grow by the new banners of each round."""
    sizes = (1000, 10_000) if setting.quick else (1000, 10_000, 100_000, 1_000_000)
    files = setting.folder / "origin"
    files.mkdir()
    fresh = count(10_000_001)
    with nginx(setting.folder / "nginx", files) as port:
        contenders: dict[str, Contender] = {}
        for size in sizes:
            folder = setting.folder / f"tree-{size}"
            fill(folder / "state" / "journal.db", size)
            contenders[_label(size)] = _in_tree(folder, size, files, f"http://127.0.0.1:{port}", fresh, setting)
        least, most = _label(sizes[0]), _label(sizes[-1])
        goal = Goal(f"CPU of an event: {most} against {least}", "event", most, "at most", 1.2, to=least)
        yield Contest(contenders, {"event": "ms CPU", "named": "ms", "rss": "MB"}, [goal])


def _label(size: int) -> str:
    return f"{size:,} assets"


def _in_tree(folder: Path, size: int, files: Path, url: str, fresh: Iterator[int], setting: Setting) -> Contender:
    there = size
    paced, single = setting.size(200, 40), setting.size(20, 4)
    requests = setting.folder / "requests"

    def announce(daemon: Daemon, banners: list[Banner], pace: float) -> float:
        """Post these, wait until all are named; returns the seconds from the first POST on."""
        nonlocal there
        number = load.write(requests, signed((announcement(banner, url) for banner in banners), salt=str(there)))
        there += number
        said = load.finish(load.start(daemon.port, requests, connections=4, pace=pace))
        return daemon.until_indexed(assets=there) - said.began

    def one_more(_: Path) -> Figures:
        banners = [banner_in(number % _FOLDERS, next(fresh), _BYTES) for number in range(1 + paced + single)]
        make_banners(files, banners, setting.seed)
        (folder / "mirror" / "manifest.json").unlink(missing_ok=True)  # so that it is seen when a start has written it
        with syncd(folder) as daemon:
            daemon.until_indexed(assets=there)
            announce(daemon, banners[:1], 0)  # the first download loads what all of them need
            before = fine_cpu_seconds(daemon.pid)
            announce(daemon, banners[1 : 1 + paced], _PACE)
            cpu = fine_cpu_seconds(daemon.pid) - before
            named = [announce(daemon, [banner], 0) for banner in banners[1 + paced :]]
            return {"event": cpu * 1e3 / paced, "named": statistics.median(named) * 1e3, "rss": daemon.peak}

    return one_more
