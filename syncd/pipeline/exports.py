"""Exports on their way from archive to folder.

An archive is unpacked in a thread, checked entry by entry as it grows, and published with
one move. What is no archive is published as the file that it is.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from pathlib import Path

from syncd.config import Config
from syncd.errors import StoreUnavailable, SyncdError
from syncd.mirror.archive import extract
from syncd.mirror.unzip import ArchiveDamaged, ArchiveRefused
from syncd.mirror.waste import throw_away
from syncd.model import ExportFile, Failed, Fetched, Job, Retry
from syncd.pipeline import Works, facts_of
from syncd.pipeline.publishing import Publisher, Unpacked

log = logging.getLogger(__name__)


class _Unreadable(Exception):
    """An archive found a bug of ours. It must not end the daemon, which would only meet it again."""


async def publish_export(works: Works, publisher: Publisher, job: Job, fetched: Fetched) -> Retry | Failed | None:
    """Unpack and publish a fetched export; returns why it can't be, if so. Raises StoreUnavailable.

    One that is damaged is to be fetched again, as any file that is not what its type says.
    """
    config = works.live.config
    if fetched.type != "zip" or not config.exports.extract:
        alone = (ExportFile("", fetched.bytes, fetched.sha256),)
        return await publisher.publish(job, fetched, Unpacked(fetched.path, f".{fetched.type}", alone))
    into = works.store.temp()
    try:
        async with works.unpacking:
            files = await _unpack(fetched.path, into, config)
        kept = fetched.path if config.exports.keep_archive else None
        return await publisher.publish(job, fetched, Unpacked(into, "", files, kept))
    except ArchiveDamaged as damaged:
        return Retry(f"the archive is refused: {damaged}", fetched.attempts)
    except ArchiveRefused as refused:
        return Failed(f"the archive is refused: {refused}", fetched.attempts)
    except OSError as error:
        raise StoreUnavailable(f"the export can't be unpacked: {error.strerror or error}") from error
    except _Unreadable as bug:
        log.exception("an archive could not be read", extra=facts_of(job))
        return Failed(f"a bug of syncd: {bug.__cause__!r}", fetched.attempts)
    finally:
        # What was published has moved away; whatever is left here is not wanted any more. After a cancellation
        # the publisher may be moving it at this moment, and must find it whole: the next start clears up then.
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            await asyncio.to_thread(_remove, into, fetched.path)


async def _unpack(archive: Path, into: Path, config: Config) -> tuple[ExportFile, ...]:
    cancelled = threading.Event()
    work = asyncio.get_running_loop().run_in_executor(
        None,
        lambda: extract(
            archive,
            into,
            max_files=config.exports.max_files,
            max_expanded=config.exports.max_expanded,
            min_free=config.mirror.min_free,
            style=config.mirror.names,
            file_mode=config.mirror.file_mode,
            dir_mode=config.mirror.dir_mode,
            cancelled=cancelled.is_set,
        ),
    )
    try:
        return tuple(await asyncio.shield(work))
    except (SyncdError, OSError):
        raise
    except Exception as error:
        raise _Unreadable from error
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([work])  # the thread must be out of the folder before it is removed
        work.exception()
        raise


def _remove(into: Path, archive: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)
    throw_away(archive)
