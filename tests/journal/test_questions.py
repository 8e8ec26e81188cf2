"""Deliveries of which only the platform knows what they announce wait for its answer, and hold up no other."""

from dataclasses import replace

import pytest
from journal.press import rules

from syncd.journal import Decision
from syncd.journal.mending import replay
from syncd.journal.orders import order
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.model import Arrival, Asset

NOBODY = frozenset()
LATER = 2000.0


def arrival(body, at=1000.0, **fields):
    return Arrival("abstract", None, None, None, (), body, at, **fields)


@pytest.fixture
async def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
async def journal(path):
    async with open_journal(path) as opened:
        yield opened


async def puzzle(journal, body=b"1"):
    """Take in a delivery that leaves a question."""
    await journal.accept(arrival(body))
    (delivery,) = await journal.inbox(9)
    await journal.decide(
        [Decision(delivery, "commits.created", "accepted", "is asked", ask_at=1000.0)], rules(), 1000.0
    )
    return delivery


async def test_a_question_waits_by_its_time_out_of_the_inbox(journal):
    one, two = await puzzle(journal, b"1"), await puzzle(journal, b"2")
    assert await journal.inbox(9) == []
    later = Decision(one, "commits.created", "accepted", "HTTP 503", ask_at=LATER)
    assert await journal.decide([later], rules(), 1001.0) == []
    asked = await journal.questions(9, NOBODY)
    assert [(q.delivery.id, q.ask_at, q.asked) for q in asked] == [(two.id, 1000.0, 0), (one.id, LATER, 1)]
    assert [q.delivery.id for q in await journal.questions(9, frozenset({two.seq}))] == [one.id]
    assert await journal.questions(0, NOBODY) == []
    assert journal.puzzled.is_set()


async def test_it_counts_as_waiting_and_shows_its_reason(journal, path):
    await puzzle(journal)
    reader = SqliteReader(path)
    (entry,) = reader.deliveries(limit=9)
    assert (entry["outcome"], entry["event"], entry["reason"]) == ("accepted", "commits.created", "is asked")
    assert reader.queue(1000.0)[0] == 1
    assert (await journal.standing())[0] == 1
    reader.close()


async def test_an_answer_ends_it(journal):
    delivery = await puzzle(journal)
    asset = Asset("abstract", "file", "a", "https://h/a.png", "png", version=1)
    await journal.decide([Decision(delivery, "commits.created", "accepted", assets=(asset,))], rules(), 1001.0)
    assert await journal.questions(9, NOBODY) == []
    (job,) = await journal.claim("visuals", 9, 1001.0, NOBODY)
    assert job.asset == asset


async def test_it_survives_a_restart(path):
    async with open_journal(path) as journal:
        await puzzle(journal)
    async with open_journal(path) as journal:
        assert len(await journal.questions(9, NOBODY)) == 1
        assert await journal.inbox(9) == []


async def test_a_replay_begins_anew(journal, path):
    delivery = await puzzle(journal)
    with order(path) as db:
        replay(db, delivery.id, 1500.0)
    assert await journal.questions(9, NOBODY) == []
    (again,) = await journal.inbox(9)
    assert again == replace(delivery, replayed_at=1500.0)
    await journal.decide([Decision(again, "commits.created", "accepted", ask_at=1500.0)], rules(), 1500.0)
    assert [q.asked for q in await journal.questions(9, NOBODY)] == [0]


async def test_what_was_caught_up_is_news_only_if_its_body_never_came(journal):
    first = await journal.accept(arrival(b"1"))
    week = 7 * 86_400.0
    again = await journal.accept(arrival(b"1", 1000.0 + week, caught_up=True))
    assert (again.delivery, again.duplicate) == (first.delivery, True)
    assert not (await journal.accept(arrival(b"2", 1000.0 + week, caught_up=True))).duplicate
    assert not (await journal.accept(arrival(b"1", 1000.0 + week))).duplicate
