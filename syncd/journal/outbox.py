"""Who has been told what: for each target in the config a place in the happenings, and the messages made of them.

The functions work over an open transaction; `Outbox` are the verbs that the daemon asks. A
message is made once, in the transaction that moves its target's place, and keeps its id and its
content however often it is sent. What it says, and how it gets there, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson

from syncd.journal import Rules
from syncd.journal.happenings import Happening, record

Result = TypeVar("Result")
Ask = Callable[[Callable[[sqlite3.Connection], Any]], asyncio.Future[Any]]
Look = Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]]
MessageState = Literal["pending", "sent", "failed"]

GONE = "its target is no longer in the config"


@dataclass(frozen=True, slots=True)
class Message:
    """What one target is told of one or several happenings.

    `kind` is "notify" or "hook", `target` names it to people without its secrets. Times are unix
    seconds; `give_up_at` is when the last attempt is made at the latest.
    """

    id: str
    listener: str
    kind: str
    target: str
    events: int
    title: str
    body: str
    made_at: float
    next_at: float
    give_up_at: float
    state: MessageState = "pending"
    attempts: int = 0
    reason: str = ""
    ended_at: float | None = None


def enlist(db: sqlite3.Connection, listeners: Collection[str], now: float) -> None:
    """Have just these targets: new ones begin at the present, what others had still to be told is let go."""
    named = (json.dumps(list(listeners)),)
    db.execute("DELETE FROM listeners WHERE listener NOT IN (SELECT value FROM json_each(?))", named)
    db.execute(
        "INSERT OR IGNORE INTO listeners SELECT value,"
        " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'happenings'), 0) FROM json_each(?)",
        named,
    )
    db.execute(
        "UPDATE messages SET state = 'failed', reason = ?, ended_at = ? WHERE state = 'pending'"
        " AND listener NOT IN (SELECT listener FROM listeners)",
        (GONE, now),
    )
    _forget_told(db)


_UNTOLD = (
    "SELECT * FROM happenings WHERE seq > (SELECT told FROM listeners WHERE listener = ?)"
    " AND EXISTS (SELECT 1 FROM json_each(?) WHERE event GLOB value) ORDER BY seq LIMIT ?"
)


def pile(db: sqlite3.Connection, listener: str, on: Sequence[str], limit: int) -> tuple[int, float]:
    """Count, up to `limit`, what a target is to be told of the events that it wants, and say since when."""
    query = f"SELECT count(*), coalesce(min(at), 0) FROM ({_UNTOLD})"  # noqa: S608 - from above
    count, since = db.execute(query, (listener, json.dumps(on), limit)).fetchone()
    if not count:
        _tell(db, listener, db.execute("SELECT coalesce(max(seq), 0) FROM happenings").fetchone()[0])
    return count, since


def untold(db: sqlite3.Connection, listener: str, on: Sequence[str], limit: int) -> list[Happening]:
    """What a target is to be told next of the events that it wants, oldest first."""
    rows = db.execute(_UNTOLD, (listener, json.dumps(on), limit))
    return [Happening(row["seq"], row["at"], row["event"], row["subject"], orjson.loads(row["detail"])) for row in rows]


def compose(db: sqlite3.Connection, message: Message, upto: int) -> None:
    """Make a message of a target's happenings up to this one, which are told by it from now on."""
    values = (
        message.id, message.listener, message.kind, message.target, message.events, message.title, message.body,
        message.made_at, message.next_at, message.give_up_at,
    )  # fmt: skip
    db.execute(
        "INSERT INTO messages(id, listener, kind, target, events, title, body, made_at, next_at, give_up_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    _tell(db, message.listener, upto)


def _tell(db: sqlite3.Connection, listener: str, upto: int) -> None:
    moved = db.execute("UPDATE listeners SET told = ? WHERE listener = ? AND told < ?", (upto, listener, upto))
    if moved.rowcount:
        _forget_told(db)


def _forget_told(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM happenings WHERE seq <= (SELECT coalesce(min(told), 1 << 62) FROM listeners)")


def waiting(db: sqlite3.Connection, listener: str) -> Message | None:
    """The message that a target gets next: it is the only one that is sent."""
    query = "SELECT * FROM messages WHERE state = 'pending' AND listener = ? ORDER BY number LIMIT 1"
    row = db.execute(query, (listener,)).fetchone()
    return None if row is None else message_of(row)


def message_of(row: sqlite3.Row) -> Message:
    """Read a message back."""
    return Message(**{name: row[name] for name in Message.__slots__})


def settle(db: sqlite3.Connection, message: Message) -> None:
    """Record what came of an attempt."""
    values = (message.state, message.attempts, message.next_at, message.reason, message.ended_at, message.id)
    db.execute(
        "UPDATE messages SET state = ?, attempts = ?, next_at = ?, reason = ?, ended_at = ? WHERE id = ?", values
    )


def replay(db: sqlite3.Connection, name: str, now: float, patience: float) -> bool:
    """Have a message sent again, with the same id and content; False where its target is gone."""
    again = db.execute(
        "UPDATE messages SET state = 'pending', attempts = 0, next_at = ?, give_up_at = ?, reason = '', ended_at = NULL"
        " WHERE id = ? AND listener IN (SELECT listener FROM listeners)",
        (now, now + patience, name),
    )
    return bool(again.rowcount)


def given_up(db: sqlite3.Connection) -> list[str]:
    """The ids of the messages that failed, oldest first."""
    return [name for (name,) in db.execute("SELECT id FROM messages WHERE state = 'failed' ORDER BY number")]


def prune(db: sqlite3.Connection, before: float, limit: int = 500) -> int:
    """Forget messages that have ended and were made before; returns how many."""
    ended = "SELECT number FROM messages WHERE made_at < ? AND state != 'pending' LIMIT ?"
    return db.execute(f"DELETE FROM messages WHERE number IN ({ended})", (before, limit)).rowcount  # noqa: S608 - from above


class Outbox:
    """These verbs as the daemon asks them: each returns once it is on stable storage, or raises JournalUnavailable.

    `heard` is set when something may have happened that is to be told; the one who tells clears it.
    """

    def __init__(self, ask: Ask, look: Look) -> None:
        self.heard = asyncio.Event()
        self._ask = ask
        self._look = look

    async def enlist(self, listeners: Collection[str], now: float) -> None:
        """Have just these targets."""
        await self._ask(lambda db: enlist(db, listeners, now))

    async def happened(self, rules: Rules, lines: Iterable[tuple[float, str, str, Mapping[str, Any]]]) -> None:
        """Note what happened to the daemon itself: when, the event, its subject, its facts."""

        def work(db: sqlite3.Connection) -> None:
            for line in lines:
                record(db, rules, *line)

        await self._ask(work)
        self.heard.set()

    async def pile(self, listener: str, on: Sequence[str], limit: int) -> tuple[int, float]:
        """How much a target is to be told, and since when."""
        piled: tuple[int, float] = await self._ask(lambda db: pile(db, listener, on, limit))
        return piled

    async def untold(self, listener: str, on: Sequence[str], limit: int) -> list[Happening]:
        """What a target is to be told next."""
        found: list[Happening] = await self._look(lambda db: untold(db, listener, on, limit))
        return found

    async def compose(self, message: Message, upto: int) -> None:
        """Make a message of a target's happenings up to this one."""
        await self._ask(lambda db: compose(db, message, upto))

    async def waiting(self, listener: str) -> Message | None:
        """The message that a target gets next."""
        message: Message | None = await self._look(lambda db: waiting(db, listener))
        return message

    async def settle(self, message: Message) -> None:
        """Record what came of an attempt."""
        await self._ask(lambda db: settle(db, message))

    async def heard_from(self, source: str) -> float | None:
        """When the newest delivery of a source was received."""
        query = "SELECT received_at FROM deliveries WHERE source = ? ORDER BY seq DESC LIMIT 1"
        row = await self._look(lambda db: db.execute(query, (source,)).fetchone())
        return None if row is None else row[0]
