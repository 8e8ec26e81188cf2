"""The daemon as it should not be: with a bug in a function, or with a journal that takes its time."""

from __future__ import annotations

import asyncio
import errno
import functools
import importlib
import os
import time
from pathlib import Path
from typing import Any

from syncd import cli, daemon, live
from syncd.journal.sqlite import SqliteJournal
from syncd.pipeline import lanes, upkeep


def main() -> None:
    """Run the command line with a bug in $BUG ("module:name"), which shows from when the file $BUG_SHOWS is there."""
    module, _, path = os.environ["BUG"].partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    owner = functools.reduce(getattr, outer, owner)
    sound = getattr(owner, name)

    def faulty(*args: Any, **named: Any) -> Any:
        if Path(os.environ["BUG_SHOWS"]).exists():
            raise LookupError(f"a bug in {name}")
        return sound(*args, **named)

    setattr(owner, name, faulty)
    upkeep._PRUNE_EVERY = 0.1  # not the next hour's
    cli.main()


def ahead() -> None:
    """Run the command line on a machine whose clock is an hour ahead."""
    right = time.time
    time.time = lambda: right() + 3600
    daemon.Intake = functools.partial(daemon.Intake, clock=time.time)
    cli.main()


def slow_config() -> None:
    """Run the command line on a machine that takes its time to load a config."""
    load = daemon.load

    def late(*args: Any) -> Any:
        time.sleep(0.3)
        return load(*args)

    daemon.load = late
    cli.main()


def deaf() -> None:
    """Run the command line where the kernel has no watches left."""

    def refuse(*_args: Any, **_named: Any) -> Any:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    live.watch = refuse
    cli.main()


def trusting() -> None:
    """Run the command line with nothing but the kernel's word for it that a file has changed, after the first looks."""
    live.LOOK_SELDOM = 60.0
    cli.main()


def sharing() -> None:
    """Run the command line with its config on a share: other machines change it, and the kernel reports nothing."""

    def hear_nothing(*_args: Any, stop_event: Any, **_named: Any) -> Any:
        stop_event.wait()
        return ()

    live.watch, live.is_local = hear_nothing, lambda _: False
    cli.main()


def slow() -> None:
    """Run the command line with a lane that has two jobs in hand, which end while the journal is asked for the next."""
    lanes.IN_HAND["visuals"] = 2
    next_due = SqliteJournal.next_due

    async def late(*args: Any) -> float | None:
        due = await next_due(*args)
        await asyncio.sleep(0.1)
        return due

    SqliteJournal.next_due = late  # type: ignore[method-assign]
    cli.main()
