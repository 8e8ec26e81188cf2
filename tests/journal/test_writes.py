import sqlite3

import pytest

from syncd.journal.writes import Writes


@pytest.fixture
def db():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE things(thing INTEGER PRIMARY KEY, name, size)")
    yield db
    db.close()


def things(db):
    return db.execute("SELECT * FROM things ORDER BY thing").fetchall()


def test_rows_are_there_once_they_are_written_however_many(db):
    writes, rows = Writes(db), [(number, f"thing\0{number}", None) for number in range(1, 151)]
    for row in rows:
        writes.add("INSERT INTO things {}", *row)
    assert things(db) == []
    writes.write()
    assert things(db) == rows
    writes.write()
    assert things(db) == rows


def test_numbers_go_on_behind_the_last_row(db):
    db.execute("INSERT INTO things VALUES (41, 'here', 1)")
    writes = Writes(db)
    assert [writes.number("things"), writes.number("things")] == [42, 43]
    assert Writes(db).number("things") == 42


def test_statements_run_in_the_order_in_which_they_came_first(db):
    writes = Writes(db)
    writes.add("INSERT INTO things {}", 1, "new", 1)
    writes.add("UPDATE things SET name = column2, size = column3 FROM ({}) WHERE thing = column1", 1, "told", 2.5)
    writes.add("INSERT INTO things {}", 2, "another", 3)
    writes.write()
    assert things(db) == [(1, "told", 2.5), (2, "another", 3)]
