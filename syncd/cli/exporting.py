"""`manifest export`: everything that is published, as one document."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from syncd.cli.asking import state
from syncd.cli.where import ConfigOption, config_path, reading
from syncd.errors import SyncdError
from syncd.mirror.manifest import flat
from syncd.model import rfc3339
from syncd.observe.text import printable

COLUMNS = (
    "path", "kind", "id", "sharing_id", "version", "superseded", "type", "bytes", "sha256", "width", "height",
    "template_id", "template", "format", "export_id", "source_url", "received_at", "published_at", "view_url",
    "edit_url", "delivery",
)  # fmt: skip
"""What the table forms of the manifest name of each file."""

Rows = Iterable[dict[str, Any]]
_Write = Callable[[Rows, TextIO], None]

manifest = typer.Typer(help="Use what is published as data.", no_args_is_help=True)


@manifest.callback()
def _before(config: ConfigOption = None) -> None:
    """Use what is published as data."""


@manifest.command("export")
def export(
    form: Annotated[Literal["json", "jsonl", "csv"], typer.Option("--format", help="How it is written.")] = "json",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, readable=False, help="Where to; else stdout. Replaced once all is written."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print every published file, as of one moment."""
    path = config_path(config)
    with reading(path, state(path)) as reader, reader.snapshot():
        rows = flat(reader.folders(), reader.exports())
        if output is None:
            _FORMS[form](rows, sys.stdout)
        else:
            _put(output, rows, _FORMS[form])


def _put(output: Path, rows: Rows, write: _Write) -> None:
    """Replace a file, or what a link leads to. A fifo or a device stays, and is written to."""
    try:
        if output.exists() and not output.is_file():
            with output.open("w", encoding="utf-8", newline="") as file:
                write(rows, file)
        else:
            _replace(Path(os.path.realpath(output)), rows, write)
    except OSError as error:
        raise SyncdError(f"can't write {output}: {error.strerror}") from error


def _replace(output: Path, rows: Rows, write: _Write) -> None:
    """Write beside the file, then put it in its place: nobody reads half of it."""
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            write(rows, file)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _write_json(rows: Rows, out: TextIO) -> None:
    out.write(f'{{"version": 1, "generated_at": "{rfc3339(time.time())}", "assets": [')
    before = "\n"
    for row in rows:
        out.write(before + json.dumps(row))
        before = ",\n"
    out.write("\n]}\n")


def _write_lines(rows: Rows, out: TextIO) -> None:
    out.writelines(json.dumps(row) + "\n" for row in rows)


def _write_csv(rows: Rows, out: TextIO) -> None:
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    shown = printable if out.isatty() else str  # a terminal obeys what a file only holds
    for row in rows:
        cells = {**row, "superseded": json.dumps(row["superseded"])}
        table.writerow({name: shown(cell) if isinstance(cell, str) else cell for name, cell in cells.items()})


_FORMS: dict[str, _Write] = {"json": _write_json, "jsonl": _write_lines, "csv": _write_csv}
