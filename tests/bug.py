"""The daemon with a bug in one function, $BUG ("module:name"), that shows from when the file $BUG_SHOWS is there."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path
from typing import Any

from syncd import cli, daemon


def main() -> None:
    """Run the command line with the bug in it."""
    module, _, path = os.environ["BUG"].partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    owner = functools.reduce(getattr, outer, owner)
    sound = getattr(owner, name)

    def faulty(*args: Any, **named: Any) -> Any:
        if Path(os.environ["BUG_SHOWS"]).exists():
            raise LookupError(f"a bug in {name}")
        return sound(*args, **named)

    setattr(owner, name, faulty)
    daemon._PRUNE_EVERY = 0.1  # not the next hour's
    cli.main()
