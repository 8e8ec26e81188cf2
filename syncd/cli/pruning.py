"""`prune`: what the rules of the config no longer keep, let go."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from syncd.audit.pruning import Prune, Pruned
from syncd.cli.asking import state
from syncd.cli.auditing import Site, site
from syncd.cli.show import document, say
from syncd.cli.where import ConfigOption, config_path, judging
from syncd.cli.writing import JsonOption
from syncd.errors import SyncdError
from syncd.journal import awaiting, lock_path
from syncd.observe.text import size
from syncd.owner import holder, sole_owner

_POLL = 0.1
_PATIENCE = 900.0  # seconds for the daemon to remove what it was told to


def prune(
    config: ConfigOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Apply journal.retention and mirror.keep_versions now; remove stray temp files and empty folders.

    The daemon forgets old deliveries by itself. This is for what it leaves alone: versions beyond a
    keep_versions that was lowered, leftovers of a crash, and what `verify --repair` has set aside
    longer ago than journal.retention.
    """
    path = config_path(config)
    where, judged = state(path), judging(path)
    with site(path, where) as here:
        daemon = holder(lock_path(where.journal))
        work = Prune(
            where.journal,
            here.db,
            here.root,
            judged.mirror.keep_versions,
            judged.journal.retention,
            time.time(),
            daemon,
        )
        pruned = Pruned()
        work.deliveries(pruned, dry=dry_run)
        work.versions(pruned, dry=dry_run)
        if not dry_run:
            _remove(here, pruned)
        if dry_run or daemon is not None:
            _clear_up(work, pruned, dry=dry_run)
        else:
            with sole_owner(lock_path(where.journal), f"the journal {where.journal}"):
                _clear_up(work, pruned, dry=False)
    if as_json:
        document({**asdict(pruned), "dry_run": dry_run})
    else:
        _say(pruned, dry=dry_run)


def _clear_up(work: Prune, pruned: Pruned, *, dry: bool) -> None:
    work.temps(pruned, dry=dry)
    work.quarantine(pruned, dry=dry)
    work.folders(pruned, dry=dry)


def _remove(here: Site, pruned: Pruned) -> None:
    """Have the pipeline remove what was taken out of the manifests, and folders that are left empty."""
    if here.runs() and not pruned.versions:
        return  # it does so by itself
    if not awaiting.removing(here.db):
        return

    def wait() -> None:
        until = time.monotonic() + _PATIENCE
        alone = not pruned.versions
        while awaiting.removing(here.db) if alone else awaiting.being_removed(here.db, pruned.versions):
            if not here.runs() or time.monotonic() > until:
                raise SyncdError(
                    "not all that is to go has been removed yet",
                    hint="the daemon removes it; `syncd status` says how it is",
                )
            time.sleep(_POLL)

    here.with_pipeline(wait)


def _say(pruned: Pruned, *, dry: bool) -> None:
    kinds = {
        "older version": pruned.versions,
        "temp file": pruned.temps,
        "empty folder": pruned.folders,
        "quarantined batch": pruned.quarantine,
    }
    say(*(f"{kind}  {name}" for kind, names in kinds.items() for name in names))
    counts = [f"{pruned.deliveries} deliveries", *(f"{len(names)} {kind}s" for kind, names in kinds.items())]
    counts = [count.replace("batchs", "batches") for count in counts]
    say(f"{'would remove' if dry else 'removed'} {', '.join(counts)}: {size(pruned.bytes)}")
