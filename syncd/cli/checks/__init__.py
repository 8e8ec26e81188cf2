"""What `doctor` looks at, one file a subject, and the form in which a look is reported.

A look is a generator of findings. It changes nothing but for the probe in the mirror's temp
folder, knows nothing of how findings are shown, and may be as slow as a dead file server:
`within` gives it a time, and goes on without it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]
Look = Callable[[], Iterator["Finding"]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, on what, what was found, and what to do about it."""

    level: Level
    check: str
    on: str
    message: str
    hint: str = ""


def within(seconds: float, check: str, look: Look) -> Iterator[Finding]:
    """Hand on what a look finds, and end with a failure where it lasts too long or breaks."""
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for finding in look():
                found.put(finding)
        except Exception as error:  # noqa: BLE001 - one look that breaks must not take the others with it
            found.put(Finding("failure", check, "", f"can't be told: {error or type(error).__name__}"))
        finally:
            found.put(None)

    # As a daemon: a thread that hangs in a dead mount doesn't keep the process from ending.
    threading.Thread(target=work, name=check, daemon=True).start()
    deadline = time.monotonic() + seconds
    try:
        while (finding := found.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            yield finding
    except queue.Empty:
        yield Finding("failure", check, "", f"no answer within {seconds:g} s", "is a file server or a resolver down?")
