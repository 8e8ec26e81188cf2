"""Processes with their cost: CPU seconds and memory, as the kernel counts them.

A command runs to its end and is charged with the children it waited for; a server is watched through
/proc while it runs. Only processes that were started here are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import BenchmarkError

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 30.0  # seconds
_GLANCE = 10  # milliseconds


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: wall clock and CPU in seconds, with its children; the largest of them in MB."""

    seconds: float
    cpu: float
    rss: float


def run(command: Sequence[str | Path], *, cwd: Path | None = None, may_fail: bool = False) -> Cost:
    """Run a command to its end. Raises BenchmarkError with its last words if it fails."""
    words, peak = [str(word) for word in command], 0.0
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=said)
        ended, handle = select.poll(), os.pidfd_open(process.pid)
        try:
            ended.register(handle, select.POLLIN)
            while not ended.poll(_GLANCE):
                # Looked at while it runs: what wait4 says begins with the memory of us who started it.
                with contextlib.suppress(BenchmarkError, OSError):
                    peak = max(peak, memory(process.pid, "VmHWM"))
        finally:
            os.close(handle)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not may_fail:
            said.seek(0)
            last = said.read().decode(errors="replace")[-400:]
            raise BenchmarkError(f"{words[0]} ended with {process.returncode}: {last}")
    return Cost(seconds, used.ru_utime + used.ru_stime, peak)


def run_and_sync(folder: Path, *commands: Sequence[str | Path]) -> Cost:
    """Run commands one after the other, and wait until the disk has what they wrote, as syncd does by itself."""
    costs = [run(command) for command in (*commands, ("sync", "-f", folder))]
    return Cost(sum(cost.seconds for cost in costs), sum(cost.cpu for cost in costs), max(cost.rss for cost in costs))


def cpu_seconds(pid: int) -> float:
    """CPU of a living process and of the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime


def fine_cpu_seconds(pid: int) -> float:
    """CPU of a living process's living threads, to the nanosecond where `cpu_seconds` counts hundredths of a second."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory(pid: int, what: str = "VmRSS") -> float:
    """Memory of a living process in MB: VmRSS is now, VmHWM the most since its start or `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise BenchmarkError(f"process {pid} has no {what}")


def forget_peak(pid: int) -> None:
    """Let VmHWM begin again at what is used now (proc(5): clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def serving(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the duration, its words in `log`; it is told to stop at the end, and killed if it doesn't."""
    with log.open("ab") as out:
        words = [str(word) for word in command]
        process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **(env or {})}, cwd=cwd)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
