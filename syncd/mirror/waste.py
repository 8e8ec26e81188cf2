"""Downloads that are of no use any more, and how they go without holding up the event loop.

A kernel takes a second to remove a file of some gigabytes. What can't be removed is left where
it lies: the mirror may be read-only by now, and the next start clears up.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

SMALL = 256 << 10
"""Bytes up to which a file is removed on the spot."""


def throw_away(temp: Path) -> None:
    """Remove a temp file. Its path is free at once; in the loop's thread, a large one goes on under another name."""
    with suppress(OSError):
        loop = _running_loop()
        if loop is None or temp.lstat().st_size <= SMALL:
            temp.unlink()
        else:
            loop.run_in_executor(None, _unlink, temp.rename(temp.with_name(f"{temp.name}.gone")))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
