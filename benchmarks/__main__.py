"""The command: `python -m benchmarks [NAME...] [--quick] [--runs N] [--json FILE] [--folder DIR] [--seed N]`."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import orjson
from rich.console import Console

from benchmarks import peers, report
from benchmarks.contest import Benchmark, Result, Setting, play

NAMES = ("acknowledge", "banners", "large", "exports", "manifest", "reload", "day", "start")


def main() -> int:
    """Measure what was asked for; 0 if every goal is met, 1 if not."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped, what was made is removed
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    chosen: dict[str, Benchmark] = {name: importlib.import_module(f"benchmarks.{name}") for name in args.names or NAMES}  # type: ignore[misc]
    programs = sorted({program for module in chosen.values() for program in module.PEERS})
    peers.ensure(programs)
    results: dict[str, Result] = {}
    runs = args.runs or (2 if args.quick else 5)
    with tempfile.TemporaryDirectory(prefix="syncd-benchmarks-", dir=args.folder) as below:
        folder = Path(below)
        folder.chmod(0o755)  # nginx' workers read below it
        disk = report.disk_of(folder)
        console.print(f"{os.cpu_count()} cores, {disk}, {runs} rounds, seed {args.seed}")
        if disk.startswith(("tmpfs", "ramfs")):
            console.print("[red]this is memory, where syncing costs nothing: choose a disk with --folder[/]")
        for name, module in chosen.items():
            console.rule(name, align="left")
            began = time.monotonic()
            setting = Setting(folder / name, args.quick, runs, args.seed)
            setting.folder.mkdir()
            with module.stage(setting) as contest:
                console.print(f"  prepared in {time.monotonic() - began:.0f} s")
                results[name] = play(contest, setting, console.print)
            report.show(console, name, module.ABOUT, results[name])
            shutil.rmtree(setting.folder, ignore_errors=True)
            _write(args.json, results, setting, programs)
    console.print(f"written to {args.json}")
    return 0 if all(map(report.is_good, results.values())) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="syncd beside its peers; see README.md")
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and two rounds")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds (5, quick 2)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the corpus (1)")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench.json"), metavar="FILE", help="(build/bench.json)"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to work: the disk that is measured")
    return parser.parse_args()


def _name(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}")
    return text


def _write(path: Path, results: dict[str, Result], setting: Setting, programs: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = report.document(results, setting, peers.versions(programs))
    path.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    sys.exit(main())
