"""The daemon with a saboteur inside: it dies, or its disk fails, at steps that were chosen before.

A process calls `main` with the arguments CONFIG STRUCK and the plan, a JSON list of `Sabotage`, in
`$SABOTAGE`; what is done is appended to the file STRUCK, a line each. The hooks wrap functions
from outside and exist here only; syncd knows nothing of them. Pauses after trouble are
shortened, so that a round takes a second and not a minute.
"""

from __future__ import annotations

import errno
import functools
import inspect
import itertools
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd import daemon
from syncd.errors import SyncdError
from syncd.journal import holding, inbox, placing
from syncd.journal.sqlite import SqliteJournal
from syncd.mirror import archive, part
from syncd.pipeline import gates, lanes, manifests, publishing, reading, room
from syncd.store import local
from syncd.store.folders import Folders
from syncd.store.local import LocalTree

KILL = "kill"
REFUSED = 75
"""The exit code of a start that the disk did not allow; systemd tries again."""
_SQLITE_SAYS = {"ENOSPC": "database or disk is full", "EROFS": "attempt to write a readonly database"}


class Connection(sqlite3.Connection):
    """A connection whose transactions can be met at their beginning and their end."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        match sql:
            case "BEGIN IMMEDIATE":
                return self.begin(sql)
            case "COMMIT":
                return self.end(sql)
        return super().execute(sql, *values)

    def begin(self, sql: str) -> sqlite3.Cursor:
        return super().execute(sql)

    def end(self, sql: str) -> sqlite3.Cursor:
        return super().execute(sql)


@dataclass(frozen=True, slots=True)
class Step:
    """A moment before or after a call, of those calls that `only` picks by their arguments."""

    owner: Any
    name: str
    after: bool = False
    only: Callable[..., bool] = lambda *_, **__: True


def _of_file(_: Any, __: Any, move: Any) -> bool:
    return not move.key.endswith((".json", "SHA256SUMS")) and not _of_export(_, __, move) and not _of_held(_, __, move)


def _of_held(_: Any, __: Any, move: Any) -> bool:
    return move.key.startswith(".syncd/held/")


def _of_let_out(_: Any, __: Any, move: Any) -> bool:
    return move.bytes is not None


def _of_export(_: Any, __: Any, move: Any) -> bool:
    return move.key.startswith("_exports/") and not move.key.endswith((".zip", ".json", "SHA256SUMS"))


def _of_folder_manifest(_: Any, __: Any, move: Any) -> bool:
    return move.key.endswith("/manifest.json")


def _of_index(_: Any, __: Any, move: Any) -> bool:
    return move.key == "manifest.json"


def _to_write(_: Any, mode: str = "r", *__: Any, **___: Any) -> bool:
    return mode in {"xb", "wb"}


STEPS = {
    "received, not stored": Step(inbox, "accept"),
    "stored, not committed": Step(inbox, "accept", after=True),
    "committed, not answered": Step(SqliteJournal, "accept", after=True),
    "before a transaction": Step(Connection, "begin"),
    "before a commit": Step(Connection, "end"),
    "after a commit": Step(Connection, "end", after=True),
    "read, not committed": Step(inbox, "decide", after=True),
    "read and committed": Step(SqliteJournal, "decide", after=True),
    "mid-download": Step(part.PartFile, "_write_back"),
    "fetched, not placed": Step(placing, "place"),
    "placed, not moved": Step(SqliteJournal, "place", after=True),
    "before the fsync of a temp": Step(LocalTree, "_sync_file"),
    "after the fsync of a temp": Step(LocalTree, "_sync_file", after=True),
    "before the rename": Step(LocalTree, "_move", only=_of_file),
    "older version kept, newer not there": Step(LocalTree, "_keep", after=True),
    "after the rename": Step(LocalTree, "_move", after=True, only=_of_file),
    "before the fsync of folders": Step(Folders, "sync"),
    "after the fsync of folders": Step(Folders, "sync", after=True),
    "moved, not recorded": Step(placing, "settle"),
    "recorded, not committed": Step(placing, "settle", after=True),
    "published and committed": Step(SqliteJournal, "settle", after=True),
    "mid-extraction": Step(archive, "_write", after=True),
    "extracted, folders not synced": Step(archive, "_finish_folder"),
    "export moved, not recorded": Step(LocalTree, "_move", after=True, only=_of_export),
    "manifest's temp written, not renamed": Step(Path, "write_bytes", after=True),
    "a folder's manifest renamed": Step(LocalTree, "_move", after=True, only=_of_folder_manifest),
    "manifests written, not recorded": Step(SqliteJournal, "manifested"),
    "folders written, index not": Step(manifests, "write_index"),
    "index renamed, not synced": Step(LocalTree, "_move", after=True, only=_of_index),
    "named no more, not removed": Step(LocalTree, "_remove"),
    "removed, not recorded": Step(SqliteJournal, "removed"),
    "mirror attached": Step(LocalTree, "_attach", after=True),
    "held file moved, not recorded": Step(LocalTree, "_move", after=True, only=_of_held),
    "let out, not moved": Step(LocalTree, "_move", only=_of_let_out),
    "let out and moved, not recorded": Step(LocalTree, "_move", after=True, only=_of_let_out),
    "reviewed, not committed": Step(holding, "review", after=True),
    "withdrawn, not set aside": Step(local, "set_aside"),
    "set aside, not recorded": Step(local, "set_aside", after=True),
    "recovery: held files compared": Step(holding, "match", after=True),
    "recovery: open questions read": Step(placing, "interrupted", after=True),
    "recovery: file looked at": Step(LocalTree, "_holds", after=True),
    "recovery: answers recorded": Step(placing, "forget_placing"),
}
"""Where the process may be killed. Each is a moment that a power cut could choose."""

GATED = frozenset(
    {
        "held file moved, not recorded", "let out, not moved", "let out and moved, not recorded",
        "withdrawn, not set aside", "set aside, not recorded",
    }
)  # fmt: skip
"""Those that are met only where not everything may be visible."""

CALLS = {
    "a transaction begins": Step(Connection, "begin"),
    "a transaction ends": Step(Connection, "end"),
    "a download's temp is made": Step(part, "_new"),
    "a download is written": Step(part.PartFile, "_write_back"),
    "a file is made": Step(Path, "open", only=_to_write),
    "a folder is made": Step(os, "mkdir"),
    "an fsync": Step(os, "fsync"),
    "a rename": Step(os, "rename"),
    "a link": Step(os, "link"),
    "an unlink": Step(os, "unlink"),
}
"""What a disk may refuse; what happens there becomes an OSError, or SQLite's word for it."""

