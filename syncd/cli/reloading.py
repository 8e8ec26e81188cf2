"""`reload`: has the running daemon take over its config, waits, and says what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.cli.asking import exchange
from syncd.cli.show import document, say
from syncd.cli.where import ConfigOption, config_path, places
from syncd.config import load
from syncd.errors import Problem, SyncdError

_LONGEST = 30.0  # seconds that a reload may take; the name of an address may have to be looked up
_MOVING = 2.0  # seconds in which a daemon that has noticed the edit by itself appears at a new admin.listen
_LOOK_EVERY = 0.1
_OK, _INVALID = 200, 422


def reload(
    config: ConfigOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Have the running daemon reload its config, and wait for the result."""
    path = config_path(config)
    status, said = _ask(path)
    if status not in (_OK, _INVALID):
        raise SyncdError(f"a reload is answered {status}: {said}", hint="is it syncd that listens at admin.listen?")
    if as_json:
        document(said)
    elif status == _OK:
        say(f"{path} is in force, generation {said['generation']}")
    else:
        say(*(str(Problem(**problem)) for problem in said["problems"]))
    if status != _OK:
        raise typer.Exit(1)


def _ask(path: Path) -> tuple[int, dict[str, Any]]:
    """Ask where the daemon listens, which may move at this moment."""
    for _ in range(int(_MOVING / _LOOK_EVERY)):
        admin = places(path).admin
        if answer := exchange(admin, "POST", "/-/reload", _LONGEST):
            return answer
        time.sleep(_LOOK_EVERY)
    load(path)  # one that is refused may be why it listens elsewhere; this says what is wrong with it
    raise SyncdError(f"no daemon answers at {admin}", hint="`syncd run` starts one; admin.listen says where it answers")
