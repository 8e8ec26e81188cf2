"""`verify`: every published file hashed again, every manifest held against the journal, and what is wrong put right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.audit import Fetch, Finding, SetAside
from syncd.audit.checking import Check
from syncd.audit.repairing import Repair, moved_with, plan
from syncd.cli.asking import state
from syncd.cli.auditing import Site, counting_bar, reading_bar, site
from syncd.cli.show import complain, document, say
from syncd.cli.where import ConfigOption, below, config_path, judging
from syncd.cli.writing import JsonOption
from syncd.config import Config
from syncd.errors import SyncdError
from syncd.journal import Rules, auditing
from syncd.mirror.manifest import INDEX
from syncd.mirror.names import Names
from syncd.observe.text import size


@dataclass(slots=True)
class _Report:
    """What was found, and what became of it."""

    checked: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)

    def of(self, what: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.what == what]


def verify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", show_default=False, help="Only these files and folders of the mirror."),
    ] = None,
    config: ConfigOption = None,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Download again what is missing or damaged, set aside what is stray.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: only say what it would do.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hash every published file again; list what is missing, changed or stray, in files and in manifests.

    Works beside a running daemon and without one. Nothing is ever deleted: what is damaged or stray
    moves to .syncd/quarantine below the mirror, where `syncd prune` removes it after journal.retention.
    """
    if dry_run and not repair:
        raise typer.BadParameter("says what --repair would do: give both", param_hint="--dry-run")
    path = config_path(config)
    where, judged = state(path), judging(path)
    within = frozenset(one for given in paths or () for one in below(where.root, str(given)))
    with site(path, where) as here:
        report = _check(here, judged, frozenset() if "." in within else within)
        if within and not report.checked and not report.findings:
            named = ", ".join(map(str, paths or ()))
            raise SyncdError(f"nothing is published at {named}", hint="name files or folders of the mirror")
        if repair:
            report.plan = list(plan(report.findings))
            if not as_json:
                say(*report.plan)
            if report.findings and not dry_run:
                _repair(here, judged, report)
    if as_json:
        document(_as_document(report))
    else:
        _say(report, repaired=repair and not dry_run, planned=dry_run)
    if report.left if repair and not dry_run else report.findings:
        raise typer.Exit(1)


def _check(here: Site, config: Config, within: frozenset[str], *, bar: bool = True) -> _Report:
    with reading_bar(auditing.total_bytes(here.db)) if bar else nullcontext(lambda _: None) as advance:
        check = Check(
            here.db,
            here.root,
            config.manifest.delay,
            here.runs,
            checksums=auditing.has_checksums(here.db),
            within=within,
            advance=advance,
        )
        found = list(check.findings())
    return _Report(check.checked, check.bytes, found)


def _repair(here: Site, config: Config, report: _Report) -> None:
    rules = Rules(Names(config.mirror, config.sources.layouts), config.mirror.keep_versions, config.retry.give_up_after)
    again = frozenset(_to_check_again(here, report.findings))
    with counting_bar("downloads") as done:
        repair = Repair(here.where.journal, here.db, here.root, rules, here.runs, done)
        here.with_pipeline(lambda: repair.apply(report.findings))
    report.aside = repair.aside
    report.left = _check(here, config, again, bar=False).findings
    report.left += [
        Finding("stray", path, why, SetAside())
        for path, why in repair.failed.items()
        if path not in {left.path for left in report.left}
    ]
    bad = {left.path for left in report.left}
    report.repaired = [found.path for found in report.findings if not _is_among(found.path, bad)]


def _to_check_again(here: Site, findings: Iterable[Finding]) -> Iterable[str]:
    yield INDEX
    for finding in findings:
        yield finding.path
        if isinstance(finding.cure, Fetch):
            yield from moved_with(here.db, finding.cure.named)
            yield f"{finding.path.rpartition('/')[0]}/{INDEX}"


def _is_among(path: str, bad: set[str]) -> bool:
    return path in bad or any(path.startswith(f"{one}/") for one in bad)


def _as_document(report: _Report) -> dict[str, Any]:
    return {
        "checked": report.checked,
        "bytes": report.bytes,
        **{what: _listed(report.of(what)) for what in ("missing", "changed", "stray")},
        "plan": report.plan,
        "repaired": report.repaired,
        "quarantined": [{"path": path, "to": to} for path, to in report.aside.items()],
        "unrepaired": _listed(report.left),
    }


def _listed(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [{"path": finding.path, "reason": finding.reason} for finding in findings]


def _say(report: _Report, *, repaired: bool, planned: bool) -> None:
    if not repaired and not planned:
        say(*(f"{finding.what}  {finding.path}: {finding.reason}" for finding in report.findings))
    counts = ", ".join(f"{len(some)} {what}" for what in ("missing", "changed", "stray") if (some := report.of(what)))
    say(f"{report.checked} files checked, {size(report.bytes)}: {counts or 'all is well'}")
    if repaired and report.findings:
        say(*(f"{path} is kept as {to}" for path, to in report.aside.items()))
        say(*(f"not repaired  {left.path}: {left.reason}" for left in report.left))
        say(f"{len(report.repaired)} repaired, {len(report.left)} not")
    elif report.findings and not planned:
        complain("hint: `syncd verify --repair --dry-run` says what a repair would do")
