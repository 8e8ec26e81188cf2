"""`init`, `check` and `schema`: what helps to write a config and to read a manifest."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from syncd.cli.show import complain, document, say
from syncd.cli.where import ConfigOption, config_path
from syncd.config import load, template
from syncd.config import schema as config_schema
from syncd.errors import ConfigInvalid, SyncdError

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_NEXT = (
    "next:",
    "  give the signing secret   export ABYSSALE_SIGNING_SECRET=...",
    "  look it over              syncd check --config {path}",
    "  start the daemon          syncd run --config {path}",
    "  send it something         syncd send NEW_BANNER --config {path}",
)


def init(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", show_default=False)] = None,
    config: ConfigOption = None,
) -> None:
    """Write a commented config/sync.toml, and its JSON Schema."""
    if folder is not None and config is not None:
        raise typer.BadParameter("name a folder, or the file itself with --config", param_hint="DIR")
    path = config or (folder or Path()) / "config" / "sync.toml"
    texts = {path: template(), path.with_name("sync.schema.json"): json.dumps(config_schema(), indent=2) + "\n"}
    for file in texts:
        if file.exists() or file.is_symlink():
            raise SyncdError(f"{file} exists already", hint="name another folder, or move it away first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
            say(f"wrote {file}")
    except OSError as error:
        raise SyncdError(f"can't write {error.filename}: {error.strerror}") from error
    complain(*(line.format(path=path) for line in _NEXT))


def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Validate the config, every problem at once."""
    path = config_path(config)
    try:
        loaded = load(path)
    except ConfigInvalid as invalid:
        if as_json:
            problems = [asdict(problem) for problem in invalid.problems]
            document({"path": str(path), "valid": False, "problems": problems, "warnings": []})
        else:
            say(*map(str, invalid.problems))
        raise typer.Exit(2) from None
    warnings = [asdict(warning) for warning in loaded.warnings]
    if as_json:
        document({"path": str(path), "valid": True, "problems": [], "warnings": warnings})
        return
    for warning in loaded.warnings:
        complain(f"warning: {warning}")
    say(f"{path} is valid")


def schema(
    of: Annotated[Literal["config", "manifest"], typer.Argument(metavar="config|manifest", show_default=False)],
    config: ConfigOption = None,  # noqa: ARG001 - taken everywhere
) -> None:
    """Print the JSON Schema of the config, or of the manifests."""
    if of == "config":
        document(config_schema())
    else:
        sys.stdout.write(Path(__file__).with_name("manifest.schema.json").read_text("utf-8"))
