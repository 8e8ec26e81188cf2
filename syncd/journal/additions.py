"""Rows that one transaction adds, written many at a time.

A statement gives the interpreter away and has to wait for it again, which in a burst takes several times longer than
to add the row. So what nobody reads for a while is collected here. What the rows mean is the caller's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_AT_ONCE = 64  # rows in a statement: few enough for SQLite, and for Python to remember each statement


class Additions:
    """Rows to add, in the order in which their tables were first named. They are there after `write`, for everybody."""

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

    def add(self, insert: str, *values: Any) -> None:
        """Add a row, as `insert` would, which is a statement up to its VALUES."""
        self._rows.setdefault(insert, []).append(values)

    def write(self) -> None:
        """Write the rows."""
        for insert, rows in self._rows.items():
            together(self._db, rows, insert)
        self._rows.clear()


def together(db: sqlite3.Connection, rows: Sequence[Sequence[Any]], before: str, after: str = "") -> None:
    """Run a statement with a VALUES list of some rows after the other, between what comes `before` and `after` it."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        row = f"({', '.join('?' * len(some[0]))})"
        db.execute(f"{before} VALUES {', '.join([row] * len(some))}{after}", list(chain.from_iterable(some)))
