"""What people and programs ask of the journal: counts, queue, deliveries, failures, what is published.

A connection of its own that can't write, so it works beside a running daemon and without one.
Answers are the JSON values of the contract ("HTTP"), times in RFC 3339. Each answer is one
short read, however large the journal is; only what is exported as a whole takes a snapshot.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncd.errors import JournalUnavailable
from syncd.journal import finding, tracing
from syncd.journal.outbox import Message, MessageState, message_of
from syncd.journal.rows import asset_of, failure_of, stale_export_of, stale_folder_of
from syncd.journal.schema import connect, exists
from syncd.model import AssetState, ExportContents, FolderContents, Outcome, rfc3339

FAILURES = 100
"""The most failures that are listed at once."""

_STATES: tuple[AssetState, ...] = ("pending", "held", "published", "superseded", "failed")
_PAGE = 500  # assets read at once
_ENTRY = "SELECT seq, id, source, event, received_at, outcome, reason, asked FROM deliveries"


class SqliteReader:
    """The questions, over one connection; whoever opened it closes it.

    Blocking, and for one thread at a time. Everything raises JournalUnavailable where there is
    no journal at `path`, or where it can't be read.
    """

    def __init__(self, path: Path) -> None:
        exists(path)
        self._db = connect(path, "read")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def counts(self) -> dict[AssetState, int]:
        """Count the assets in each state; `held` is among them once something has been held."""
        found = {row["state"]: row["assets"] for row in self._all("SELECT state, assets FROM counts")}
        return {state: found.get(state, 0) for state in _STATES if state in found or state != "held"}

    def queue(self, now: float) -> tuple[int, float]:
        """Count the jobs and unread deliveries that wait, and the seconds since the oldest was received."""
        with self.snapshot():
            jobs = self.counts()["pending"]
            ((unread,),) = self._all("SELECT count(*) FROM deliveries WHERE read = 0")
            # The first of its table is the oldest: both number their rows in the order of receipt.
            oldest = [
                *self._all("SELECT received_at FROM assets WHERE state = 'pending' ORDER BY asset LIMIT 1"),
                *self._all("SELECT received_at FROM deliveries WHERE read = 0 ORDER BY seq LIMIT 1"),
            ]
        since = min((received_at for (received_at,) in oldest), default=now)
        return jobs + unread, max(0.0, now - since)

    def newest(self) -> float | None:
        """Say when the newest delivery was received, in unix seconds."""
        rows = self._all("SELECT received_at FROM deliveries ORDER BY seq DESC LIMIT 1")
        return rows[0][0] if rows else None

    def failing(self) -> tuple[int, int]:
        """Count the assets that wait after a failed go, and those given up."""
        query = "SELECT count(*), coalesce(sum(state = 'failed'), 0) FROM assets WHERE failing_since IS NOT NULL"
        ((failing, given_up),) = self._all(query)
        return failing - given_up, given_up

    def telling(self) -> tuple[int, int]:
        """Count the messages that are under way, and those given up."""
        query = (
            "SELECT (SELECT count(*) FROM messages WHERE state = 'pending'),"
            " (SELECT count(*) FROM messages WHERE state = 'failed')"
        )
        ((pending, failed),) = self._all(query)
        return pending, failed

    def messages(self, *, limit: int, state: MessageState | None = None) -> list[dict[str, Any]]:
        """List what was told or is to be told, newest first."""
        where = "" if state is None else " WHERE state = :state"
        query = f"SELECT * FROM messages{where} ORDER BY number DESC LIMIT :limit"  # noqa: S608 - from above
        return [_message(message_of(row)) for row in self._all(query, {"state": state, "limit": limit})]

    def message(self, prefix: str) -> dict[str, Any] | None:
        """Show one message with what it says, by its id or a unique prefix of it. Raises Ambiguous."""
        with self.snapshot():
            with _readable():
                name = finding.message_id(self._db, prefix)
            found = [message_of(row) for row in self._all("SELECT * FROM messages WHERE id = ?", (name,))]
        return {**_message(found[0]), "title": found[0].title, "body": found[0].body} if found else None

    def deliveries(
        self, *, limit: int, source: str | None = None, outcome: Outcome | None = None
    ) -> list[dict[str, Any]]:
        """List the inbox, newest first."""
        wanted = {"source": source, "outcome": outcome}
        conditions = [f"{column} = :{column}" for column, value in wanted.items() if value is not None]
        if len(conditions) > 1:
            conditions[0] = f"+{conditions[0]}"  # not by its index: an outcome is the rarer one
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self.snapshot():
            rows = self._all(f"{_ENTRY}{where} ORDER BY seq DESC LIMIT :limit", {**wanted, "limit": limit})
            return [self._entry(row) for row in rows]

    def delivery(self, prefix: str) -> dict[str, Any] | None:
        """Show one delivery with headers and payload, by its id or a unique prefix of it.

        Raises Ambiguous where several begin like this and none is called so.
        """
        with self.snapshot():
            with _readable():
                name = finding.delivery_id(self._db, prefix)
            if name is None:
                return None
            (row,) = self._all(f"{_ENTRY} WHERE id = ?", (name,))
            entry = self._entry(row)
            ((headers, body),) = self._all("SELECT headers, body FROM deliveries WHERE seq = ?", (row["seq"],))
        return {**entry, "headers": _joined(json.loads(headers)), "payload": body.decode(errors="replace")}

    def ended(self, outcome: Outcome, since: float) -> list[str]:
        """Name the deliveries that ended like this, of those received since, in the order of receipt."""
        query = "SELECT id FROM deliveries WHERE outcome = ? AND read = 1 AND received_at >= ? ORDER BY seq"
        return [name for (name,) in self._all(query, (outcome, since))]

    def trace(self, path: str) -> dict[str, Any] | None:
        """Say what is known of a path below the root; None where nothing is."""
        with self.snapshot(), _readable():
            return tracing.trace(self._db, path)

    def path_of(self, prefix: str) -> str | None:
        """The path of the newest version that the platform calls by an id that begins like this. Raises Ambiguous."""
        with _readable():
            found = [row["key"] for row in finding.assets_of(self._db, prefix) if row["key"]]
        return found[-1] if found else None

    def near(self, path: str) -> list[str]:
        """Name a few known paths that are most like one that is not."""
        with _readable():
            return tracing.near(self._db, path)

    def failures(self, limit: int = FAILURES) -> list[dict[str, Any]]:
        """List the assets that wait after a failed go and those given up, newest first."""
        query = "SELECT * FROM assets WHERE failing_since IS NOT NULL ORDER BY failing_since DESC LIMIT ?"
        return [_failure(row) for row in self._all(query, (limit,))]

    def assets(self, state: AssetState | None = None) -> Iterator[dict[str, Any]]:
        """Go through all assets, or those in one state, in the order they were announced.

        Read in pages as they are asked for: one that changes its state meanwhile may be
        missed, or be there as it was before.
        """
        query = "SELECT * FROM assets WHERE asset > :after ORDER BY asset LIMIT :page"
        if state is not None:
            query = "SELECT * FROM assets WHERE state = :state AND asset > :after ORDER BY asset LIMIT :page"
        after = 0
        while page := self._all(query, {"after": after, "state": state, "page": _PAGE}):
            yield from map(_asset, page)
            after = page[-1]["asset"]

    # What is published, as a whole

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read everything inside as of one moment. Keep it short: the journal's log can't shrink meanwhile."""
        with _readable():
            outermost = not self._db.in_transaction
            if outermost:
                self._db.execute("BEGIN")
        try:
            yield
        finally:
            if outermost:
                self._db.execute("ROLLBACK")

    def folders(self) -> Iterator[FolderContents]:
        """Go through the folders of visuals in order of path, one in memory at a time."""
        with _readable():
            for row in self._db.execute("SELECT * FROM folders ORDER BY folder"):
                yield stale_folder_of(self._db, row)

    def exports(self) -> Iterator[ExportContents]:
        """Go through the exports in the order they were announced, one in memory at a time."""
        query = (
            "SELECT assets.*, exports.key AS export_key, files, total, archive_key"
            " FROM exports JOIN assets USING (asset) ORDER BY exports.asset"
        )
        with _readable():
            for row in self._db.execute(query):
                yield stale_export_of(row)

    def _entry(self, row: sqlite3.Row) -> dict[str, Any]:
        assets = self._all(
            "SELECT platform_id, state, key, reason, attempts FROM announced JOIN assets USING (asset)"
            " WHERE announced.seq = ? ORDER BY asset",
            (row["seq"],),
        )
        return {
            "id": row["id"],
            "source": row["source"],
            "event": row["event"],
            "received_at": rfc3339(row["received_at"]),
            "outcome": row["outcome"],
            "reason": row["reason"],
            "attempts": row["asked"] + sum(asset["attempts"] for asset in assets),
            "assets": [
                {"id": asset["platform_id"], "state": asset["state"], "path": asset["key"], "reason": asset["reason"]}
                for asset in assets
            ],
        }

    def _all(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        with _readable():
            return self._db.execute(query, values).fetchall()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalUnavailable(f"the journal can't be read: {error}") from error


def _joined(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Headers by name; the values of a repeated one in one line, as HTTP combines them."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "kind": message.kind,
        "target": message.target,
        "listener": message.listener,
        "events": message.events,
        "state": message.state,
        "attempts": message.attempts,
        "reason": message.reason,
        "made_at": rfc3339(message.made_at),
        "next_attempt_at": rfc3339(message.next_at) if message.state == "pending" else None,
        "ended_at": rfc3339(message.ended_at),
    }


def _failure(row: sqlite3.Row) -> dict[str, Any]:
    failure = failure_of(row)
    return {**failure, "since": rfc3339(failure["since"]), "next_attempt_at": rfc3339(failure["next_attempt_at"])}


def _asset(row: sqlite3.Row) -> dict[str, Any]:
    """The fields of a failure and those of a manifest's entry; null where there is no file yet."""
    asset = asset_of(row["detail"])
    return {
        "state": row["state"],
        **_failure(row),
        "sharing_id": asset.sharing_id or None,
        "version": asset.version,
        "kind": asset.kind,
        "type": row["type"] or asset.type or None,
        "bytes": row["bytes"],
        "sha256": row["sha256"],
        "width": asset.format.width,
        "height": asset.format.height,
        "source_url": row["source_url"],
        "received_at": rfc3339(row["received_at"]),
        "published_at": rfc3339(row["published_at"]),
        "view_url": asset.view_url or None,
        "edit_url": asset.edit_url or None,
        "delivery": row["delivery"],
    }
