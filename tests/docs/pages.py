"""The pages of the documentation as things to run: their blocks, and a shell that goes through them.

A `sh` block is run command by command, and each must succeed. A `console` block shows commands after `$ `, and
what they print; there `...` stands for whatever differs from time to time, and on a line of its own for any number
of lines. A block whose fence says `host` needs more than a folder to work in, and is not run.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
PATIENCE = 15.0

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "-- the command has ended with "


@dataclass(frozen=True)
class Block:
    language: str
    host: bool
    text: str


@dataclass(frozen=True)
class Call:
    """One command of a page; `shown` is what it prints as the page says, None where it says nothing of that."""

    command: str
    shown: str | None

    @property
    def only_looks(self) -> bool:
        """Tell if it may be called again until what it shows has come about."""
        words = "find |ls |cat |jq |curl |journalctl |sqlite3 |syncd status|syncd deliveries|syncd explain"
        return re.match(rf"(sudo )?({words})", self.command) is not None


def pages() -> list[Path]:
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of commands in a page."""
    found = _FENCE.findall(page.read_text())
    return [
        Block(name, "host" in info.split(), text) for name, info, text in found if name in ("sh", "console", "bash")
    ]


def calls(block: Block) -> Iterator[Call]:
    if block.language == "console":
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield Call(command, shown)
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield Call(line, None)


def agrees(printed: str, shown: str) -> bool:
    """Tell if a command printed what the page shows; blanks at the end of lines don't count."""
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    wanted = ["(?s:.*)" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") for line in lines]
    return re.fullmatch("\n".join(wanted), "\n".join(map(str.rstrip, printed.strip().splitlines()))) is not None


class Shell:
    """A bash of its own process group, which keeps its variables from one command to the next."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, command: str) -> tuple[int, str]:
        """Return exit code and output, errors among it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s%d\\n' '{_END}' $?\n".encode())
        lines = []
        async with asyncio.timeout(60):
            while not (line := (await self._process.stdout.readline()).decode()).startswith(_END):
                assert line, f"the shell has ended: {command}"
                lines.append(line)
        return int(line.removeprefix(_END)), "".join(lines)[:-1]


@asynccontextmanager
async def shell(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Shell]:
    """A shell in a folder, with the `syncd` of these tests; what it has left running ends with it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SYNCD_", "ABYSSALE_", "COLUMNS"))
    }
    process = await asyncio.create_subprocess_exec(
        "bash", "--noprofile", "--norc",
        cwd=folder, env={**kept, "PATH": path, **environment}, start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Shell(process)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process group: kindly, and if that takes too long, not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        for _ in range(500):
            os.killpg(process.pid, 0)  # raises once nobody is left
            await asyncio.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
