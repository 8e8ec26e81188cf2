import json
from dataclasses import replace

import pytest
from journal.press import SPRING, START, arrival, banner, press_at, rules

from syncd.journal import Again, Decision, GaveUp
from syncd.model import Failed, News, Retry, TemplateStatus

KEY = "Spring sale/square/a.png"


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db", replace(rules(), wanted=frozenset({"*"}))) as press:
        yield press


def happened(press, event="*"):
    """What was noted of an event, oldest first: subjects and facts."""
    lines = press.rows("SELECT subject, detail FROM happenings WHERE event GLOB ? ORDER BY seq", event)
    return [(subject, json.loads(detail)) for subject, detail in lines]


def events(press):
    return [event for (event,) in press.rows("SELECT event FROM happenings ORDER BY seq")]


async def test_nothing_is_noted_that_nobody_wants(tmp_path):
    async with press_at(tmp_path / "journal.db", replace(rules(), wanted=frozenset({"asset.failed"}))) as press:
        await press.announce(banner())
        await press.publish()
        assert events(press) == []


async def test_a_published_file_is_noted_with_what_a_receiver_needs(press):
    await press.announce(banner())
    await press.publish()
    ((subject, facts),) = happened(press)
    assert subject == KEY
    assert facts == {
        "path": KEY, "sha256": press.tree[KEY], "bytes": facts["bytes"], "superseded": False, "id": "b1", "version": 1,
        "kind": "file", "type": "png", "template": "Spring sale", "template_id": "t1", "format": "square",
        "source": "abyssale", "delivery": "d1",
    }  # fmt: skip


async def test_a_replaced_file_is_noted_as_published_and_one_under_another_path_as_removed(press):
    for version, kind in ((1, "png"), (2, "png"), (3, "jpeg")):
        await press.announce(banner(version=version, type=kind, filename=f"a.{kind}"))
        await press.publish(version)
        await press.catch_up()
    assert events(press) == ["asset.published", "asset.published", "asset.published", "asset.removed"]
    assert [subject for subject, _ in happened(press)][2:] == [KEY.replace("png", "jpeg"), KEY]


async def test_a_version_that_is_kept_is_noted_under_its_new_path(tmp_path):
    async with press_at(tmp_path / "journal.db", replace(rules(keep_versions=2), wanted=frozenset({"*"}))) as press:
        for version in (1, 2):
            await press.announce(banner(version=version))
            await press.publish(version)
        told = {facts["path"]: facts["superseded"] for _, facts in happened(press)}
        assert told == {KEY: False, KEY.replace("a.png", "a.v1.png"): True}
        assert {facts["path"]: facts["sha256"] for _, facts in happened(press)} == press.tree


async def test_an_asset_that_was_given_up_is_noted_and_one_that_waits_is_not(press):
    await press.announce(banner())
    job = await press.job()
    await press.journal.settle([Again(job, Retry("HTTP 503", 5), press.now)], press.rules, press.now)
    assert events(press) == []
    await press.journal.settle([GaveUp(await press.job(), Failed("HTTP 410", 2))], press.rules, press.now)
    ((subject, facts),) = happened(press)
    assert (subject, facts["reason"], facts["attempts"]) == (KEY, "HTTP 410", 7)


async def test_a_batch_is_complete_when_its_last_asset_has_ended_and_is_noted_once(press):
    await press.announce(banner("b1", "s1"), banner("b2", "s2", filename="b.png"), batch="request-1")
    one, other = await press.jobs()
    step = await press.place(one)
    press.move(step)
    await press.settle(step)
    assert happened(press, "batch.*") == []
    await press.give_up(other)
    ((subject, facts),) = happened(press, "batch.*")
    assert subject == facts["batch"] == "request-1"
    assert (facts["published"], facts["failed"], facts["superseded"]) == (1, 1, 0)
    assert facts["failures"] == [{"id": "b2", "path": "Spring sale/square/b.png", "reason": "410"}]
    await press.announce(banner("b2", "s2", filename="b.png"))
    await press.publish()
    assert len(happened(press, "batch.*")) == 1


async def test_a_batch_without_assets_is_complete_at_once_with_its_errors(press):
    await press.journal.accept(arrival("d1"))
    (delivery,) = await press.journal.inbox(1)
    decision = Decision(delivery, "NEW_BANNER_BATCH", "accepted", batch="request-1", notes=("leaderboard: too long",))
    await press.journal.decide([decision], press.rules, START)
    ((_, facts),) = happened(press, "batch.*")
    assert facts["errors"] == ["leaderboard: too long"]


async def test_a_status_is_noted_when_it_changes_with_the_old_one_and_what_was_made_from_it(press):
    await press.announce(banner())
    await press.publish()
    await press.name_all()
    for word, at in (("IN_REVIEW", 1.0), ("IN_REVIEW", 2.0), ("APPROVED", 3.0), ("REJECTED", 2.5)):
        await press.announce(status=TemplateStatus(SPRING, word, at))
    told = [(facts["old_status"], facts["status"]) for _, facts in happened(press, "template.*")]
    assert told == [(None, "IN_REVIEW"), ("IN_REVIEW", "APPROVED")]
    assert happened(press, "template.*")[0][1]["folders"] == ["Spring sale/square"]


async def test_what_a_platform_has_to_tell_is_noted_under_its_name(press):
    await press.journal.accept(arrival("d1"))
    (delivery,) = await press.journal.inbox(1)
    news = News("abstract.comment.created", "c1", "A comment on Home", (("body", "Nice"),))
    await press.journal.decide([Decision(delivery, "comment.created", "accepted", news=(news,))], press.rules, START)
    assert events(press) == ["abstract.comment.created"]
    assert happened(press)[0][1] == {
        "body": "Nice", "title": "A comment on Home", "source": "abyssale", "delivery": "d1",
    }  # fmt: skip
