"""Signed deliveries, each different, over 64 connections: how many are answered a second, and after how long.

syncd has each on disk before it answers. Its filter lets none of them through, so that nothing is downloaded
meanwhile; reading them, in transactions of their own, goes on beside the answering as ever. Its peer `webhook`
verifies its own kind of signature over the same bodies, answers, then runs /bin/true; what it has not run yet is
in memory only. That its rule never matches is measured to see what running costs, nginx' `return 200` to see what
the generator can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contest, Figures, Goal, Setting
from benchmarks.corpus import Banner, banners
from benchmarks.daemon import syncd
from benchmarks.deliveries import HOOK_PATH, announcement, signed, signed_for_webhook
from benchmarks.origin import nginx
from benchmarks.peers import webhook
from benchmarks.processes import cpu_seconds
from syncd.demo.payloads import Payload

ABOUT = "signed deliveries answered: syncd, durable, against webhook that answers first and keeps nothing"
PEERS = ("nginx", "webhook")

_NOWHERE = "http://127.0.0.1:9"


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make the deliveries; they are signed anew for every round."""
    number = setting.size(40_000, 6_000)
    wanted = banners(number, setting.seed)
    requests = setting.folder / "requests"

    def payloads(some: list[Banner]) -> Iterator[Payload]:
        return (announcement(banner, _NOWHERE) for banner in some)

    def durable(folder: Path) -> Figures:
        load.write(requests, signed(payloads(wanted)))
        with syncd(folder, abyssale='templates = ["!*"]') as daemon:
            cpu = daemon.cpu
            posted = load.post(daemon.port, requests)
            used, waiting = daemon.cpu - cpu, _unread(daemon.status(), number)
            daemon.until_read()
            counted = daemon.status()["deliveries"]
            if counted["accepted"] != number or counted["ignored"] != number:
                raise BenchmarkError(f"{number} deliveries were posted, counted are {counted}")
        return {**_figures(posted), "cpu": used * 1e6 / number, "unread": waiting}

    def beside(make: Callable[[Iterable[Payload]], Iterator[bytes]], *, matching: bool) -> Callable[[Path], Figures]:
        def post(folder: Path) -> Figures:
            load.write(requests, make(payloads(wanted)))
            with webhook(folder, "/bin/true", matching=matching) as (port, pid):
                cpu = cpu_seconds(pid)
                posted = load.post(port, requests)
                return {**_figures(posted), "cpu": (cpu_seconds(pid) - cpu) * 1e6 / number}

        return post

    def nothing(folder: Path) -> Figures:
        made = (
            request.replace(HOOK_PATH.encode(), b"/return-200", 1) for request in signed_for_webhook(payloads(wanted))
        )
        load.write(requests, made)
        with nginx(folder / "nginx", folder) as port:
            return _figures(load.post(port, requests))

    peer = "webhook, answers first"
    yield Contest(
        {
            "syncd": durable,
            peer: beside(signed_for_webhook, matching=True),
            "webhook, runs nothing": beside(signed_for_webhook, matching=False),
            "nginx return 200": nothing,
        },
        {
            "rate": "/s",
            "p50": "ms",
            "p99": "ms",
            "longest": "ms",
            "cpu": "us each",
            "generator": "us each",
            "unread": "",
        },
        [
            Goal("rate against webhook that answers first", "rate", "syncd", "at least", 1.3, to=peer),
            Goal("p99 against the same", "p99", "syncd", "at most", 0.2, to=peer),
        ],
        [
            f"{number} deliveries of {len(next(signed(payloads(wanted[:1]))))} bytes with headers, 64 connections",
            "unread: deliveries that were stored and still unread when the last was answered",
        ],
    )


def _unread(status: dict[str, dict[str, float]], number: int) -> float:
    return number - status["deliveries"]["ignored"]


def _figures(posted: load.Posted) -> Figures:
    return {
        "rate": posted.rate,
        "p50": posted.p50,
        "p99": posted.p99,
        "longest": posted.longest,
        "generator": posted.cpu * 1e6 / posted.requests,
    }
