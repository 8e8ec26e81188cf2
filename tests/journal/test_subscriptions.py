import pytest
from journal.filled import filled

from syncd.errors import JournalUnavailable
from syncd.journal.orders import order
from syncd.journal.subscriptions import Subscription, forget, remember, remembered

FIRST = Subscription("a", "NEW_BANNER", "https://x.test/new_banner", 1.0)
SECOND = Subscription("b", "NEW_EXPORT", "https://x.test/new_export", 2.0)


async def test_subscriptions_are_remembered_beside_other_facts_until_they_are_forgotten(tmp_path):
    path = tmp_path / "journal.db"
    async with filled(path) as journal:
        await journal.note("subscriber", "no")
        with order(path) as db:
            remember(db, SECOND)
            remember(db, FIRST)
        assert remembered(path) == [FIRST, SECOND]
        with order(path) as db:
            forget(db, "a")
            forget(db, "never")
        assert remembered(path) == [SECOND]
        assert await journal.recall("subscriber") == "no"


def test_without_a_journal_there_are_none_to_ask_about(tmp_path):
    with pytest.raises(JournalUnavailable):
        remembered(tmp_path / "journal.db")
