"""Large files: one film, and several at once, from the POST until they are visible for good.

What syncd needs more memory than at rest is the peak of the resident set (VmHWM, begun anew before the POST) above
what it was then. aria2c is told not to allocate files beforehand, which is what it is fastest with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contender, Contest, Figures, Goal, Setting
from benchmarks.corpus import Banner, make_film
from benchmarks.daemon import syncd
from benchmarks.deliveries import announcement, signed
from benchmarks.origin import nginx
from benchmarks.processes import Cost, forget_peak, memory, run_and_sync

ABOUT = "large films, POST until visible, against curl, aria2c and rclone"
PEERS = ("nginx", "curl", "aria2c", "rclone")


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make the films and serve them."""
    one = [Banner(1, 0, "story", "mp4", setting.size(1 << 30, 64 << 20))]
    size = setting.size(200_000_000, 20_000_000)
    many = [Banner(number, 0, "story", "mp4", size) for number in range(2, 10)]
    files = setting.folder / "origin"
    for film in (*one, *many):
        make_film(files / film.path, film.size, setting.seed + film.number)
    contenders: dict[str, Contender] = {}
    goals: list[Goal] = []
    with nginx(setting.folder / "nginx", files) as port:
        for films in (one, many):
            label = f"{len(films)} x {films[0].size / 1e6:,.0f} MB"
            contenders |= _contenders(films, label, f"http://127.0.0.1:{port}", setting.folder)
            goals += _goals(label)
        yield Contest(
            contenders,
            {"speed": "MB/s", "seconds": "s", "cpu": "s", "rss": "MB", "more": "MB"},
            goals,
            _NOTES,
            keep=False,
        )


_NOTES = (
    "peers' times include `sync -f`; aria2c with --file-allocation=none",
    "rss: the peak; more: how much that is above what the daemon has at rest",
)


def _goals(label: str) -> list[Goal]:
    own = f"syncd, {label}"
    return [
        Goal(f"{label}: times curl's speed", "speed", own, "at least", 1.0, to=f"curl, {label}"),
        Goal(f"{label}: times aria2c's speed", "speed", own, "at least", 1.2, to=f"aria2c, {label}"),
        Goal(f"{label}: MB above rest", "more", own, "at most", 50),
    ]


def _contenders(films: Sequence[Banner], label: str, url: str, folder: Path) -> dict[str, Contender]:
    total = sum(film.size for film in films)
    names, for_aria2, requests = folder / f"names {label}", folder / f"aria2 {label}", folder / "requests"
    names.write_text("".join(f"{film.path}\n" for film in films))
    for_aria2.write_text("".join(f"{url}/{film.path}\n  out={film.path}\n" for film in films))

    def announced(folder: Path) -> Figures:
        load.write(requests, signed(announcement(film, url) for film in films))
        with syncd(folder) as daemon:
            at_rest = memory(daemon.pid)
            forget_peak(daemon.pid)
            cpu = daemon.cpu
            said = load.post(daemon.port, requests)
            daemon.until_indexed(assets=len(films))
            used, peak = daemon.cpu - cpu, daemon.peak
            seconds = daemon.published_at({film.filename: film.size for film in films}) - said.began
        return {"speed": total / 1e6 / seconds, "seconds": seconds, "cpu": used, "rss": peak, "more": peak - at_rest}

    def fetched(tree: Path, cost: Cost) -> Figures:
        if any((tree / film.path).stat().st_size != film.size for film in films):
            raise BenchmarkError("a film is not whole")
        return {"speed": total / 1e6 / cost.seconds, "seconds": cost.seconds, "cpu": cost.cpu, "rss": cost.rss}

    def curl(tree: Path) -> Figures:
        transfers = [word for film in films for word in ("-o", str(tree / film.path), f"{url}/{film.path}")]
        words = ("curl", "-q", "-sS", "-Z", "--parallel-max", "32", "--create-dirs", *transfers)
        return fetched(tree, run_and_sync(tree, words))

    def aria2c(connections: int) -> Contender:
        def fetch(tree: Path) -> Figures:
            words = ("aria2c", "--no-conf", "--quiet", "--file-allocation=none", "-i", for_aria2, "-d", tree)
            options = (f"-j{len(films)}", f"-x{connections}", f"-s{connections}")
            return fetched(tree, run_and_sync(tree, (*words, *options)))

        return fetch

    def rclone(tree: Path) -> Figures:
        words = ("rclone", "copy", "--config", "/dev/null", "--http-url", url, ":http:", tree)
        options = ("--files-from", names, "--transfers", str(len(films)), "--no-traverse")
        return fetched(tree, run_and_sync(tree, (*words, *options)))

    made: dict[str, Contender] = {"syncd": announced, "curl": curl, "aria2c": aria2c(1)}
    made |= {"aria2c -x4": aria2c(4), "rclone": rclone}
    return {f"{name}, {label}": contender for name, contender in made.items()}
