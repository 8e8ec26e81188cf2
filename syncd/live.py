"""The config in force: loaded, watched, validated, swapped as one reference.

A reload builds everything the new config needs, assigns the new generation, and lets the old
one's client close after its last borrower; whatever fails before the assignment leaves the
running one untouched. Who needs config borrows a generation for one unit of work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from watchfiles import watch
from watchfiles._rust_notify import WatchfilesRustInternalError

from syncd.barrier import is_local
from syncd.beat import each_beat
from syncd.config import Config, Download, Loaded, Secret, load
from syncd.errors import ConfigInvalid, Problem
from syncd.mirror.session import Session
from syncd.supervisor import reloading

log = logging.getLogger(__name__)

SETTLED = 0.05
"""Seconds without a change after which a file is taken to be written to its end."""
LOOK_ANYWAY = 0.875
"""Seconds between looks at the files where the kernel may report nothing, as on a network share; see `beat`."""
LOOK_SELDOM = 3.5
"""The same where it reports everything, once it has been asked to for two looks."""
QUIET = 100
"""Milliseconds in which the kernel's reports are collected; the watcher's thread wakes as often."""
_MOST_LINKS = 40  # the kernel follows no more on the way to a file

Prepare = Callable[[Loaded], Awaitable[Callable[[], None]]]
"""Opens what a new config needs, raising ConfigInvalid where that can't be; what it returns puts it to use."""


class Mark(NamedTuple):
    """What tells one state of a file from another, without reading it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


Fingerprint = Mapping[Path, Mark | None]


@dataclass(frozen=True, slots=True)
class Generation:
    """One validated config and what was opened from it. `loaded_at` is in unix seconds."""

    number: int
    config: Config
    client: Session
    loaded_at: float


class Live:
    """The generation in force. `start` loads the first one, `watch` follows the files, `close` ends it.

    `reloaded` is told of every attempt, the first one too: True for one that is in force, False for one refused.
    """

    def __init__(
        self, path: Path, prepare: Prepare, reloaded: Callable[[bool], None], environ: Mapping[str, str]
    ) -> None:
        self.path = path
        self.error: Problem | None = None
        self._prepare = prepare
        self._reloaded = reloaded
        self._environ = environ
        self._generation: Generation | None = None
        self._files = frozenset({path})
        self._seen: Fingerprint = {}
        self._borrowers: Counter[Session] = Counter()
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    @property
    def current(self) -> Generation:
        """The generation in force, for a look at its config; use `borrow` to keep its client open."""
        assert self._generation is not None, "start comes first"  # noqa: S101 - a programming error
        return self._generation

    @property
    def config(self) -> Config:
        """The config in force."""
        return self.current.config

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Generation]:
        """The generation in force, whole until the end of the block even if another takes its place."""
        lent = self.current
        self._borrowers[lent.client] += 1
        try:
            yield lent
        finally:
            self._borrowers[lent.client] -= 1
            self._close_unused(lent.client)

    async def start(self) -> None:
        """Load the first generation. Raises ConfigInvalid."""
        await self._swap(await self._load())
        self._reloaded(True)

    async def close(self) -> None:
        """Close what the generation in force has opened."""
        if self._generation is not None:
            await self._generation.client.close()
        await asyncio.gather(*self._closing)

    async def reload(self) -> tuple[Problem, ...]:
        """Put the files as they are now in force; if that can't be, return why and keep the running config."""
        async with self._turn, reloading():
            try:
                loaded = await self._load()
                self._refuse_moving(loaded)
                await self._swap(loaded)
            except ConfigInvalid as invalid:
                problems = invalid.problems
                for problem in problems:
                    log.error("config refused", extra=_facts(problem))  # noqa: TRY400 - a person wrote it, no traceback helps
            else:
                problems = ()
                log.info("config in force", extra={"generation": self.current.number, "path": str(self.path)})
            self.error = problems[0] if problems else None
            self._reloaded(not problems)
            return problems

    async def watch(self) -> None:
        """Reload whenever the config, a secret file or a certificate has changed. Ends by cancellation."""
        while True:
            folders, stirred = self._folders(), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(_listen(folders, stirred), name="file events")
                pause = partial(_pause, listening, time.monotonic(), reported=self._is_reported(folders))
                while self._folders() == folders:
                    await self._stir(stirred, pause)
                    await self._settled()
                    await self.reload()
                listening.cancel()

    async def _load(self) -> Loaded:
        before = _fingerprint(self._files)
        try:
            loaded = await asyncio.to_thread(load, self.path, self._environ)
        except ConfigInvalid as invalid:
            self._files |= invalid.files
            self._remember(before)
            raise
        self._files = loaded.files | {self.path}
        self._remember(before)
        for warning in loaded.warnings:
            log.warning("config doubtful", extra=_facts(warning))
        return loaded

    def _remember(self, before: Fingerprint) -> None:
        """Note what was loaded; a file that changed meanwhile keeps its old mark and is seen as changed."""
        self._seen = {
            **_fingerprint(self._files),
            **{path: mark for path, mark in before.items() if path in self._files},
        }

    def _refuse_moving(self, loaded: Loaded) -> None:
        """State can't move while it is in use."""
        running, config = self.config, loaded.config
        state = (
            (("mirror", "root"), running.mirror.root, config.mirror.root),
            (("journal", "url"), running.journal.url, config.journal.url),
        )
        moved = [
            loaded.problem(place, f"needs a restart to change (in use: {here})")
            for place, here, there in state
            if here != there
        ]
        if moved:
            raise ConfigInvalid(moved)

    async def _swap(self, loaded: Loaded) -> None:
        old, config = self._generation, loaded.config
        put_to_use = await self._prepare(loaded)
        download = config.download
        if old is not None and _way_out(old.config.download) == _way_out(download):
            client = old.client
        else:
            client = Session(allow_private=download.allow_private, proxy=download.proxy)
        self._generation = Generation(old.number + 1 if old else 1, config, client, time.time())
        put_to_use()
        if old is not None:
            self._close_unused(old.client)

    def _close_unused(self, client: Session) -> None:
        if client is self.current.client or self._borrowers[client]:
            return
        del self._borrowers[client]
        task = asyncio.get_running_loop().create_task(client.close(), name="close client")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _stir(self, stirred: asyncio.Event, pause: Callable[[], float]) -> None:
        """Return once a file differs from what was loaded. Another folder on the way to it is seen in the file, too."""

        def look() -> float:
            if _fingerprint(self._files) != self._seen:
                stirred.set()
            return pause()

        with each_beat(look):
            while _fingerprint(self._files) == self._seen:
                await stirred.wait()
                stirred.clear()

    async def _settled(self) -> None:
        """Wait, for a second at most, until nobody seems to be in the middle of writing.

        An empty file is one that was truncated to be written anew, until that second has passed.
        """
        for _ in range(20):
            before = _fingerprint(self._files)
            await asyncio.sleep(SETTLED)
            if _fingerprint(self._files) == before and not any(mark and mark.size == 0 for mark in before.values()):
                return

    def _folders(self) -> Mapping[Path, int]:
        """The folders in which a change can mean another config, each with its inode.

        Editors replace files, mounts swap links to files or to whole folders: these are the
        parents of the files and of every link on the way to them, and where the files really are.
        """
        named = {path.parent for path in self._files}
        links = {Path(os.path.realpath(link.parent)) for path in self._files for link in _links(path)}
        resolved = {Path(os.path.realpath(path)).parent for path in self._files}
        marks = _fingerprint(named | links | resolved)
        return {folder: mark.inode for folder, mark in marks.items() if mark is not None}

    def _is_reported(self, folders: Iterable[Path]) -> bool:
        """Tell if the kernel reports all that happens: the folders are there, and no other machine changes them."""
        return {path.parent for path in self._files} <= set(folders) and all(map(_is_local, folders))


