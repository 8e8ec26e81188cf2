"""If there is room to work in: the state of the two file systems, looked at every few seconds.

Below `min_free`, or without its marker, the mirror takes no files; deliveries wait in the
journal. Where the journal itself lives, too little room means that nothing can be accepted.
Both are undone by a look that finds them well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from syncd.beat import beat
from syncd.config import Config
from syncd.errors import JournalUnavailable, StoreUnavailable, SyncdError
from syncd.journal import Journal
from syncd.observe.text import size
from syncd.pipeline import Works
from syncd.pipeline.publishing import recover
from syncd.store.local import LocalTree

log = logging.getLogger(__name__)

_OWNER = "journal id"
_ROOT = "mirror root"
_TRIED = "written again"
_EVERY = 3.5  # seconds, see `beat`; what goes wrong in between is noticed by who meets it
_EVERY_IN_TROUBLE = 1.75


class Room:
    """What is known of the disks. `usable` is set while files may be fetched and published.

    `looked_at` is the monotonic time of the last look that came to an end. `note` is told, as
    `observe.telling` takes it, when something can't be used any more, and when it can again.
    """

    def __init__(self, works: Works, tree: LocalTree, note: Callable[..., None]) -> None:
        self.mirror_free: int | None = None
        self.journal_free: int | None = None
        self.looked_at = time.monotonic()
        self.usable = asyncio.Event()
        self._works = works
        self._tree = tree
        self._note = note
        self._trying = asyncio.Lock()
        self._lost: str | None = "the mirror has not been looked at yet"
        self._looked = False
        self._misplaced: str | None = None
        self._told = set[str]()

    def temp(self) -> Path:
        """A path for a temp file. Raises StoreUnavailable while nothing may be fetched."""
        if (trouble := self.mirror_trouble()) is not None:
            raise StoreUnavailable(trouble)
        return self._works.store.temp()

    async def is_well(self) -> bool:
        """Try the mirror after something went wrong there; if it is well, the fault was one file's own."""
        async with self._trying:
            if self.mirror_trouble() is None:
                await self._try()
        return self.mirror_trouble() is None

    async def _try(self) -> None:
        try:
            self.mirror_free = await self._tree.probe()
            await recover(self._works)
        except SyncdError as trouble:
            self._lost = str(trouble)
        self.judge()

    def judge(self) -> None:
        """Let fetching go on, or stop it, by what is known and by the config in force."""
        mirror = self._works.live.config.mirror
        self._tree.file_mode, self._tree.dir_mode = mirror.file_mode, mirror.dir_mode
        if self.mirror_trouble() is None:
            self.usable.set()
        else:
            self.usable.clear()
            self._works.wake_lanes()
        if self._looked:
            self._tell("mirror", self.mirror_trouble(), "files wait")
            self._tell("journal", self.journal_trouble(), "deliveries are turned away")

    def mirror_trouble(self) -> str | None:
        """Why nothing is fetched and published now, if so."""
        least = self._works.live.config.mirror.min_free
        if self._lost is not None:
            return self._lost
        return _too_little("the mirror", self.mirror_free, least)

    def journal_trouble(self) -> str | None:
        """Why no delivery can be accepted now, if so."""
        least = self._works.live.config.mirror.min_free
        return _too_little("the journal", self.journal_free, least) or self._misplaced

    async def watch(self) -> None:
        """Look again and again. Ends by cancellation."""
        while True:
            await self.look()
            await beat(_EVERY if self._is_all_well() else _EVERY_IN_TROUBLE)

    def _is_all_well(self) -> bool:
        return self._works.journal.trouble is None and not self.mirror_trouble() and not self.journal_trouble()

    async def look(self) -> None:
        """Look at both file systems, and come back to a mirror that was lost."""
        config, journal = self._works.live.config, self._works.journal
        self.journal_free = _free(str(config.journal.path.parent))
        self._misplaced = journal.misplaced()
        if journal.trouble is not None:
            with contextlib.suppress(JournalUnavailable):  # else the next delivery would be the first to find out
                await journal.note(_TRIED, str(time.time()))
        try:
            if self._lost is not None:
                await self._come_back()
            self.mirror_free = await self._tree.free()
        except SyncdError as trouble:
            self._lost = str(trouble)
        self.looked_at = time.monotonic()
        self._looked = True
        self.judge()

    def _tell(self, what: str, trouble: str | None, meanwhile: str) -> None:
        """Log that something can't be used any more, or can again."""
        if (trouble is None) == (what not in self._told):
            return
        if trouble is None:
            self._told.remove(what)
            self._note("disk.usable", what)
            log.info("the %s is usable again", what)
        else:
            self._told.add(what)
            lost = what == "mirror" and self._lost is not None
            self._note("mirror.lost" if lost else "disk.low", what, reason=f"{trouble}: {meanwhile}")
            log.error("the %s is unusable, %s", what, meanwhile, extra={"reason": trouble})

    async def _come_back(self) -> None:
        await self._tree.attach(make=False)
        await self._tree.probe()
        await recover(self._works)
        self._lost = None
        self._works.changed.set()
        self._works.gates.set()
        self._works.wake_lanes()


@contextlib.asynccontextmanager
async def open_tree(journal: Journal, config: Config) -> AsyncIterator[LocalTree]:
    """The mirror root, made on its first use. One that is absent later is waited for by the room."""
    owner = await journal.recall(_OWNER)
    if owner is None:
        owner = str(uuid.uuid4())
        await journal.note(_OWNER, owner)
    root = config.mirror.root
    known = await journal.recall(_ROOT)
    tree = LocalTree(root, owner, file_mode=config.mirror.file_mode, dir_mode=config.mirror.dir_mode)
    try:
        try:
            await tree.attach(make=known is None)
        except StoreUnavailable as trouble:
            if known != str(root):
                hint = trouble.hint if known is None else f"the tree of this journal was {known}: move it to {root}"
                raise StoreUnavailable(str(trouble), hint=hint) from trouble
            # The room tells of it.
        else:
            await journal.note(_ROOT, str(root))
        yield tree
    finally:
        await tree.close()


def _free(folder: str) -> int | None:
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def _too_little(what: str, free: int | None, least: int) -> str | None:
    if free is None:
        return f"{what} can't be looked at"
    return f"{what} has {size(free)} free, less than mirror.min_free = {size(least)}" if free < least else None
