"""The manifests follow the tree: folders that changed, then exports, then the index.

A change waits for others for half of `manifest.delay`, so that bursts are written once and a
replaced file is named anew in time. Only when a folder's manifest is on disk are the files
removed that it no longer names.
"""

from __future__ import annotations

import asyncio
import logging

from syncd.errors import JournalUnavailable, StoreUnavailable
from syncd.journal import Manifested
from syncd.mirror import manifest
from syncd.model import ExportContents, FolderContents
from syncd.pipeline import Works
from syncd.pipeline.publishing import Publisher

log = logging.getLogger(__name__)

_AT_ONCE = 64
_AFTER_TROUBLE = 1.0
_SEQUENCE = "index sequence"


async def keep_manifests(works: Works, publisher: Publisher) -> None:
    """Write what is behind as changes come. Ends by cancellation."""
    while True:
        await works.changed.wait()
        await asyncio.sleep(works.live.config.manifest.delay / 2)
        works.changed.clear()
        try:
            if await write_stale(works):
                await write_index(works)
            publisher.sweep()
        except (JournalUnavailable, StoreUnavailable) as trouble:
            log.warning("manifests wait: %s", trouble)
            works.changed.set()
            await asyncio.sleep(_AFTER_TROUBLE)


async def write_stale(works: Works) -> bool:
    """Bring the manifests of folders and exports up to date; tell if any was behind."""
    wrote = False
    while True:
        folders, exports = await works.journal.stale(_AT_ONCE)
        if not folders and not exports:
            return wrote
        checksums = works.live.config.manifest.checksums
        files = [file for folder in folders for file in _of_folder(folder, checksums=checksums)]
        files += [file for export in exports for file in _of_export(export, checksums=checksums)]
        await works.store.write(files)
        await works.journal.manifested(
            [Manifested(manifest.line_of(folder), folder.change) for folder in folders],
            [(export.row, manifest.export_line(export)) for export in exports],
        )
        wrote = True


async def write_index(works: Works) -> None:
    """Write the index. Its sequence is used up before it is seen, so that none is seen twice."""
    sequence = int(await works.journal.recall(_SEQUENCE) or 0) + 1
    await works.journal.note(_SEQUENCE, str(sequence))
    folders, exports = await works.journal.index()
    content = manifest.index(folders, exports, sequence=sequence, generated_at=works.clock())
    await works.store.write([(manifest.INDEX, content)])


def _of_folder(folder: FolderContents, *, checksums: bool) -> list[tuple[str, bytes]]:
    files = [(f"{folder.folder}/{manifest.INDEX}", manifest.folder_manifest(folder))]
    if checksums:
        files.append((f"{folder.folder}/{manifest.CHECKSUMS}", manifest.folder_checksums(folder)))
    return files


def _of_export(export: ExportContents, *, checksums: bool) -> list[tuple[str, bytes]]:
    files = [(export.manifest_key, manifest.export_manifest(export))]
    if checksums:
        beside = export.manifest_key.removesuffix(".json")
        files.append((f"{beside}.{manifest.CHECKSUMS}", manifest.export_checksums(export)))
    return files