JOURNAL = [name for name, step in CALLS.items() if step.owner is Connection]
MIRROR = [name for name, step in CALLS.items() if step.owner is not Connection]


@dataclass(frozen=True, slots=True)
class Sabotage:
    """At the `count`th time and `times` in all, or as long as the file `held` exists, `act` at a step.

    `act` is KILL or the name of an errno.
    """

    step: str
    act: str = KILL
    count: int = 1
    times: int = 1
    held: str | None = None


def _install(plan: Sabotage, told: int) -> None:
    step = STEPS.get(plan.step) or CALLS[plan.step]
    original, strike = getattr(step.owner, step.name), _striker(plan, step, told)
    wrapped = _around(original, _nothing, strike) if step.after else _around(original, strike, _nothing)
    setattr(step.owner, step.name, functools.wraps(original)(wrapped))


def _striker(plan: Sabotage, step: Step, told: int) -> Callable[..., None]:
    numbers = itertools.count(1)  # threads share it: one `next` is one step of the interpreter

    def is_due() -> bool:
        if plan.held is not None:
            return os.path.exists(plan.held)  # noqa: PTH110 - Path may itself be under sabotage
        return plan.count <= next(numbers) < plan.count + plan.times

    def strike(*values: Any, **named: Any) -> None:
        if step.only(*values, **named) and is_due():
            os.write(told, f"{plan.step}: {plan.act}\n".encode())
            _act(plan.act, step)

    return strike


def _around(original: Any, before: Callable[..., None], after: Callable[..., None]) -> Any:
    def call(*values: Any, **named: Any) -> Any:
        before(*values, **named)
        result = original(*values, **named)
        after(*values, **named)
        return result

    async def ask(*values: Any, **named: Any) -> Any:
        before(*values, **named)
        result = await original(*values, **named)
        after(*values, **named)
        return result

    return ask if inspect.iscoroutinefunction(original) else call


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _act(act: str, step: Step) -> None:
    if act == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if step.owner is Connection:
        raise sqlite3.OperationalError(_SQLITE_SAYS.get(act, "disk I/O error"))
    number = getattr(errno, act)
    raise OSError(number, os.strerror(number))


def _hurry() -> None:
    room._EVERY = room._EVERY_IN_TROUBLE = manifests._AFTER_TROUBLE = 0.1
    daemon._LAST_LOOK = 0.01
    publishing._AFTER_TROUBLE = gates._AFTER_TROUBLE = lanes._AFTER_TROUBLE = reading._AFTER_TROUBLE = 0.05


def main() -> None:
    """Run the daemon as planned, and exit."""
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]
    _hurry()
    told = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    for plan in json.loads(os.environ["SABOTAGE"]):
        _install(Sabotage(**plan), told)
    try:
        sys.exit(daemon.run(Path(sys.argv[1])))
    except SyncdError as refusal:
        sys.stderr.write(f"syncd: {refusal}\n")
        sys.exit(REFUSED)
