"""What each command is used for, in lines that can be pasted into a shell.

One table, by the words that call a command; `epilog` is what stands below its help, and the pages in
docs/ show them too. A test runs every line through the parser, so that none of them can grow
stale, and asks for at least two of each command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup

EXAMPLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "": (
            "syncd demo  # see the whole thing first",
            "syncd init && syncd check && syncd run  # then for real",
        ),
        "run": (
            "syncd run  # with config/sync.toml, until ^C",
            "syncd run --config /etc/syncd/sync.toml  # as the service does",
        ),
        "demo": (
            "syncd demo  # in a new temp folder, which stays for looking at",
            "syncd demo --keep /tmp/demo  # in a folder of your choice",
        ),
        "init": (
            "syncd init  # writes config/sync.toml here",
            "syncd init /srv/banners  # writes /srv/banners/config/sync.toml",
            "syncd init --config /etc/syncd/sync.toml",
        ),
        "check": (
            "syncd check  # exit code 2 if anything is wrong",
            "syncd check --config /etc/syncd/sync.toml --json  # for a deploy script",
        ),
        "reload": (
            "syncd reload  # what is saved takes effect by itself; this waits, and says if it did",
            "syncd reload --json | jq .problems  # for a deploy script; exit code 1 if it was refused",
        ),
        "send": (
            "syncd send NEW_BANNER  # to the daemon of config/sync.toml, signed with its secret",
            "syncd send NEW_EXPORT --payload event.json --to https://mirror.example.com  # through the proxy",
        ),
        "status": (
            "syncd status --watch  # one screen, until ^C",
            "syncd status --json | jq '.queue.depth, .failures'",
        ),
        "deliveries": (
            "syncd deliveries --limit 20  # the newest first",
            "syncd deliveries --outcome quarantined --json  # what could not be understood",
        ),
        "deliveries show": (
            "syncd deliveries show 5fcec9  # any beginning of an id that is the only one",
            "syncd deliveries show 5fcec9 --json | jq -r .payload",
        ),
        "retry": (
            "syncd retry --failed  # everything that `syncd status` calls a failure",
            "syncd retry 3c9d2f10 'Spring sale/square/a.png'  # by beginning of an id, or by path",
        ),
        "replay": (
            "syncd replay 5fcec9 --dry-run  # what would come of it now, and nothing changes",
            "syncd replay --outcome ignored --since 2d  # after a filter was widened",
        ),
        "explain": (
            "syncd explain 'Spring sale/square/a.png'  # below the root, or from the folder you are in",
            "syncd explain /srv/mirror/_exports/2026-11-21_e1/a.png --json | jq .deliveries",
        ),
        "manifest": (
            "syncd manifest export --format csv --output banners.csv",
            "syncd manifest export | jq '.assets | length'",
        ),
        "manifest export": (
            "syncd manifest export --format csv --output banners.csv  # for a spreadsheet",
            "syncd manifest export --format jsonl | grep spring  # a line a file",
        ),
        "import": (
            "syncd import 3c9d2f10-8a4b-4e6c-9b1d-7f5a2e8c0d11  # a banner, or else a generation request",
            "syncd import --request --file ids.txt --json  # one id a line, - for stdin",
        ),
        "webhooks": (
            "syncd webhooks subscribe --url https://mirror.example.com",
            "syncd webhooks list",
        ),
        "webhooks list": (
            "syncd webhooks list  # made from here, and if each is still there",
            "syncd webhooks list --json | jq -r '.subscriptions[].url'",
        ),
        "webhooks subscribe": (
            "syncd webhooks subscribe --url https://mirror.example.com  # all events, each to its own path",
            "syncd webhooks subscribe NEW_BANNER NEW_EXPORT --url https://mirror.example.com/hooks",
        ),
        "webhooks unsubscribe": (
            "syncd webhooks unsubscribe 77aa88  # any beginning of an id that `list` shows",
            "syncd webhooks unsubscribe --all",
        ),
        "notify": (
            "syncd notify test",
            "syncd notify test --json | jq '.tests[] | select(.sent | not)'",
        ),
        "notify test": (
            "syncd notify test  # to everybody; exit code 1 if any can't be reached",
            "syncd notify test --config /etc/syncd/sync.toml",
        ),
        "hooks": (
            "syncd hooks test",
            "syncd hooks test --json | jq -r '.tests[].reason'",
        ),
        "hooks test": (
            "syncd hooks test  # asks each of them, about the path syncd-test",
            "syncd hooks test --config /etc/syncd/sync.toml",
        ),
        "messages": (
            "syncd messages --limit 20  # the newest first",
            "syncd messages --failed --json | jq -r '.messages[].reason'",
        ),
        "messages show": (
            "syncd messages show msg_5fcec9  # any beginning of an id that is the only one",
            "syncd messages show msg_5fcec9 --json | jq -r .body",
        ),
        "messages replay": (
            "syncd messages replay --failed  # once the receiver is back",
            "syncd messages replay msg_5fcec9 msg_77aa88",
        ),
        "doctor": (
            "syncd doctor  # everything that usually goes wrong around a daemon",
            "syncd doctor --offline --json | jq '.findings[] | select(.level == \"failure\")'",
        ),
        "completion": (
            "syncd completion bash > ~/.local/share/bash-completion/completions/syncd",
            "syncd completion fish | source  # for this session",
        ),
        "verify": (
            "syncd verify  # all of it; exit code 1 if anything is wrong",
            "syncd verify 'Spring sale' --json | jq -r '.missing[].path, .changed[].path'  # one folder",
            "syncd verify --repair --dry-run  # what a repair would do",
            "syncd verify --repair  # download again what is missing or damaged, set aside what is stray",
        ),
        "prune": (
            "syncd prune --dry-run  # what would go",
            "syncd prune --json | jq .bytes  # from a timer, once a day",
        ),
        "schema": (
            "syncd schema config > sync.schema.json  # for an editor that completes TOML",
            "syncd schema manifest  # for whoever reads the tree's manifests",
        ),
    }
)
"""By the words after `syncd`; "" is `syncd` itself."""


def epilog(words: str) -> str | None:
    """What stands below the help of the command that is called by these words."""
    # \b on a line of its own keeps the lines below as they are.
    lines = EXAMPLES.get(words)
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)]) if lines else None


def commands(command: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """Go through a command and all below it, each with the words that call it, in order of its name."""
    yield words, command
    if isinstance(command, TyperGroup):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], f"{words} {name}".lstrip())
