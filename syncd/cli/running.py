"""`run` and `demo`: the daemon in the foreground, for real and for show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syncd.cli.where import ConfigOption, config_path


def run(config: ConfigOption = None) -> None:
    """Run the daemon, in the foreground."""
    path = config_path(config)
    from syncd import daemon  # noqa: PLC0415 - other commands do without its weight

    raise typer.Exit(daemon.run(path))


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Work in DIR instead of a new temp folder.")
    ] = None,
    config: ConfigOption = None,  # noqa: ARG001 - taken everywhere; the demo writes its own
) -> None:
    """Show the whole thing on this machine, the platform included."""
    from syncd.demo import show  # noqa: PLC0415 - other commands do without its weight

    raise typer.Exit(show.demo(keep))
