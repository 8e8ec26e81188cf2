"""The manifests follow the tree: folders that changed, then exports, then the index.

A change waits for others for half of `manifest.delay`, so that a replaced file is named anew in time. Where
files only come that were not there before, it waits for as long as they go on coming, within bounds, so that
a burst is written once. Only when a folder's manifest is on disk are the files
removed that it no longer names, and only when the index is, a folder that is left empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from syncd.errors import JournalUnavailable, StoreUnavailable
from syncd.journal import INDEX_ANSWERED, INDEX_ASKED, Manifested
from syncd.mirror import manifest
from syncd.mirror.index import Index
from syncd.model import ExportContents, FolderContents, FolderLine
from syncd.observe.log import seldom
from syncd.pipeline import Works, first_of
from syncd.pipeline.publishing import Publisher
from syncd.pipeline.room import Room

log = logging.getLogger(__name__)

_AT_ONCE = 64
_LONGEST_BURST = 5  # times `manifest.delay`, until it is written what has come so far
_OF_A_BATCH = 512  # folders that are written in one step where a batch is to appear as a whole
_EMPTIED_AT_ONCE = 256
_AFTER_TROUBLE = 10.0  # seconds; a mirror that comes back is a change
_SEQUENCE = "index sequence"
_FORM, _MODE = "manifest form", "manifest mode"
_PLAIN, _WITH_CHECKSUMS = "plain", "with checksums"
_USUAL_MODE = "0644"


async def keep_manifests(works: Works, publisher: Publisher, room: Room) -> None:
    """Write what is behind at once, then as changes come, and once more when all is `finished`."""
    index: Index | None = None
    while True:
        last = works.finished.is_set()
        works.changed.clear()
        works.grown.clear()
        try:
            if index is None:
                await works.journal.use_up_sequences()
            order = await _order_for_index(works)
            behind = await _follow_form(works) or index is None or order is not None
            if index is None or order is not None:
                index = await works.journal.index(Index)
            behind = await write_stale(works, index) or behind
            emptied = await works.journal.emptied(_EMPTIED_AT_ONCE)
            if behind:
                await write_index(works, index, order)
            publisher.sweep(emptied)
        except (JournalUnavailable, StoreUnavailable) as trouble:
            seldom(log, "manifests wait", trouble)
            index = None  # some may be written already, as after a crash
            if isinstance(trouble, StoreUnavailable):
                await room.is_well()  # where it is not, the status says so, and its return is a change
            await first_of(_AFTER_TROUBLE, works.changed, works.finished)
            works.changed.set()
        if last:
            return
        await first_of(None, works.changed, works.grown, works.finished)
        await _let_burst_end(works)


async def _let_burst_end(works: Works) -> None:
    """Wait for half of `manifest.delay`, and again while there is nothing but growth."""
    for _ in range(2 * _LONGEST_BURST):
        urgent = works.changed.is_set()
        works.grown.clear()
        await first_of(works.live.config.manifest.delay / 2, works.finished, *(() if urgent else (works.changed,)))
        if urgent or works.finished.is_set() or not (works.grown.is_set() or works.changed.is_set()):
            return


async def _order_for_index(works: Works) -> str | None:
    """The order of a command to write the index, if there is one that has not been followed."""
    asked = await works.journal.recall(INDEX_ASKED)
    return None if asked == await works.journal.recall(INDEX_ANSWERED) else asked


async def _follow_form(works: Works) -> bool:
    """Have all written anew, and say so, where another form or mode is asked for, be it edited while nobody ran."""
    config = works.live.config
    form = _WITH_CHECKSUMS if config.manifest.checksums else _PLAIN
    mode = f"{config.mirror.file_mode:04o}"
    former = await works.journal.recall(_FORM) or _PLAIN
    if (former, await works.journal.recall(_MODE) or _USUAL_MODE) == (form, mode):
        return False
    if former != form == _PLAIN:
        lists = await works.journal.index(_checksum_lists)
        for start in range(0, len(lists), _AT_ONCE):
            await works.store.remove(lists[start : start + _AT_ONCE])
    await works.journal.rewrite_all()
    await works.journal.note(_FORM, form)
    await works.journal.note(_MODE, mode)
    return True


async def write_stale(works: Works, index: Index) -> bool:
    """Bring the manifests of folders and exports up to date, and what is to be said of them; tell if any was behind.

    What goes on changing waits for the next time: the index has its turn after this.
    """
    wrote = False
    at_once = _OF_A_BATCH if works.live.config.manifest.atomic_batches else _AT_ONCE
    while True:
        async with works.listing:  # a folder that is cleared meanwhile would look as if its manifest was behind
            folders, exports = await works.journal.stale(at_once)
            written = await _write(works, index, folders, exports)
        wrote = wrote or written > 0
        if written < at_once:
            return wrote


async def _write(
    works: Works, index: Index, folders: Sequence[FolderContents], exports: Sequence[ExportContents]
) -> int:
    """Write manifests, and record those that could be; returns how many."""
    checksums = works.live.config.manifest.checksums
    # In a thread: a folder of thousands takes its time.
    of_folders, of_exports = await asyncio.to_thread(
        lambda: (
            [(_done(folder), _of_folder(folder, checksums=checksums)) for folder in folders],
            [(_line(export), _of_export(export, checksums=checksums)) for export in exports],
        )
    )
    files = [file for _, some in (*of_folders, *of_exports) for file in some]
    obstructed = set()
    for (path, _), fault in zip(files, await works.store.write(files), strict=True):
        if fault is not None:  # something of somebody else's is in the way; the others go on
            log.error("a manifest can't be written", extra={"path": path, "reason": fault})
            obstructed.add(path)

    def written(some: list[tuple[str, bytes]]) -> bool:
        return not any(path in obstructed for path, _ in some)

    on_disk = [done for done, some in of_folders if written(some)]
    lines = [line for line, some in of_exports if written(some)]
    if on_disk or lines:
        await works.journal.manifested(on_disk, lines)
    if obstructed:  # a list of checksums, perhaps, whose manifest is on disk
        await works.journal.use_up_sequences()
    holding = {folder.folder for folder in folders if folder.listed}
    for done in on_disk:
        if done.line.folder in holding:
            index.name(done.line)
        else:
            index.drop(done.line.folder)
    for _, line in lines:
        index.name_export(line)
    return len(on_disk) + len(lines)


async def write_index(works: Works, index: Index, order: str | None) -> None:
    """Write the index, as an `order` may say. Its sequence is used up before it is seen, so that none is seen twice."""
    sequence = int(await works.journal.recall(_SEQUENCE) or 0) + 1
    await works.journal.note(_SEQUENCE, str(sequence))
    # In a thread: a tree of ten thousand folders takes its time.
    content = await asyncio.to_thread(index.printed, sequence=sequence, generated_at=works.clock())
    (fault,) = await works.store.write([(manifest.INDEX, content)])
    if fault is not None:
        raise StoreUnavailable(fault)
    if order is not None:
        await works.journal.note(INDEX_ANSWERED, order)


def _done(folder: FolderContents) -> Manifested:
    return Manifested(manifest.line_of(folder), folder.change)


def _line(export: ExportContents) -> tuple[int, dict[str, Any]]:
    return export.row, manifest.export_line(export)


def _of_folder(folder: FolderContents, *, checksums: bool) -> list[tuple[str, bytes]]:
    files = [(f"{folder.folder}/{manifest.INDEX}", manifest.folder_manifest(folder))]
    if checksums:
        files.append((_checksums_of_folder(folder.folder), manifest.folder_checksums(folder)))
    return files


def _of_export(export: ExportContents, *, checksums: bool) -> list[tuple[str, bytes]]:
    files = [(export.manifest_key, manifest.export_manifest(export))]
    if checksums:
        files.append((_checksums_of_export(export.manifest_key), manifest.export_checksums(export)))
    return files


def _checksums_of_folder(folder: str) -> str:
    return f"{folder}/{manifest.CHECKSUMS}"


def _checksums_of_export(manifest_key: str) -> str:
    return f"{manifest_key.removesuffix('.json')}.{manifest.CHECKSUMS}"


def _checksum_lists(folders: Iterable[FolderLine], exports: Iterable[dict[str, Any]]) -> list[str]:
    return [
        *(_checksums_of_folder(line.folder) for line in folders),
        *(_checksums_of_export(line["manifest"]) for line in exports),
    ]
