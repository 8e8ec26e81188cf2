"""Nothing waits for a time that the clock has left."""

from dataclasses import replace

import pytest
from journal.press import HOUR, START, arrival, banner, press_at

from syncd.journal import Again, Decision, repairing
from syncd.journal.auditing import Named
from syncd.journal.mending import retry
from syncd.model import Retry

NOBODY = frozenset()


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        yield press


async def due(press, now):
    return [job.asset.id for job in await press.journal.claim("visuals", 10, now, NOBODY)]


async def job_of(press, id_):
    return next(job for job in await press.jobs() if job.asset.id == id_)


async def waits(press, job, until):
    await press.journal.settle([Again(job, Retry("503", 5), until)], press.rules, press.now)


async def test_what_was_received_by_a_clock_that_was_ahead_is_due_by_the_right_one(press):
    press.now += HOUR
    await press.announce(banner("b1", "s1"))
    await press.announce(banner("b2", "s2"))
    await waits(press, await job_of(press, "b2"), press.now + 120)
    assert await due(press, START) == []
    await press.journal.set_back(START, None)
    assert await due(press, START) == ["b1", "b2"]


async def test_what_was_received_before_the_clock_was_set_back_is_due_when_it_is_read_after_that(press):
    await press.journal.accept(arrival("d-1", at=START + HOUR))
    await press.journal.accept(arrival("d-2", at=START + HOUR))
    one, other = await press.journal.inbox(2)
    decisions = [
        Decision(one, "NEW_BANNER", "accepted", assets=(banner(),)),
        Decision(other, "commits.created", "accepted", ask_at=other.asked_at),
    ]
    await press.journal.decide(decisions, press.rules, START)
    assert await due(press, START) == ["b1"]
    assert [question.ask_at for question in await press.journal.questions(9, NOBODY)] == [START]


async def test_what_an_operator_has_tried_again_is_due_and_so_is_what_failed_later_than_now(press):
    await press.announce(banner("b1", "s1"))
    await press.announce(banner("b2", "s2"))
    press.now += HOUR
    await waits(press, await job_of(press, "b2"), press.now + 120)
    rows = press.journal._db.execute("SELECT * FROM assets WHERE platform_id = 'b1'").fetchall()
    retry(press.journal._db, rows, press.rules, press.now)
    await press.journal.set_back(START + 10, None)
    assert await due(press, START + 10) == ["b1", "b2"]


async def test_pauses_are_as_long_as_before_when_the_clock_is_set_back(press):
    await press.announce(banner())
    await waits(press, await press.job(), press.now + 600)
    press.now += 100
    await waits(press, await press.job(), press.now + 600)
    await press.journal.set_back(press.now - 50, None)
    assert await press.journal.next_due("visuals", press.now) == press.now + 600
    await press.journal.set_back(press.now - 50, 50.0)
    assert await press.journal.next_due("visuals", press.now) == press.now + 550


@pytest.mark.parametrize("back", [None, HOUR])
async def test_questions_are_asked_at_once_or_after_their_pause(press, back):
    later = START + HOUR
    await press.journal.accept(arrival("d-1", at=START))
    await press.journal.accept(arrival("d-2", at=later))
    one, other = await press.journal.inbox(2)
    asked = [Decision(each, "commits.created", "accepted", ask_at=each.asked_at) for each in (one, other)]
    await press.journal.decide(asked, press.rules, later)
    await press.journal.decide([replace(asked[0], ask_at=later + 120)], press.rules, later)
    await press.journal.set_back(START, back)
    questions = await press.journal.questions(9, NOBODY)
    pause = later + 120 - (back or 0.0)
    assert [(question.delivery.id, question.ask_at) for question in questions] == [("d-2", START), ("d-1", pause)]


async def test_what_a_repair_holds_back_stays_so(press):
    await press.announce(banner())
    await press.publish()
    found = press.rows("SELECT key, bytes, sha256, asset FROM assets")
    assert repairing.again(press.journal._db, Named(*found[0]), press.rules, press.now, press.now + HOUR)
    await press.journal.set_back(press.now, None)
    assert await due(press, press.now + HOUR - 1) == []


@pytest.mark.parametrize("back", [None, HOUR])
async def test_it_is_found_by_the_indexes(press, back):
    said = []
    press.journal._db.set_trace_callback(said.append)
    await press.journal.set_back(START, back)
    updates = [line for line in said if line.startswith("UPDATE")]
    plans = [row[3] for line in updates for row in press.rows(f"EXPLAIN QUERY PLAN {line}")]
    assert [plan for plan in plans if "deliveries_questions" in plan]
    assert [plan for plan in plans if "assets_due (lane=? AND next_at>?)" in plan]
