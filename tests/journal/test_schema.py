import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncd.errors import JournalUnavailable
from syncd.journal.schema import connect

FORMAT_1 = Path(__file__).with_name("format1.sql")


@pytest.fixture
def old(tmp_path):
    """A journal of the first format, with a delivery in it."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FORMAT_1.read_text())
        db.execute(
            "INSERT INTO deliveries(id, source, body_sha256, headers, body, received_at)"
            " VALUES ('d1', 'abyssale', x'00', '[]', x'7b7d', 1.0)"
        )
        db.commit()
    return path


def shape(db):
    """The columns of every table, in any order, and every index."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {table: {tuple(row)[1:] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}
    return columns, {tuple(row) for row in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")}


def test_a_journal_of_an_older_format_becomes_what_a_new_one_is(old, tmp_path):
    with closing(connect(old, "make")) as upgraded, closing(connect(tmp_path / "new.db", "make")) as fresh:
        assert shape(upgraded) == shape(fresh)
        assert [row["id"] for row in upgraded.execute("SELECT * FROM deliveries")] == ["d1"]
    with closing(connect(old, "make")) as again, closing(connect(old, "read")) as reader:
        assert shape(again) == shape(reader)


@pytest.mark.parametrize("to", ["read", "write"])
def test_only_the_daemon_brings_a_journal_up_to_date(old, to):
    with pytest.raises(JournalUnavailable, match="older syncd"):
        connect(old, to)
