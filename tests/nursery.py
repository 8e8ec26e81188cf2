"""A process that has imported the daemon and forks a child for each start, so that no start pays for the imports again.

A child is a real process with a pid, signals and an exit code of its own; it runs a function that a
fresh interpreter would run. The nursery starts with the first request, has one thread and no event
loop, and ends with the process that asks. What an interpreter does before that function (finding
modules, reading `PYTHON…` variables) is not seen here: a few tests start `python -m syncd` for that.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

LEARNED = ("syncd.cli", "syncd.daemon", "syncd.mirror.client", "crash.saboteur", "anyio.to_thread", "encodings.idna")
"""Imported before any fork: what is run, and what a daemon imports only when it runs."""
LONGEST = 1 << 17
"""Bytes of a request; its environment is most of it."""
READ_AT_IMPORT = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
"""Variables that a child can't have otherwise: aiohttp reads them when it is imported."""


class Child:
    """A forked process, asked as an `asyncio.subprocess.Process` is; it is killed once nobody listens for its end."""

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(told, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._told)
        with self._told:
            self.returncode = _number(self._told.recv(16))
        self._ended.set()

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens where the process has ended, as with one that nobody has waited for."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end; returns the exit code, or the signal's number below zero."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


async def born(entry: str, *args: str, env: Mapping[str, str], stderr: IO[bytes]) -> Child:
    """Fork a child that calls `entry`, "module:function", with these arguments in `sys.argv`."""
    assert {name: env.get(name) for name in READ_AT_IMPORT} == READ_AT_IMPORT, "this needs a fresh interpreter"
    told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told.setblocking(False)
    request = {"entry": entry, "args": args, "env": dict(env), "cwd": str(Path.cwd())}
    try:
        with theirs:
            socket.send_fds(_nursery(), [json.dumps(request).encode()], [stderr.fileno(), theirs.fileno()])
        return Child(_number(await asyncio.get_running_loop().sock_recv(told, 16)), told)
    except BaseException:
        told.close()
        raise


def _number(said: bytes) -> int:
    if not said:
        raise ConnectionError("the nursery has died; why is on its stderr")
    return int(said)


@functools.cache
def _nursery() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _breed(requests: socket.socket) -> dict[str, Any] | None:
    """Fork until nobody can ask any more; in a child returns what was asked for, in the nursery None.

    What has a descriptor is closed here, or known by its number alone: an object that a child
    collects later would close whatever has that number then.
    """
    with requests, selectors.PollSelector() as looks:
        looks.register(requests, selectors.EVENT_READ)
        while looks.get_map():
            key = looks.select()[0][0]
            if key.fileobj is not requests:
                _bury(looks, *key.data)
                continue
            request, descriptors, _, _ = socket.recv_fds(requests, LONGEST, 2)
            if not request:
                looks.unregister(requests)
                continue
            stderr, told = descriptors
            if not (pid := os.fork()):
                os.dup2(stderr, 2)
                return dict(json.loads(request))
            os.close(stderr)
            _tell(told, pid)
            child = pid, os.pidfd_open(pid), told
            for descriptor in child[1:]:  # readable at its end, and when nobody listens any more
                looks.register(descriptor, selectors.EVENT_READ, child)
    return None


def _bury(looks: selectors.BaseSelector, pid: int, *descriptors: int) -> None:
    """Tell how a child ended; one that lives is killed."""
    os.kill(pid, signal.SIGKILL)  # means nothing to the dead
    _, status = os.waitpid(pid, 0)
    _tell(descriptors[-1], os.waitstatus_to_exitcode(status))
    for descriptor in descriptors:
        looks.unregister(descriptor)
        os.close(descriptor)


def _tell(told: int, number: int) -> None:
    with contextlib.suppress(ConnectionError):  # nobody listens any more
        os.write(told, str(number).encode())


def _live(request: dict[str, Any]) -> None:
    """Become what was asked for; returns or raises as a script does at its end."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["syncd", *request["args"]]
    module, function = request["entry"].split(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    for name in LEARNED:
        importlib.import_module(name)
    gc.freeze()  # a child's collections need not go through what was imported
    if wanted := _breed(socket.socket(fileno=int(sys.argv[1]))):
        _live(wanted)
