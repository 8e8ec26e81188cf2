"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contest import Result, Setting, spread


def show(console: Console, name: str, about: str, result: Result) -> None:
    """Print medians, then goals with the spread of what they are about."""
    contest = result.contest
    console.print(f"[bold]{name}[/]: {about}")
    table = Table(box=box.SIMPLE)
    table.add_column("median")
    for column, unit in contest.columns.items():
        table.add_column(f"{column} {unit}".strip(), justify="right")
    for contender in contest.contenders:
        table.add_row(contender, *(_figure(result.median(contender, column)) for column in contest.columns))
    console.print(table)
    for goal in goals_of(result):
        word = (
            "[green]met[/]" if goal["met"] else "[red]NOT MET[/]" if goal["met"] is not None else "[red]no figures[/]"
        )
        bound = f"{goal['is']} {_figure(goal['limit'])}"
        if goal["met"] is None:
            console.print(f"  {goal['text']}: {word} ({bound})")
        else:
            values = f"{_figure(goal['median'])} ({_figure(goal['least'])} to {_figure(goal['most'])})"
            console.print(f"  {goal['text']}: {values}, {bound}: {word}")
    for note in contest.notes:
        console.print(f"  [dim]{note}[/]")
    for failure in result.failures:
        console.print(f"  [red]{failure}[/]", highlight=False)


def goals_of(result: Result) -> list[dict[str, Any]]:
    """Each goal with median, least and most of its values, and if the median meets it."""
    found = []
    for goal in result.contest.goals:
        said: dict[str, Any] = {"text": goal.text, "is": goal.is_, "limit": goal.limit, "ratio": bool(goal.to)}
        if values := goal.values(result.rounds):
            median, least, most = spread(values)
            said |= {"median": median, "least": least, "most": most, "met": goal.is_met(median), "values": values}
        else:
            said["met"] = None
        found.append(said)
    return found


def document(results: dict[str, Result], setting: Setting, versions: dict[str, str]) -> dict[str, Any]:
    """All of it as one JSON document."""
    return {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "setting": {"quick": setting.quick, "runs": setting.runs, "seed": setting.seed},
        "peers": versions,
        "benchmarks": {
            name: {
                "medians": {
                    contender: {
                        column: median
                        for column in result.contest.columns
                        if (median := result.median(contender, column)) is not None
                    }
                    for contender in result.contest.contenders
                },
                "units": dict(result.contest.columns),
                "goals": goals_of(result),
                "rounds": result.rounds,
                "notes": list(result.contest.notes),
                "failures": result.failures,
            }
            for name, result in results.items()
        },
    }


def is_good(result: Result) -> bool:
    """Tell if all went well and every goal is met."""
    return not result.failures and all(goal["met"] for goal in goals_of(result))


def disk_of(folder: Path) -> str:
    """Name the file system that is measured."""
    known = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    here = [fields for fields in known if folder.is_relative_to(fields[1])]
    device, _, kind, *_ = max(here, key=lambda fields: len(fields[1]))
    return f"{kind} on {device}"


def _figure(value: float | None) -> str:
    """Three digits that count, and no more."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
