"""syncd as it is run in earnest: a process of its own with a config file, all guarantees on.

The config says what a machine without TLS and without a public origin needs; everything else is at its
default, the log at `info` as JSON to a file included. Ports are free ones, read from the log's line `ready`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.contest import BenchmarkError, until
from benchmarks.deliveries import SECRET
from benchmarks.processes import cpu_seconds, memory, serving

_CONFIG = """\
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[sources.abyssale]
secret = {{ env = "BENCHMARK_SECRET" }}
{abyssale}
[mirror]
root = "../mirror"
{mirror}
[journal]
url = "sqlite:///../state/journal.db"
[download]
allowed_hosts = ["127.0.0.1"]
allow_http = true
allow_private = true
{download}
[manifest]
{manifest}
[log]
format = "json"
"""
_SECTIONS = ("abyssale", "mirror", "download", "manifest")


@dataclass(slots=True)
class Daemon:
    """A running daemon below `folder`, and what is asked of it from outside. `ready_at` is in unix seconds."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int = 0
    admin: int = 0
    ready_at: float = 0.0
    _read: int = field(default=0, repr=False)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    @property
    def root(self) -> Path:
        """The mirror's root."""
        return self.folder / "mirror"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "state" / "journal.db"

    @property
    def cpu(self) -> float:
        """CPU seconds since its start."""
        return cpu_seconds(self.pid)

    @property
    def peak(self) -> float:
        """The most memory it has had, in MB."""
        return memory(self.pid, "VmHWM")

    def status(self) -> Any:
        """What `/api/status` says."""
        return json.loads(ask(self.admin, "/api/status"))

    def logged(self, message: str, *, within: float = 30.0) -> dict[str, Any]:
        """Wait for a line of the log that was not looked at before; returns its facts."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            self.check()
            with (self.folder / "log").open("rb") as log:
                log.seek(self._read)
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    if message.encode() in line and line.startswith(b"{"):
                        found.append(json.loads(line))
                        return True
            return False

        until(look, f"the log says {message!r}", within=within)
        return found[0]

    def check(self) -> None:
        """Raise BenchmarkError if the process has ended."""
        if (code := self.process.poll()) is not None:
            last = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise BenchmarkError(f"the daemon ended with {code}:\n{last}")

    def until_read(self, *, within: float = 600.0) -> None:
        """Wait until all stored deliveries have been read.

        The journal is asked, beside the daemon and through an index that holds none but the unread.
        """
        with contextlib.closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as db:

            def all_read() -> bool:
                self.check()
                (unread,) = db.execute("SELECT count(*) FROM deliveries WHERE read = 0").fetchone()
                return not unread

            until(all_read, "all deliveries are read", within=within, every=0.1)

    def until_indexed(self, *, assets: int = 0, exports: int = 0, within: float = 120.0) -> float:
        """Wait until the index counts at least so many; returns the unix time at which that one became visible.

        Only a new index is opened, so that waiting costs the daemon nothing.
        """
        path, seen, at = self.root / "manifest.json", (0, 0), 0.0

        def look() -> bool:
            nonlocal seen, at
            self.check()
            try:
                with path.open("rb") as file:
                    state = os.fstat(file.fileno())
                    mark = state.st_ino, state.st_ctime_ns
                    if mark == seen:
                        return False
                    seen, at = mark, state.st_ctime
                    totals = json.load(file)["totals"]
            except FileNotFoundError:
                return False
            return bool(totals["assets"] >= assets and totals["exports"] >= exports)

        until(look, f"the index names {assets} assets and {exports} exports", within=within, every=0.005)
        return at

    def entries(self) -> list[dict[str, Any]]:
        """Every entry of every folder's manifest."""
        index = json.loads((self.root / "manifest.json").read_bytes())
        documents = [json.loads((self.root / line["manifest"]).read_bytes()) for line in index["folders"]]
        return [entry for document in documents for entry in document["assets"]]

    def published_at(self, expected: Mapping[str, int]) -> float:
        """Hold the tree against file names and sizes in bytes; returns when the last was durably visible, in unix time.

        That is the latest `published_at`, taken after file and folder were synced.
        """
        entries = self.entries()
        named = {Path(entry["path"]).name: entry["bytes"] for entry in entries}
        if named != dict(expected):
            raise BenchmarkError(f"the manifests name {len(named)} files, not the {len(expected)} that were announced")
        for entry in entries:
            if (self.root / entry["path"]).stat().st_size != entry["bytes"]:
                raise BenchmarkError(f"{entry['path']} is not as large as its manifest says")
        return max(unix(entry["published_at"]) for entry in entries)


def unix(moment: str) -> float:
    """Unix seconds of a time as manifests and log say it."""
    return datetime.fromisoformat(moment).timestamp()


def ask(port: int, path: str) -> bytes:
    """GET from a server on this machine. Raises BenchmarkError for any answer other than 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise BenchmarkError(f"port {port} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchmarkError(f"port {port} answers {answer.status} to {path}")
    return body


def write_config(folder: Path, **sections: str) -> Path:
    """Write a config as an editor does, as a new file in the old one's place; each section takes lines of its own."""
    text = _CONFIG.format(**{**dict.fromkeys(_SECTIONS, ""), **sections})
    tomllib.loads(text)  # a mistake here is ours
    path = folder / "config" / "sync.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
    return path


@contextmanager
def syncd(folder: Path, **sections: str) -> Iterator[Daemon]:
    """Run the daemon with what `write_config` writes; it is ready, and is stopped at the end."""
    config = write_config(folder, **sections)
    (folder / "state").mkdir(exist_ok=True)
    log = folder / "log"
    log.unlink(missing_ok=True)
    command = (sys.executable, "-m", "syncd", "run", "--config", config)
    with serving(command, log=log, env={"BENCHMARK_SECRET": SECRET}) as process:
        daemon = Daemon(folder, process)
        ready = daemon.logged('"ready"', within=60)
        daemon.port, daemon.admin = (int(ready[name].rpartition(":")[2]) for name in ("listen", "admin"))
        daemon.ready_at = unix(ready["time"])
        yield daemon
        daemon.check()
