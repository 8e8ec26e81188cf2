"""The programs that syncd is measured against, from Debian, installed where that may be done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.deliveries import SECRET
from benchmarks.origin import until_open
from benchmarks.processes import run, serving
from syncd.demo.ports import free_port

_PACKAGES = {
    "nginx": "nginx-light",
    "webhook": "webhook",
    "rclone": "rclone",
    "aria2c": "aria2",
    "curl": "curl",
    "bsdtar": "libarchive-tools",
    "unzip": "unzip",
}
_VERSION = {"nginx": "-v", "webhook": "-version", "bsdtar": "--version", "unzip": "-v"}
_SIGNED = {
    "match": {
        "type": "payload-hmac-sha256",
        "secret": SECRET,
        "parameter": {"source": "header", "name": "X-Signature"},
    }
}
_NEVER = {"match": {"type": "value", "value": "nobody", "parameter": {"source": "header", "name": "X-Referer"}}}


def ensure(programs: Iterable[str]) -> None:
    """Install what is absent with apt, as root. Raises SystemExit with the packages' names where that can't be done."""
    absent = [_PACKAGES[program] for program in programs if _where(program) is None]
    if not absent:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"please install {' '.join(absent)}")
    print(f"installing {' '.join(absent)} ...", flush=True)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(("apt-get", "update", "-q"), may_fail=True)
    run(("apt-get", "install", "-q", "-y", "--no-install-recommends", *absent))


def versions(programs: Iterable[str]) -> dict[str, str]:
    """What each says of itself, in one line."""
    said = {}
    for program in programs:
        command = (_where(program) or program, _VERSION.get(program, "--version"))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said[program] = (done.stdout or done.stderr).partition("\n")[0].strip()
    return said


def _where(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


@contextmanager
def webhook(folder: Path, command: Path | str, *, matching: bool = True, **hook: Any) -> Iterator[tuple[int, int]]:
    """Run adnanh/webhook with one signed hook that answers first and then runs a command; gives its port and pid.

    Without `matching` a rule that never holds comes first, so that nothing is ever run.
    """
    rule = {"and": [_SIGNED] if matching else [_NEVER, _SIGNED]}
    hooks = [{"id": "banner", "execute-command": str(command), "trigger-rule": rule, **hook}]
    config = folder / "hooks.json"
    config.write_text(json.dumps(hooks))
    port = free_port()
    words = ("webhook", "-hooks", config, "-ip", "127.0.0.1", "-port", str(port))
    with serving(words, log=folder / "webhook.log") as process:
        until_open(port)
        yield port, process.pid
