import sqlite3

import pytest
from journal.filled import filled

from syncd.errors import JournalUnavailable
from syncd.journal.orders import order


async def test_an_order_is_committed_beside_an_open_journal_which_notices(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path) as journal:
        assert not await journal.disturbed()
        await journal.note("mine", "1")
        assert not await journal.disturbed()
        with order(path) as db:
            db.execute("INSERT INTO facts VALUES ('theirs', '2')")
        assert await journal.disturbed()
        assert not await journal.disturbed()
        assert await journal.recall("theirs") == "2"


async def test_an_order_given_before_anybody_looked_is_noticed(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path) as journal:
        with order(path) as db:
            db.execute("INSERT INTO facts VALUES ('theirs', '2')")
        assert await journal.disturbed()


async def test_an_order_is_noticed_after_a_look_that_failed(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path) as journal:
        assert not await journal.disturbed()
        with order(path) as db:
            db.execute("INSERT INTO facts VALUES ('theirs', '2')")
        journal._db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        with pytest.raises(JournalUnavailable):
            await journal.disturbed()
        journal._db.set_authorizer(None)
        assert await journal.disturbed()


async def test_an_order_that_fails_has_changed_nothing(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path) as journal:
        with pytest.raises(sqlite3.IntegrityError), order(path) as db:
            db.executemany("INSERT INTO facts VALUES (?, '2')", [("theirs",), ("theirs",)])
        assert await journal.recall("theirs") is None


async def test_an_order_without_a_daemon_is_there_at_the_next_start(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path):
        pass
    with order(path) as db:
        db.execute("INSERT INTO facts VALUES ('theirs', '2')")
    async with filled(tmp_path / "other.db"):
        pass
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT value FROM facts WHERE name = 'theirs'").fetchone() == ("2",)
    db.close()


def test_an_order_without_a_journal_makes_none(tmp_path):
    with pytest.raises(JournalUnavailable, match="there is no journal"), order(tmp_path / "journal.db"):
        pass
    assert list(tmp_path.iterdir()) == []
