"""What one transaction writes, many rows at a time.

A statement gives the interpreter away and has to wait for it again, which in a burst takes several times longer than
its row. So what nobody reads for a while is collected here. What the rows mean is the caller's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_AT_ONCE = 64  # rows in a statement: few enough for SQLite, and for Python to remember each statement


class Writes:
    """Rows to write, by statement and in the order in which these came first. They are there after `write`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: dict[str, list[Sequence[Any]]] = {}
        self._numbers: dict[str, int] = {}

    def number(self, table: str) -> int:
        """Give the number of the next row of a table whose rows are all added here; that row must come."""
        if table not in self._numbers:
            (last,) = self._db.execute(f"SELECT max(rowid) FROM {table}").fetchone()  # noqa: S608 - a name of ours
            self._numbers[table] = last or 0
        self._numbers[table] += 1
        return self._numbers[table]

    def add(self, statement: str, *row: Any) -> None:
        """Collect a row for a statement that has `{}` where a VALUES list belongs."""
        self._rows.setdefault(statement, []).append(row)

    def write(self) -> None:
        """Write the rows."""
        for statement, rows in self._rows.items():
            write_all(self._db, statement, rows)
        self._rows.clear()


def write_all(db: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Write rows with a statement that has `{}` where a VALUES list belongs; returns how many it has changed."""
    changed = 0
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        row = f"({', '.join('?' * len(some[0]))})"
        listed = f"VALUES {', '.join([row] * len(some))}"
        changed += db.execute(statement.replace("{}", listed), list(chain.from_iterable(some))).rowcount
    return changed
