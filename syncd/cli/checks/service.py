"""The daemon itself: whether one runs, answers and is the one that is installed, and what it runs under."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from syncd import __version__
from syncd.cli.asking import ask
from syncd.cli.checks import Finding
from syncd.cli.checks.users import named
from syncd.cli.where import Places, public
from syncd.config import Address, Config
from syncd.errors import SyncdError
from syncd.journal.whereabouts import process
from syncd.observe.text import wrong

_TIMEOUT = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_UNIT = re.compile(r"([A-Za-z0-9@:_.\\-]+\.service)/?$", re.MULTILINE)


def daemon(where: Places, config: Config | None) -> Iterator[Finding]:
    """Ask the daemon of a config how it is; `config` is what is known of the file, if it is valid."""
    yield Finding("ok", "version", "syncd", __version__)
    pid = process(where.journal)
    try:
        status = ask(where.admin, "/api/status")
    except SyncdError as error:
        yield Finding("failure", "daemon", str(where.admin), str(error), error.hint)
        return
    if status is None:
        yield from _silent(pid, where)
        return
    yield Finding("ok", "daemon", str(where.admin), f"answers, up since {status['started_at']}")
    if status["version"] != __version__:
        message = f"runs {status['version']}, while {__version__} is installed"
        yield Finding("warning", "daemon", str(where.admin), message, "systemctl restart syncd")
    for reason in status["reasons"]:
        yield Finding("failure", "daemon", str(where.admin), reason)
    if status["config"]["error"]:
        message = f"has not taken the config: {wrong(status['config']['error'])}"
        yield Finding("failure", "daemon", str(where.admin), message, "syncd check")
    yield from _listening(config)
    yield from _service(pid)


def _silent(pid: int | None, where: Places) -> Iterator[Finding]:
    if pid is None:
        yield Finding("warning", "daemon", str(where.admin), "does not run", "systemctl start syncd, or `syncd run`")
    else:
        hint = "it may be starting or stopping; its log says more"
        yield Finding("failure", "daemon", str(where.admin), f"process {pid} has the journal, but nobody answers", hint)


def _listening(config: Config | None) -> Iterator[Finding]:
    """Connect to the public listener, as the proxy in front of it does."""
    if config is None:
        return
    listen = public(config)
    if not listen.path and listen.port == 0:
        return
    try:
        _connect(listen)
    except OSError as error:
        message = f"the public listener does not answer ({error.strerror or 'too late'})"
        yield Finding("failure", "daemon", str(listen), message, "does a socket unit listen somewhere else?")
    else:
        yield Finding("ok", "daemon", str(listen), "the public listener answers")


def _connect(listen: Address) -> None:
    if listen.path:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_TIMEOUT)
            client.connect(listen.path)
    else:
        socket.create_connection((_ANY.get(listen.host, listen.host), listen.port), _TIMEOUT).close()


def _service(pid: int | None) -> Iterator[Finding]:
    """Say which unit of systemd the daemon belongs to, if any."""
    if pid is None:
        return
    try:
        unit = _UNIT.search(Path(f"/proc/{pid}/cgroup").read_text())
        user = named(os.stat(f"/proc/{pid}").st_uid)  # noqa: PTH116 - of a process, not of a file
    except OSError:
        return
    if unit is None:
        yield Finding("ok", "service", f"process {pid}", f"runs as {user}, under no unit of systemd")
    else:
        yield Finding("ok", "service", unit[1], f"process {pid} runs as {user}")
