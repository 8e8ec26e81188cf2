"""What `verify` and `prune` share: the journal and the root held open together, and somebody who runs the pipeline."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from syncd.cli.where import Places
from syncd.errors import InUse, StoreUnavailable
from syncd.journal import auditing, lock_path
from syncd.owner import holder
from syncd.store.root import check_marker, opened_root


@dataclass(frozen=True, slots=True)
class Site:
    """The journal, to be read, and the open root. `config` is the file that both come from."""

    config: Path
    where: Places
    db: sqlite3.Connection
    root: int
    owner: str

    def runs(self) -> bool:
        """Tell if somebody runs the pipeline, this process perhaps."""
        return holder(lock_path(self.where.journal)) is not None

    def with_pipeline(self, work: Callable[[], None]) -> None:
        """Do what needs the pipeline: the daemon's, or without one that of this process for so long.

        Raises StoreUnavailable where the root has lost its marker since it was opened.
        """
        check_marker(self.root, self.where.root, self.owner)
        if not self.runs():
            from syncd.daemon import work_off  # noqa: PLC0415 - most do without its weight

            try:
                work_off(self.config, work)
            except InUse:
                if not self.runs():
                    raise
            else:
                return
        work()


@contextmanager
def site(config: Path, where: Places) -> Iterator[Site]:
    """Open both. Raises JournalUnavailable and StoreUnavailable where they are not there, or don't belong together."""
    with auditing.looking(where.journal) as db:
        owner = auditing.fact(db, "journal id")
        if owner is None or auditing.fact(db, "mirror root") is None:
            raise StoreUnavailable(f"the mirror {where.root} is not made yet", hint="`syncd run` makes it")
        try:
            with opened_root(where.root, owner) as root:
                yield Site(config, where, db, root, owner)
        except OSError as error:
            raise StoreUnavailable(f"the mirror {where.root} can't be used: {error.strerror or error}") from error


@contextmanager
def reading_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal, and nothing elsewhere; what it gives is told of bytes."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.progress import (  # noqa: PLC0415 - same
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def counting_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of how many are done; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - same

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
