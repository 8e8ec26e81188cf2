"""A short transaction of somebody who is not the daemon: a command that an operator gives.

It works beside a running daemon, which notices that another has committed and looks for what
there is to do, and without one, which then finds it at its next start. What the commands
change is in functions over the open transaction, beside those that the daemon uses.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from syncd.errors import JournalUnavailable
from syncd.journal.schema import connect, exists


@contextmanager
def order(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal at `path` for one transaction, committed at the end of the block unless it raises.

    Keep it short: the daemon can't acknowledge anything meanwhile. Raises JournalUnavailable where
    there is no journal, or where it can't be written, in which case nothing has happened.
    """
    exists(path)
    with closing(connect(path, "write")) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except sqlite3.IntegrityError:
            raise  # a bug of ours, not of the disk
        except sqlite3.Error as error:
            raise JournalUnavailable(f"the journal {path} can't be written: {error}") from error
