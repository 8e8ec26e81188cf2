"""The load generator: posts requests that were built and signed before, one in flight on each connection.

`python -m benchmarks.load PORT FILE` is a process of its own, one thread around epoll, with no HTTP client in it:
a request is a `send` of bytes that are there, an answer is found complete by its Content-Length. That takes ten
to fifty us a request, most of it in the kernel, so that what is measured is the server (`acknowledge` shows what it can
reach, against nginx). The same generator is used for everybody. FILE is made by `write`.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.contest import BenchmarkError

_LENGTH = struct.Struct("!I")
_END = b"\r\n\r\n"
_LENGTH_HEADER = b"content-length:"
_SILENCE = 30.0  # seconds without any answer


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of the requests. Times in seconds, `began` and `ended` as unix time, p50 to longest in ms.

    `refused` were answered with something other than 200, `lost` with nothing at all.
    """

    requests: int
    refused: int
    lost: int
    began: float
    ended: float
    seconds: float
    p50: float
    p99: float
    longest: float
    cpu: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def write(path: Path, requests: Iterable[bytes]) -> int:
    """Write requests as `main` reads them; returns how many."""
    number = 0
    with path.open("wb") as file:
        for number, request in enumerate(requests, start=1):  # noqa: B007 - it is the answer
            file.write(_LENGTH.pack(len(request)))
            file.write(request)
    return number


def start(port: int, path: Path, *, connections: int = 64, pace: float = 0) -> subprocess.Popen[bytes]:
    """Begin to post the requests in a file to a port of this machine; `finish` waits for the end.

    `pace` is the most requests a second, 0: as many as are answered. SIGTERM ends it after those in flight.
    """
    words = [sys.executable, "-m", "benchmarks.load", str(port), str(path)]
    words += ["--connections", str(connections), "--pace", str(pace)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], *, all_well: bool = True) -> Posted:
    """Wait for the end. Raises BenchmarkError where not every request was answered 200 and `all_well` asks for it."""
    said, _ = process.communicate()
    if process.returncode:
        raise BenchmarkError("the load generator failed")
    posted = Posted(**json.loads(said))
    if all_well and (posted.refused or posted.lost):
        raise BenchmarkError(f"{posted.refused} requests refused, {posted.lost} lost, of {posted.requests}")
    return posted


def post(port: int, path: Path, *, connections: int = 64) -> Posted:
    """Post all the requests in a file, each of which must be answered 200."""
    return finish(start(port, path, connections=connections))


def _read(path: Path) -> list[bytes]:
    content, at, requests = path.read_bytes(), 0, []
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        requests.append(content[at : at + length])
        at += length
    return requests


class _Generator:
    """One run. `drive` returns when all requests are answered, or when it was told to stop."""

    def __init__(self, port: int, requests: list[bytes], connections: int, pace: float) -> None:
        self.requests = iter(requests)
        self.pace = pace
        self.latencies: list[float] = []
        self.refused = self.lost = self.sent = 0
        self.stopped = False
        self.address = ("127.0.0.1", port)
        self.poll = select.epoll()
        self.open = dict(self._connect() for _ in range(min(connections, len(requests))))
        self.since: dict[int, float] = {}
        self.partial: dict[int, bytes] = {}
        self.idle = list(self.open)

    def _connect(self) -> tuple[int, socket.socket]:
        connection = socket.create_connection(self.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.poll.register(connection.fileno(), select.EPOLLIN)
        return connection.fileno(), connection

    def drive(self) -> None:
        began = time.perf_counter()
        while True:
            timeout = self._send_due(began)
            if not self.since and timeout is None:
                return
            ready = self.poll.poll(_SILENCE if timeout is None else timeout)
            if not ready and timeout is None:
                self.lost += len(self.since)
                return
            for number, _ in ready:
                self._receive(number)

    def _send_due(self, began: float) -> float | None:
        """Send what may be sent now; returns after how many seconds the next is due, None: after an answer."""
        while self.idle and not self.stopped:
            if self.pace and (wait := began + self.sent / self.pace - time.perf_counter()) > 0:
                return wait
            request = next(self.requests, None)
            if request is None:
                self.stopped = True
                break
            self._send(self.idle.pop(), request)
        return None

    def _send(self, number: int, request: bytes) -> None:
        self.sent += 1
        self.since[number] = time.perf_counter()
        try:
            self.open[number].sendall(request)
        except OSError:
            self._lose(number)

    def _receive(self, number: int) -> None:
        try:
            piece = self.open[number].recv(65536)
        except OSError:
            piece = b""
        if not piece:
            self._lose(number)
            return
        answer = self.partial.pop(number, b"") + piece
        if not _is_whole(answer):
            self.partial[number] = answer
            return
        now = time.perf_counter()
        self.latencies.append(now - self.since.pop(number))
        if answer[9:12] != b"200":
            self.refused += 1
        if self.pace:
            self.idle.insert(0, number)  # each connection in its turn
        elif (request := next(self.requests, None)) is not None and not self.stopped:
            self._send(number, request)

    def _lose(self, number: int) -> None:
        """Count a request that will not be answered; its connection gives way to a new one."""
        self.lost += self.since.pop(number, None) is not None
        self.partial.pop(number, None)
        self.poll.unregister(number)
        self.open.pop(number).close()
        if number in self.idle:
            self.idle.remove(number)
        try:
            fresh, connection = self._connect()
        except OSError:
            return
        self.open[fresh] = connection
        self.idle.append(fresh)


def _is_whole(answer: bytes) -> bool:
    end = answer.find(_END)
    if end < 0:
        return False
    headers = answer[:end].lower()
    at = headers.find(_LENGTH_HEADER)
    length = int(headers[at + len(_LENGTH_HEADER) :].split(b"\r", 1)[0]) if at >= 0 else 0
    return len(answer) >= end + len(_END) + length


def main() -> None:
    """Post, and print what became of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pace", type=float, default=0)
    args = parser.parse_args()
    generator = _Generator(args.port, _read(args.requests), args.connections, args.pace)
    signal.signal(signal.SIGTERM, lambda *_: setattr(generator, "stopped", True))
    gc.disable()
    began, cpu, clock = time.time(), time.process_time(), time.perf_counter()
    generator.drive()
    seconds, cpu, ended = time.perf_counter() - clock, time.process_time() - cpu, time.time()
    found = sorted(generator.latencies) or [0.0]
    p50, p99, longest = (found[min(len(found) - 1, int(len(found) * part))] * 1e3 for part in (0.5, 0.99, 1))
    values = (generator.sent, generator.refused, generator.lost, began, ended, seconds, p50, p99, longest, cpu)
    print(json.dumps(dict(zip((one.name for one in fields(Posted)), values, strict=True))))


if __name__ == "__main__":
    main()
