"""What systemd is told of this process: one datagram a message, as sd_notify(3) describes.

Silent where nobody listens, which is wherever $NOTIFY_SOCKET is not set. Who calls decides what
is said and when; nothing here knows the daemon. A message that can't be delivered is dropped:
a supervisor that is busy must not hold up what it supervises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping

_MICROSECONDS = 1_000_000
_ASK_EVERY, _ASK_FOR = 20.0, 60.0  # seconds


def listens(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell if anybody hears what is told."""
    return environ.get("NOTIFY_SOCKET", "").startswith(("/", "@"))


def tell(environ: Mapping[str, str] = os.environ, /, **facts: str | int) -> None:
    """Send facts as one message, such as READY=1 or STATUS="ready". A value stays one line."""
    if not listens(environ):
        return
    name = environ["NOTIFY_SOCKET"]
    address = "\0" + name[1:] if name.startswith("@") else name  # an abstract one has no file
    message = "\n".join(f"{key}={str(value).translate({10: ' '})}" for key, value in facts.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.setblocking(False)
        teller.sendto(message.encode(errors="backslashreplace"), address)


def tell_of_stopping(seconds: float) -> None:
    """Say that the stop begins, and that it may take so long whatever TimeoutStopSec= is."""
    tell(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=int(seconds * _MICROSECONDS))


def patience(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds that may pass between two WATCHDOG=1; None where this process is not watched."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(usec) / _MICROSECONDS


@contextlib.asynccontextmanager
async def starting() -> AsyncIterator[None]:
    """Ask for more time, again and again, while the loop gets through the block."""

    async def ask_for_time() -> None:
        while True:
            tell(EXTEND_TIMEOUT_USEC=int(_ASK_FOR * _MICROSECONDS))
            await asyncio.sleep(_ASK_EVERY)

    asking = asyncio.create_task(ask_for_time(), name="start")
    try:
        yield
    finally:
        asking.cancel()


@contextlib.asynccontextmanager
async def reloading() -> AsyncIterator[None]:
    """Say that the config is being reloaded, and at the end that it was, whatever came of it."""
    tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
    try:
        yield
    finally:
        tell(READY=1)
