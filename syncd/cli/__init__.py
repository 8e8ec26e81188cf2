"""The command line: which commands there are, and how a failure becomes words and an exit code.

0 is done, 1 is that a command ran and found or met a failure, 2 is wrong usage or config.
What a command does is in its module; heavy imports wait there until a command needs them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from syncd import __version__
from syncd.cli import (
    completing,
    doctor,
    examples,
    explaining,
    exporting,
    importing,
    looking,
    mending,
    pruning,
    reloading,
    running,
    sending,
    show,
    telling,
    verifying,
    webhooks,
    writing,
)
from syncd.cli.where import ConfigOption
from syncd.errors import ConfigInvalid, SyncdError

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)


class _Commands(TyperGroup):
    """All commands; here their expected failures end."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        examples.teach(self)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's own Context is a subclass
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # while a closed pipe can still be noticed
        except ConfigInvalid as error:
            show.complain(*map(str, error.problems))
            raise typer.Exit(_WRONG) from None
        except SyncdError as error:
            show.complain(f"syncd: {error}", *([f"hint: {error.hint}"] if error.hint else []))
            raise typer.Exit(_FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except OSError as error:
            if error.errno not in _UNWRITTEN or error.filename is not None:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where what is still buffered goes
            if not isinstance(error, BrokenPipeError):  # that is a reader who has seen enough
                show.complain(f"syncd: the output can't be written: {error.strerror}")
            raise typer.Exit(_FAILED) from None
        return result


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - how typer calls it
    if wanted:
        show.say(f"syncd {__version__}")
        raise typer.Exit


def _before_any_command(
    config: ConfigOption = None,
    version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mirror what a design platform announces by webhook into a local tree."""


app = typer.Typer(
    cls=_Commands,
    callback=_before_any_command,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they print local variables, which may be secrets
)
for _command in (
    running.run,
    running.demo,
    writing.init,
    writing.check,
    reloading.reload,
    sending.send,
    looking.status,
    mending.retry,
    mending.replay,
    verifying.verify,
    explaining.explain,
    writing.schema,
    doctor.doctor,
    pruning.prune,
    completing.completion,
):
    app.command()(_command)
app.command("import")(importing.import_)
app.add_typer(looking.deliveries, name="deliveries")
app.add_typer(exporting.manifest, name="manifest")
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(telling.notify, name="notify")
app.add_typer(telling.hooks, name="hooks")
app.add_typer(telling.messages, name="messages")


def main() -> None:
    """Run a command, and exit; or tell a shell how its words may go on."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a letter is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    completing.prepare()
    app(prog_name="syncd")
