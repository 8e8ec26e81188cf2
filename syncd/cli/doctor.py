"""`doctor`: everything that usually goes wrong around a daemon, looked at in one go.

What is looked at, and how, is in `checks`. Here the looks are put in order, each with its time,
and their findings are shown as they come.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from syncd import __version__
from syncd.cli.checks import Finding, Level, within
from syncd.cli.show import document, plain, screen
from syncd.cli.where import ConfigOption, config_path, judging, places
from syncd.cli.writing import JsonOption
from syncd.config import Config, Mirror
from syncd.errors import ConfigInvalid

_SECONDS = 15.0
_STYLE: dict[Level, str] = {"ok": "green", "warning": "yellow", "failure": "red"}


def doctor(
    config: ConfigOption = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing outside this machine.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at config, secrets, clock, permissions, disks, network and daemon, and say what to do."""
    found = []
    for finding in _look(config_path(config), offline=offline):
        found.append(finding)
        if not as_json:
            _show(finding)
    counts = {level: sum(finding.level == level for finding in found) for level in _STYLE}
    if as_json:
        document({"version": __version__, "findings": [asdict(finding) for finding in found], "counts": counts})
    else:
        screen().print(plain(f"ok: {counts['ok']}, warnings: {counts['warning']}, failures: {counts['failure']}"))
    if counts["failure"]:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    line = plain(f"{finding.level:8}", _STYLE[finding.level])
    line.append_text(plain(": ".join(filter(None, (finding.check, finding.on, finding.message)))))
    if finding.hint:
        line.append_text(plain(f"; {finding.hint}", "dim"))
    screen().print(line)
    sys.stdout.flush()


def _look(path: Path, *, offline: bool) -> Iterator[Finding]:
    # Heavier than they look, and nobody else's: only here.
    from syncd.cli.checks import journal, reach, service, settings, tree  # noqa: PLC0415 - see above
    from syncd.cli.checks.users import service_user  # noqa: PLC0415 - see above

    loaded, findings = settings.config(path)
    yield from findings
    try:
        where = places(path)
    except ConfigInvalid:
        return  # nothing is known of where anything is
    known = loaded.config if loaded else _readable(path)
    if known is None:
        message = "mirror.min_free and sources.abyssale.tolerance can't be read: the rest is judged by their defaults"
        yield Finding("warning", "config", str(path), message)
    mirror = known.mirror if known else Mirror.model_validate({"root": str(where.root)})
    user = service_user(where.journal)
    tolerance = known.sources.abyssale.tolerance if known and known.sources.abyssale else 300.0
    if loaded:
        yield from within(_SECONDS, "secrets", partial(settings.secrets, loaded, path))
    yield from within(_SECONDS, "journal", partial(journal.journal, where.journal, user, mirror.min_free, tolerance))
    yield from within(_SECONDS, "mirror", partial(tree.tree, mirror, where.journal, user))
    yield from within(_SECONDS, "daemon", partial(service.daemon, where, loaded.config if loaded else None))
    if loaded and not offline:
        yield from within(_SECONDS, "hosts", partial(reach.hosts, loaded.config, where.journal))
        yield from within(_SECONDS, "API", partial(reach.api, loaded))


def _readable(path: Path) -> Config | None:
    """What a config says that has its mistakes elsewhere; None where they are in what is judged by."""
    try:
        return judging(path)
    except ConfigInvalid:
        return None
