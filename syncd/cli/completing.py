"""`completion`: the script by which a shell completes syncd's commands and options.

The script calls syncd with a variable set, and typer answers out of the command tree; what that
needs is loaded in such a call alone.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from syncd.cli.show import complain
from syncd.cli.where import ConfigOption

_VARIABLE = "_SYNCD_COMPLETE"
_NEXT = {
    "bash": "syncd completion bash > ~/.local/share/bash-completion/completions/syncd",
    "zsh": "echo 'source <(syncd completion zsh)' >> ~/.zshrc",
    "fish": "syncd completion fish > ~/.config/fish/completions/syncd.fish",
}


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="bash|zsh|fish", show_default=False)],
    config: ConfigOption = None,  # noqa: ARG001 - taken everywhere
) -> None:
    """Print the script that completes syncd's words in a shell."""
    from typer.completion import (  # type: ignore[attr-defined]  # exported, though not by name  # noqa: PLC0415 - weight
        get_completion_script,
    )

    typer.echo(get_completion_script(prog_name="syncd", complete_var=_VARIABLE, shell=shell))
    if sys.stdout.isatty():
        complain("", f"to keep it: {_NEXT[shell]}")


def prepare() -> None:
    """Make ready to answer, where it is a shell that asks."""
    if _VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # see above  # noqa: PLC0415 - same

        completion_init()
