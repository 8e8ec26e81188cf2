from dataclasses import replace

import pytest
from journal.press import START, arrival, rules

from syncd.journal.happenings import record
from syncd.journal.orders import order
from syncd.journal.outbox import GONE, Message, given_up, replay
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal

WANTED = replace(rules(), wanted=frozenset({"*"}))


@pytest.fixture
async def journal(tmp_path):
    async with open_journal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
def outbox(journal):
    return journal.outbox


async def happen(outbox, *events):
    await outbox.happened(WANTED, [(START + n, event, f"{event} {n}", {"n": n}) for n, event in enumerate(events)])


def message(name="m1", listener="one", **fields):
    said = {"kind": "hook", "target": "t", "events": 1, "title": "", "body": "{}", "made_at": START}
    return Message(name, listener, **{**said, "next_at": START, "give_up_at": START + 10, **fields})


async def untold(outbox, listener, on=("*",), limit=100):
    return [happening.event for happening in await outbox.untold(listener, on, limit)]


async def left(journal):
    return (await journal._ask(lambda db: db.execute("SELECT count(*) FROM happenings").fetchone()))[0]


async def test_a_new_target_begins_at_the_present(outbox):
    await outbox.enlist(["one"], START)
    await happen(outbox, "a")
    await outbox.enlist(["one", "two"], START)
    await happen(outbox, "b")
    assert await untold(outbox, "one") == ["a", "b"]
    assert await untold(outbox, "two") == ["b"]


async def test_a_target_is_told_in_order_what_it_wants_and_nothing_twice(outbox):
    await outbox.enlist(["one"], START)
    await happen(outbox, "asset.published", "asset.failed", "export.published", "asset.published")
    assert await untold(outbox, "one", ["asset.*"], 2) == ["asset.published", "asset.failed"]
    first, *_ = await outbox.untold("one", ["asset.*"], 2)
    await outbox.compose(message(), first.seq)
    assert await untold(outbox, "one", ["asset.*"]) == ["asset.failed", "asset.published"]


async def test_what_all_targets_were_told_is_forgotten_and_no_line_before(outbox, journal):
    await outbox.enlist(["one", "two"], START)
    await happen(outbox, "a", "b")
    *_, last = await outbox.untold("one", ["*"], 9)
    await outbox.compose(message(), last.seq)
    assert await left(journal) == 2
    assert await outbox.pile("two", ["a"], 9) == (1, START)
    assert await outbox.pile("two", ["nothing"], 9) == (0, 0)  # none of it is wanted: that counts as told
    assert await left(journal) == 0


async def test_a_number_is_never_given_twice_so_that_none_is_missed(outbox, journal):
    await outbox.enlist(["one"], START)
    await happen(outbox, "a")
    (last,) = await outbox.untold("one", ["*"], 9)
    await outbox.compose(message(), last.seq)
    assert await left(journal) == 0
    await outbox.enlist(["one", "late"], START)
    await happen(outbox, "b")
    assert await untold(outbox, "one") == await untold(outbox, "late") == ["b"]


async def test_the_oldest_message_goes_first_and_the_next_when_it_has_ended(outbox):
    await outbox.enlist(["one"], START)
    await outbox.compose(message("m1"), 0)
    await outbox.compose(message("m2"), 0)
    first = await outbox.waiting("one")
    assert first == message("m1")
    await outbox.settle(replace(first, attempts=1, next_at=START + 5, reason="HTTP 503"))
    assert (await outbox.waiting("one")).reason == "HTTP 503"
    await outbox.settle(replace(first, state="sent", ended_at=START + 6))
    assert (await outbox.waiting("one")).id == "m2"


async def test_a_target_that_left_the_config_takes_its_messages_along_visibly(outbox, journal, tmp_path):
    await outbox.enlist(["one", "two"], START)
    await happen(outbox, "a")
    await outbox.compose(message(listener="two"), 0)
    await outbox.enlist(["one"], START)
    reader = SqliteReader(tmp_path / "journal.db")
    (listed,) = reader.messages(limit=9)
    assert (listed["state"], listed["reason"]) == ("failed", GONE)
    assert reader.telling() == (0, 1)
    reader.close()
    assert await untold(outbox, "one") == ["a"]


async def test_a_failed_message_is_replayed_as_it_was_while_its_target_is_there(outbox, tmp_path):
    await outbox.enlist(["one"], START)
    sent = message(body='{"a": 1}')
    await outbox.compose(sent, 0)
    await outbox.compose(message("m2", "gone"), 0)
    for one in (sent, message("m2", "gone")):
        await outbox.settle(replace(one, state="failed", attempts=9, reason="HTTP 500", ended_at=START))
    with order(tmp_path / "journal.db") as db:
        assert given_up(db) == ["m1", "m2"]
        assert replay(db, "m1", START + 100, 50.0)
        assert not replay(db, "m2", START + 100, 50.0)
    assert await outbox.waiting("one") == replace(sent, next_at=START + 100, give_up_at=START + 150)


async def test_messages_that_have_ended_are_forgotten_with_the_deliveries_and_others_are_not(outbox, journal):
    await outbox.enlist(["one"], START)
    await outbox.compose(message("m1"), 0)
    await outbox.compose(message("m2"), 0)
    await outbox.settle(replace(message("m1"), state="sent", ended_at=START))
    assert await journal.prune(START) == 0
    assert await journal.prune(START + 1) == 1
    assert (await outbox.waiting("one")).id == "m2"


async def test_a_line_and_what_it_tells_of_are_one(journal):
    def fails(db):
        record(db, WANTED, START, "a", "s", {})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await journal._ask(fails)
    assert await left(journal) == 0


async def test_the_newest_delivery_of_a_source_is_found(outbox, journal):
    assert await outbox.heard_from("abyssale") is None
    for name, at in (("d1", START), ("d2", START + 5)):
        await journal.accept(arrival(name, at=at))
    assert await outbox.heard_from("abyssale") == START + 5
    assert await outbox.heard_from("abstract") is None
