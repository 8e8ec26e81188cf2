"""The command line as people run it: a process of its own, or for speed the same commands in this one."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from syncd.cli import app

SECRET = "whsec_" + "1" * 64
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("SYNCD_", "COLUMNS"))}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def process(*args: str, cwd: Path, **environment: str) -> Ended:
    """Run `syncd` as a process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", *args,
        cwd=cwd, env=ENVIRONMENT | environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await child.communicate()
    assert child.returncode is not None
    return Ended(child.returncode, out.decode(), err.decode())


def command(*args: str | Path, **environment: str | None) -> Ended:
    """Run a command right here."""
    result = CliRunner().invoke(app, [*map(str, args)], env={"SYNCD_CONFIG": None, "COLUMNS": "200", **environment})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def write_config(folder: Path, *, listen: str = "127.0.0.1:1", admin: str = "127.0.0.1:2", more: str = "") -> Path:
    """A config under `folder`, whose state is in `folder`/state and whose tree is in `folder`/mirror."""
    path = folder / "config" / "sync.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'{more}\n[server]\nlisten = "{listen}"\n[admin]\nlisten = "{admin}"\n[sources.abyssale]\nsecret = "{SECRET}"\n'
    )
    path.chmod(0o600)
    return path
