"""Writes docs/commands.md and the man page docs/syncd.1 out of the command tree: `make docs`.

Everything in them is what `--help` says, so that there is one place to write it. `--check` writes
nothing and fails where one of them is not current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from syncd.cli import app
from syncd.cli.examples import EXAMPLES, commands

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 100

EXIT_CODES = (
    ("0", "Done."),
    ("1", "The command ran, and found or met a failure."),
    ("2", "Wrong usage, or a config that is not valid."),
    ("130", "Interrupted by ^C."),
)
ENVIRONMENT = (
    ("SYNCD_CONFIG", "The config file, where no --config names one."),
    ("SYNCD_SECTION__KEY", "Overrides a key of the config, as in SYNCD_SERVER__LISTEN=127.0.0.1:9000."),
    ("NO_COLOR", "No colours, on a terminal either."),
    ("ABYSSALE_BASE_URL", "Another host for the platform's API, for tests. The platform's own client reads it."),
    ("ABYSSALE_WEBHOOKS_BASE_URL", "Another host for the platform's subscriptions, for tests."),
)
FILES = (
    ("config/sync.toml", "The config, from the folder where syncd is called."),
    ("/etc/syncd/sync.toml", "The config of the service, where that is absent."),
)


def every() -> Iterator[tuple[str, Any, typer.Context]]:
    """Each command with the words that call it, and a context in which it writes its help."""
    for words, command in commands(typer.main.get_command(app)):
        name = f"syncd {words}".rstrip()
        yield name, command, typer.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)


def markdown() -> str:
    lines = [
        "# Commands", "",
        "Written by `make docs` out of what `--help` says.", "",
        "Exit codes: " + ", ".join(f"{code} {text[0].lower()}{text[1:-1]}" for code, text in EXIT_CODES) + ".", "",
    ]  # fmt: skip
    lines += ["| variable | does |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in ENVIRONMENT), ""]
    for name, command, context in every():
        command.epilog = None  # the examples follow below
        lines += [f"## {name}", "", "```text", command.get_help(context).rstrip(), "```", ""]
        if examples := EXAMPLES.get(name.partition(" ")[2]):
            lines += ["```sh", *examples, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def man() -> str:
    lines = [
        '.TH SYNCD 1 "" "syncd" "User Commands"', ".ad l",
        ".SH NAME", r"syncd \- mirror what a design platform announces by webhook into a local tree",
        ".SH SYNOPSIS", r".B syncd", r"[\-\-config PATH] COMMAND [ARGS]...",
        ".SH COMMANDS",
    ]  # fmt: skip
    for name, command, context in every():
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f".SS {roff(f'{name} {usage}')}", roff(" ".join((command.help or "").split()))]
        for param in command.get_params(context):
            if (record := param.get_help_record(context)) and param.name != "help":
                lines += [".TP", f".B {roff(record[0])}", roff(record[1])]
        for example in EXAMPLES.get(name.partition(" ")[2], ()):
            lines += [".PP", ".EX", roff(example), ".EE"]
    for title, rows in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for name, text in rows:
            lines += [".TP", f".B {roff(name)}", roff(text)]
    return "\n".join(filter(None, lines)) + "\n"


def roff(text: str) -> str:
    """Write text so that roff takes it for nothing else."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = escaped.replace("^", r"\(ha").replace("~", r"\(ti")
    return re.sub(r"^\.", r"\\&.", escaped)


def pages() -> dict[Path, str]:
    return {DOCS / "commands.md": markdown(), DOCS / "syncd.1": man()}


def main() -> int:
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path} is not what the commands say: make docs\n")
        return bool(stale)
    for path, text in pages().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
