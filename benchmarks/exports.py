"""Exports: from the POST until the folder is visible for good; and unpacking by itself.

Peers download with curl, unpack with bsdtar or unzip, and end with `sync -f`. By themselves, syncd's `extract`, with
its checks, hashes and syncs, is held against bsdtar and `sync -f`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.contest import BenchmarkError, Contender, Contest, Figures, Goal, Setting
from benchmarks.corpus import make_archive
from benchmarks.daemon import syncd, unix
from benchmarks.deliveries import archive_announcement, signed
from benchmarks.origin import nginx
from benchmarks.processes import run_and_sync

ABOUT = "exports, POST until visible, against curl with bsdtar or unzip; and unpacking alone, against bsdtar"
PEERS = ("nginx", "curl", "bsdtar", "unzip")


@dataclass(frozen=True, slots=True)
class _Archive:
    label: str
    path: Path
    files: int
    url: str


@contextmanager
def stage(setting: Setting) -> Iterator[Contest]:
    """Make the archives and serve them."""
    served = setting.folder / "origin"
    few, many = setting.size(500, 50), setting.size(5000, 300)
    contenders: dict[str, Contender] = {}
    goals: list[Goal] = []
    with nginx(setting.folder / "nginx", served) as port:
        for files, deflated in ((few, True), (many, True), (many, False)):
            word = "deflated" if deflated else "stored"
            path = served / f"{files}-{word}.zip"
            make_archive(path, files, setting.seed, deflated=deflated)
            archive = _Archive(f"{files:,} {word}", path, files, f"http://127.0.0.1:{port}/{path.name}")
            contenders |= _contenders(archive, setting.folder / "requests")
            if deflated:
                goals += _goals(archive.label)
        yield Contest(contenders, {"seconds": "s", "cpu": "s", "rss": "MB"}, goals, ["peers' times include `sync -f`"])


def _goals(label: str) -> list[Goal]:
    return [
        Goal(
            f"{label}: times the speed of {peer}",
            "seconds",
            f"{who}, {label}",
            "at least",
            1.5,
            f"{peer}, {label}",
            True,
        )
        for who, peer in (("syncd", "curl + bsdtar"), ("extract alone", "bsdtar alone"))
    ]


def _contenders(archive: _Archive, requests: Path) -> dict[str, Contender]:
    def announced(folder: Path) -> Figures:
        load.write(requests, signed([archive_announcement(archive.url, 1)]))
        with syncd(folder) as daemon:
            cpu = daemon.cpu
            said = load.post(daemon.port, requests)
            daemon.until_indexed(exports=1)
            used, peak = daemon.cpu - cpu, daemon.peak
            (line,) = json.loads((daemon.root / "manifest.json").read_bytes())["exports"]
            _check(daemon.root / line["path"], archive.files)
        return {"seconds": unix(line["published_at"]) - said.began, "cpu": used, "rss": peak}

    def by(*unpack: str | Path, download: bool) -> Contender:
        def unpacked(folder: Path) -> Figures:
            tree, here = folder / "tree", folder / "archive.zip" if download else archive.path
            tree.mkdir()
            curl = ("curl", "-q", "-sS", "-o", here, archive.url)
            words = (*(part if part != "ARCHIVE" else here for part in unpack), tree)
            cost = run_and_sync(folder, *([curl] if download else []), words)
            _check(tree, archive.files)
            return {"seconds": cost.seconds, "cpu": cost.cpu, "rss": cost.rss}

        return unpacked

    def alone(folder: Path) -> Figures:
        words = (sys.executable, "-m", "benchmarks.unpack", archive.path, folder / "tree")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"extract failed: {done.stderr[-400:]}")
        _check(folder / "tree", archive.files)
        return {"seconds": float(done.stdout)}

    bsdtar, unzip = ("bsdtar", "-xf", "ARCHIVE", "-C"), ("unzip", "-q", "ARCHIVE", "-d")
    made: dict[str, Contender] = {
        "syncd": announced,
        "curl + bsdtar": by(*bsdtar, download=True),
        "curl + unzip": by(*unzip, download=True),
        "extract alone": alone,
        "bsdtar alone": by(*bsdtar, download=False),
    }
    return {f"{name}, {archive.label}": contender for name, contender in made.items()}


def _check(tree: Path, files: int) -> None:
    """Count the files; syncd's own manifest lies beside its folder."""
    found = sum(path.is_file() for path in tree.rglob("*"))
    if found != files:
        raise BenchmarkError(f"{found} files were unpacked, not {files}")
