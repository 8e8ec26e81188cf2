"""Saves of the config under load: how long until each is in force, and if any request is lost.

A save is a rename over the file, as editors do it. It counts as in force when the daemon logs so; at the end
`/api/status` must count as many generations as there were saves. Deliveries are posted all the time over 16
keep-alive connections; each must be answered 200, and be in the journal.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contest, Figures, Goal, Setting
from benchmarks.corpus import banners
from benchmarks.daemon import Daemon, syncd, unix, write_config
from benchmarks.deliveries import announcement, signed

ABOUT = "saves of the config in force, under a steady load"
PEERS = ()

_PACE = 200
_LONGEST = 1.0
"""Seconds that a save may take on average before the requests run out."""
_SECTION = 'templates = ["!*"]\ntolerance = "1h"'


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make enough deliveries."""
    saves = setting.size(200, 20)
    wanted = banners(round(saves * _LONGEST * _PACE), setting.seed)
    requests = setting.folder / "requests"

    def saved(folder: Path) -> Figures:
        load.write(requests, signed(announcement(banner, "http://127.0.0.1:9") for banner in wanted))
        with syncd(folder, abyssale=_SECTION) as daemon:
            poster = load.start(daemon.port, requests, connections=16, pace=_PACE)
            try:
                time.sleep(0.5)
                took = sorted(_save(daemon, number) for number in range(saves))
                if poster.poll() is not None:
                    raise BenchmarkError("the deliveries ran out before the saves did")
            finally:
                poster.terminate()
                said = load.finish(poster, all_well=False)
            status = daemon.status()
            kept = status["deliveries"]["accepted"]
            if status["config"]["generation"] != 1 + saves:
                raise BenchmarkError(f"{saves} saves made it generation {status['config']['generation']}")
        return {
            "p50": statistics.median(took),
            "p99": took[min(len(took) - 1, int(len(took) * 0.99))],
            "longest": took[-1],
            "posted": said.requests,
            "lost": max(said.lost + said.refused, said.requests - kept),
            "answer": said.p99,
        }

    yield Contest(
        {"syncd": saved},
        {"p50": "ms", "p99": "ms", "longest": "ms", "posted": "", "lost": "", "answer": "p99 ms"},
        [
            Goal("the slowest save, ms until in force", "longest", "syncd", "at most", 300),
            Goal("requests lost", "lost", "syncd", "at most", 0),
        ],
        [f"{saves} saves a round, {_PACE} deliveries a second"],
    )


def _save(daemon: Daemon, number: int) -> float:
    """Save a changed value; returns the milliseconds until it is in force."""
    began = time.time()
    write_config(daemon.folder, abyssale=_SECTION, download=f'stall_timeout = "{31 + number}s"')
    line = daemon.logged("config in force")
    if line["generation"] != number + 2:
        raise BenchmarkError(f"save {number + 1} made it generation {line['generation']}")
    return (unix(line["time"]) - began) * 1e3
