"""How commands print: one JSON document for programs, tables for people.

Most of what is shown was written by somebody outside, so every cell is plain text with its
control characters escaped. rich is imported only where something is drawn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from syncd.observe.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


_UNFOLDED = 4000  # columns, more than a row ever needs


def document(said: Any) -> None:
    """Print one JSON document; in ASCII, so that it reads the same in every locale."""
    sys.stdout.write(json.dumps(said, indent=2) + "\n")


def say(*lines: str) -> None:
    """Print what a command did."""
    for line in lines:
        typer.echo(printable(line))


def complain(*lines: str) -> None:
    """Print what is not the result of a command: warnings, failures, hints."""
    for line in lines:
        typer.echo(printable(line), err=True)


def screen() -> Console:
    """Give stdout as rich draws on it: as wide as the terminal, coloured only there and without NO_COLOR.

    What goes to a program has a line a row, however long, unless COLUMNS says otherwise.
    """
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn

    return Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNFOLDED,
    )


def plain(value: object, style: str = "") -> Text:
    """Make text of a value that may come from outside."""
    from rich.text import Text  # noqa: PLC0415 - only where something is drawn

    return Text("" if value is None else printable(str(value)), style, overflow="fold")


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> Table:
    """Lay out rows under their column names."""
    from rich.table import Table  # noqa: PLC0415 - only where something is drawn

    drawn = Table(
        title=plain(title) if title else None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in columns:
        drawn.add_column(plain(column, "dim"), overflow="fold")
    for row in rows:
        drawn.add_row(*map(plain, row))
    return drawn
