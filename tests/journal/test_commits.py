import sqlite3

import pytest
from journal.press import arrival

from syncd.errors import JournalUnavailable
from syncd.journal.sqlite import open_journal


@pytest.fixture
async def journal(tmp_path):
    async with open_journal(tmp_path / "journal.db") as journal:
        yield journal


async def test_who_looks_needs_no_leave_to_write(journal, tmp_path):
    journal._db.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await journal.inbox(10) == []
    with pytest.raises(JournalUnavailable):
        await journal.accept(arrival("d-1"))
    other.close()


async def test_who_looks_sees_one_moment(journal, tmp_path):
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None, check_same_thread=False)

    def look(db):
        before = db.execute("SELECT count(*) FROM facts").fetchone()[0]
        other.execute("INSERT INTO facts VALUES ('written', 'meanwhile')")
        return before, db.execute("SELECT count(*) FROM facts").fetchone()[0]

    assert await journal._look(look) == (0, 0)
    assert await journal.recall("written") == "meanwhile"
    other.close()


async def test_a_look_changes_nothing(journal):
    await journal._look(lambda db: db.execute("INSERT INTO facts VALUES ('a', 'b')"))
    assert await journal.recall("a") is None


async def test_what_can_not_be_read_is_said_in_words_and_the_journal_goes_on(journal):
    with pytest.raises(JournalUnavailable, match="the journal can't be read: no such table"):
        await journal._look(lambda db: db.execute("SELECT * FROM nowhere"))
    assert journal.trouble == "the journal can't be read: no such table: nowhere"
    await journal.note("a", "b")
    assert journal.trouble is None
