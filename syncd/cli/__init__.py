"""The command line: which commands there are, and how a failure becomes words and an exit code.

0 is done, 1 is that a command ran and found or met a failure, 2 is wrong usage or config.
What a command does is in its module, which is loaded when it is called, as are its heavy imports.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from syncd import __version__
from syncd.cli import completing, examples, show
from syncd.cli.where import ConfigOption
from syncd.errors import ConfigInvalid, SyncdError

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)


_COMMANDS = MappingProxyType(
    {
        "run": "running.run",
        "demo": "running.demo",
        "init": "writing.init",
        "check": "writing.check",
        "reload": "reloading.reload",
        "send": "sending.send",
        "status": "looking.status",
        "retry": "mending.retry",
        "replay": "mending.replay",
        "verify": "verifying.verify",
        "explain": "explaining.explain",
        "schema": "writing.schema",
        "doctor": "doctor.doctor",
        "prune": "pruning.prune",
        "completion": "completing.completion",
        "import": "importing.import_",
        "deliveries": "looking.deliveries",
        "manifest": "exporting.manifest",
        "webhooks": "webhooks.webhooks",
        "notify": "telling.notify",
        "hooks": "telling.hooks",
        "messages": "telling.messages",
    }
)
"""What is called by a name, in the order of the help: a function, or a group with commands of its own."""


class _Shelf(Mapping[str, Any]):
    """The commands by name, each made when it is taken for the first time."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name, _COMMANDS[name])
        return self._made[name]

    @staticmethod
    def _make(name: str, where: str) -> Any:
        module, _, what = where.partition(".")
        found = getattr(import_module(f"syncd.cli.{module}"), what)
        around = typer.Typer(callback=lambda: None, add_completion=False, rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=name)
        else:
            around.command(name)(found)
        command = typer.main.get_group(around).commands[name]
        for words, below in examples.commands(command, name):
            below.epilog = examples.epilog(words)
        return command


class _Commands(TyperGroup):
    """All commands; here their expected failures end."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Shelf()  # type: ignore[assignment]  # nobody adds one
        self.epilog = examples.epilog("")

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


def main() -> None:
    """Run a command, and exit; or tell a shell how its words may go on."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale that lacks a letter is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    completing.prepare()
    app(prog_name="syncd")