def _links(path: Path, most: int = _MOST_LINKS) -> Iterator[Path]:
    """Each link on the way to a file, in the order in which the kernel follows them: one may lead over others."""
    for above in (*reversed(path.parents), path):
        try:
            target = above.readlink()
        except OSError:  # no link, or not there
            continue
        if most:
            yield above
            yield from _links(above.parent / target / path.relative_to(above), most - 1)
        return


def _way_out(download: Download) -> tuple[bool, Secret | None]:
    """What a client is opened with."""
    return download.allow_private, download.proxy


async def _listen(folders: Iterable[Path], stirred: asyncio.Event) -> None:
    """Say when the kernel reports a change in a folder; where it can't, looking anyway has to do."""
    loop, over = asyncio.get_running_loop(), threading.Event()

    def listen() -> None:
        for _ in watch(*folders, watch_filter=None, recursive=False, step=QUIET, rust_timeout=0, stop_event=over):
            loop.call_soon_threadsafe(stirred.set)

    try:
        await asyncio.to_thread(listen)  # not `awatch`, whose library weighs more than all that it does here
    except (OSError, WatchfilesRustInternalError) as trouble:
        log.debug("no file events", extra={"reason": str(trouble)})
    finally:
        over.set()


def _pause(listening: asyncio.Task[None], since: float, *, reported: bool) -> float:
    """Seconds until the next look: few where the listening has just begun, or ended, or does not tell of everything."""
    surely = reported and not listening.done() and time.monotonic() - since > 2 * LOOK_ANYWAY
    return LOOK_SELDOM if surely else LOOK_ANYWAY


def _is_local(folder: Path) -> bool:
    """Tell if all that changes in a folder is changed by this machine's kernel."""
    try:
        opened = os.open(folder, os.O_PATH)
    except OSError:
        return False
    try:
        return is_local(opened)
    finally:
        os.close(opened)


def _facts(problem: Problem) -> dict[str, object]:
    return {"reason": problem.message, "file": problem.file, "line": problem.line, "key": problem.key}


def _fingerprint(paths: Iterable[Path]) -> Fingerprint:
    return {path: _mark(path) for path in paths}


def _mark(path: Path) -> Mark | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - more than once a second, for ever
    except OSError:
        return None
    return Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
