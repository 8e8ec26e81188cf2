"""What is held, let out and taken back, step by step over the real journal."""

from dataclasses import replace

import pytest
from journal.press import SPRING, START, banner, download, export, press_at, rules

from syncd.journal import Again, Decision, Placement
from syncd.journal.mending import replay
from syncd.journal.orders import order
from syncd.model import Retry, Template, TemplateStatus, held_key

KEY = "Spring sale/square/a.png"
APPROVED = frozenset({"APPROVED"})


def status(word, at=0.0, design=SPRING):
    return TemplateStatus(design, word, START + at)


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(approved=APPROVED)) as press:
        yield press


@pytest.fixture
async def whole(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(whole_batches=True)) as press:
        yield press


async def settled(press):
    """Do everything that there is to do now."""
    for _ in range(3):
        await press.review()
        await press.let_out()
        await press.catch_up()


# Approval


async def test_a_banner_of_a_design_without_a_status_is_held(press):
    await press.announce(banner())
    placement = await press.publish()
    await settled(press)
    assert placement.closed == "its design has no status yet"
    assert (press.tree, list(press.held)) == ({}, [held_key(1)])
    assert press.rows("SELECT state, reason, key FROM assets") == [("held", "its design has no status yet", KEY)]
    assert press.named() == {}


async def test_what_is_held_waits_for_nothing_of_ours(press):
    await press.announce(banner())
    await press.publish()
    assert press.outcomes() == {"d1": "processed"}
    assert await press.journal.standing() == (0, 0)
    assert await press.jobs() == []


async def test_an_approval_publishes_what_is_held_without_a_download(press):
    await press.announce(banner())
    await press.publish()
    await press.announce(status=status("APPROVED"))
    await settled(press)
    assert press.tree == press.named() != {}
    assert press.held == {}
    assert press.rows("SELECT state, reason, held, attempts FROM assets") == [("published", "", 0, 1)]


async def test_a_status_may_come_before_the_banner(press):
    await press.announce(status=status("approved"))
    await press.announce(banner())
    await press.publish()
    await press.catch_up()
    assert list(press.named()) == [KEY]


async def test_a_late_older_status_opens_nothing(press):
    await press.announce(banner())
    await press.publish()
    await press.announce(status=status("IN_REVIEW", at=10))
    await press.announce(status=status("APPROVED", at=5))
    await settled(press)
    assert press.tree == {}
    assert press.rows("SELECT reason FROM assets") == [("its design is IN_REVIEW",)]


async def test_a_withdrawn_file_leaves_its_manifest_before_it_leaves_the_tree(press):
    await press.announce(status=status("APPROVED"))
    await press.announce(banner())
    await press.publish()
    await press.catch_up()
    await press.announce(status=status("REJECTED", at=1))
    await press.sweep()
    assert (list(press.tree), list(press.named())) == ([KEY], [KEY]), "no manifest without it is on disk yet"
    await press.name_all()
    assert (list(press.tree), press.named()) == ([KEY], {})
    await press.sweep()
    assert (press.tree, list(press.held)) == ({}, [held_key(1)])
    assert press.states() == {1: "held"}


async def test_a_design_that_is_approved_again_is_published_again(press):
    await press.announce(status=status("APPROVED"))
    await press.announce(banner())
    await press.publish()
    await press.catch_up()
    for at, word in enumerate(["ON_HOLD", "APPROVED", "IN_REVIEW", "APPROVED"], start=1):
        await press.announce(status=status(word, at=at))
        await settled(press)
        assert list(press.named()) == list(press.tree) == ([KEY] if word == "APPROVED" else [])
    assert press.rows("SELECT attempts FROM assets") == [(1,)]


async def test_an_approval_during_a_withdrawal_brings_the_file_back(press):
    await press.announce(status=status("APPROVED"))
    await press.announce(banner())
    await press.publish()
    await press.catch_up()
    await press.announce(status=status("REJECTED", at=1))
    await press.review()
    await press.announce(status=status("APPROVED", at=2))
    await press.review()
    assert await press.journal.holding.opened() == [], "its file is still on its way"
    assert await press.jobs() == []
    await settled(press)
    assert press.tree == press.named() != {}


async def test_a_held_newer_version_leaves_the_published_older_one_alone(press):
    other = Template("t2", "Autumn")
    await press.announce(status=status("APPROVED"))
    await press.announce(banner(version=1))
    await press.publish()
    await press.catch_up()
    await press.announce(banner(version=2, template=other))
    await press.publish()
    await settled(press)
    assert press.states() == {1: "published", 2: "held"}
    assert press.current() == {KEY: 1}
    await press.announce(status=status("APPROVED", design=other))
    await settled(press)
    assert press.states() == {1: "superseded", 2: "published"}
    assert press.current() == {KEY: 2}


async def test_a_held_version_goes_when_a_newer_one_is_held(press):
    for version in (1, 2):
        await press.announce(banner(version=version))
        await press.publish(version)
    await press.sweep()
    assert press.states() == {1: "superseded", 2: "held"}
    assert list(press.held) == [held_key(2)]


async def test_a_held_version_stays_while_a_newer_one_is_only_announced(press):
    await press.announce(banner(version=1))
    await press.publish()
    await press.announce(banner(version=2))
    assert press.states() == {1: "held", 2: "pending"}
    await press.give_up(await press.job(2))
    await press.announce(status=status("APPROVED"))
    await settled(press)
    assert press.current() == {KEY: 1}


async def test_kept_versions_come_back_where_they_were(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=2, approved=APPROVED)) as press:
        await press.announce(status=status("APPROVED"))
        for version in (1, 2):
            await press.announce(banner(version=version))
            await press.publish(version)
        await press.catch_up()
        before = dict(press.tree)
        await press.announce(status=status("IN_REVIEW", at=1))
        await settled(press)
        assert press.tree == press.named() == {}
        await press.announce(status=status("APPROVED", at=2))
        await settled(press)
        assert press.tree == press.named() == before
        assert press.current() == {KEY: 2}


async def test_exports_and_what_has_no_template_id_are_not_held(press):
    await press.announce(banner(template=Template()), export())
    for job in await press.jobs():
        step = await press.place(job)
        assert isinstance(step[2], Placement)
        assert not step[2].closed
        press.move(step)
        await press.settle(step)
    assert set(press.rows("SELECT state FROM assets")) == {("published",)}


@pytest.mark.parametrize("version", [1, 2])
async def test_an_announcement_without_the_template_opens_no_gate(press, version):
    await press.announce(banner())
    await press.announce(banner(version=version, template=Template()))
    assert (await press.publish(version)).closed


async def test_sources_without_statuses_are_not_held(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(approved=APPROVED)) as press:
        press.rules = replace(press.rules, reviewed=frozenset())
        await press.announce(banner())
        assert not (await press.publish()).closed


async def test_a_changed_rule_takes_back_and_lets_out(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        other = Template("t2", "Autumn")
        await press.announce(banner("b1", "s1"), banner("b2", "s2", template=other), status=status("APPROVED"))
        for job in await press.jobs():
            step = await press.place(job)
            press.move(step)
            await press.settle(step)
        await settled(press)
        assert len(press.tree) == 2
        press.rules = rules(approved=APPROVED)
        await settled(press)
        assert list(press.tree) == list(press.named()) == [KEY]
        assert press.rows("SELECT reason FROM assets WHERE state = 'held'") == [("its design has no status yet",)]
        press.rules = rules()
        await settled(press)
        assert len(press.tree) == len(press.named()) == 2


async def test_the_same_rules_review_nothing(press):
    await press.review()
    before = press.rows("SELECT * FROM facts")
    await press.review()
    assert press.rows("SELECT * FROM facts") == before
    assert press.rows("SELECT * FROM reviews") == []


async def test_an_approval_between_placing_and_recording_is_not_missed(press):
    await press.announce(banner())
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(status=status("APPROVED"))
    await press.settle(step)
    assert press.rows("SELECT state, reason, held FROM assets") == [("pending", "", 1)]
    await settled(press)
    assert press.tree == press.named() != {}
    assert press.rows("SELECT attempts FROM assets") == [(1,)]


async def test_a_rejection_between_placing_and_recording_is_not_missed(press):
    await press.announce(status=status("APPROVED"))
    await press.announce(banner())
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(status=status("REJECTED", at=1))
    await press.settle(step)
    await settled(press)
    assert press.tree == press.named() == {}
    assert press.states() == {1: "held"}


AUTUMN = Template("t2", "Autumn")


async def a_published_second_version(press):
    """Publish and name it, of an approved design; another one is approved, too."""
    await press.announce(status=status("APPROVED"))
    await press.announce(status=status("APPROVED", design=AUTUMN))
    await press.announce(banner(version=2))
    await press.publish()
    await press.catch_up()


async def test_an_older_version_does_not_go_over_one_that_is_being_withdrawn(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=2, approved=APPROVED)) as press:
        await a_published_second_version(press)
        newer = dict(press.tree)
        await press.announce(status=status("REJECTED", at=1))
        await press.announce(banner(version=1, template=AUTUMN))
        assert (await press.publish(1)).closed == "another version is being withdrawn"
        assert press.tree == newer
        await settled(press)
        assert press.current() == {KEY: 1}
        await press.announce(status=status("APPROVED", at=2))
        await settled(press)
        assert press.current() == {KEY: 2}
        assert len(press.tree) == 2


async def test_a_batch_waits_for_one_of_its_files_whose_other_version_is_being_withdrawn(tmp_path):
    gates = rules(keep_versions=2, approved=APPROVED, whole_batches=True)
    async with press_at(tmp_path / "journal.db", gates) as press:
        await a_published_second_version(press)
        await press.announce(status=status("REJECTED", at=1))
        await press.announce(banner(version=1, template=AUTUMN), banner("b2", "s2", template=SPRING), batch="g1")
        for job in await press.jobs():
            step = await press.place(job)
            press.move(step)
            await press.settle(step)
        assert await press.journal.holding.opened() == [], "it would only be held again"
        await settled(press)
        assert press.current() == {KEY: 1}


# Held files


async def test_a_lost_held_file_is_fetched_again(press):
    await press.announce(banner())
    await press.publish()
    press.held.clear()
    await press.recover()
    assert press.rows("SELECT state, held FROM assets") == [("pending", 0)]
    assert (await press.publish()).closed
    assert list(press.held) == [held_key(1)]


async def test_a_damaged_held_file_is_fetched_again(press):
    await press.announce(banner())
    await press.publish()
    assert await press.journal.holding.match({1: 3}, press.rules, press.now) == [1]
    assert (await press.job()).row == 1


async def test_a_held_file_of_nobody_is_named_for_removal(press):
    await press.announce(banner())
    await press.publish()
    (size,) = press.rows("SELECT bytes FROM assets")[0]
    assert await press.journal.holding.match({1: size, 7: 5}, press.rules, press.now) == [7]


async def test_a_crash_between_move_and_record_keeps_the_held_file(press):
    await press.announce(banner())
    step = await press.place(await press.job())
    press.move(step)
    await press.recover()
    assert press.rows("SELECT state, held FROM assets") == [("held", 1)]
    assert list(press.held) == [held_key(1)]


async def test_a_held_file_that_is_of_no_use_is_fetched_again(press):
    await press.announce(banner())
    await press.publish()
    await press.announce(status=status("APPROVED"))
    await press.review()
    ((job, fetched),) = await press.journal.holding.opened()
    await press.journal.place([(job, fetched)], press.rules)
    await press.journal.settle([Again(job, Retry("gone", 0), press.now)], press.rules, press.now)
    assert await press.journal.holding.opened() == []
    assert (await press.job()).held is False


async def test_a_replay_leaves_held_files_alone(press, tmp_path):
    await press.announce(banner())
    await press.publish()
    with order(tmp_path / "journal.db") as db:
        replay(db, "d1", press.now)
    (delivery,) = await press.journal.inbox(1)
    decision = Decision(delivery, "NEW_BANNER", "accepted", assets=(banner(),))
    await press.journal.decide([decision], press.rules, press.now)
    assert press.states() == {1: "held"}


async def fetched_again(press):
    """A published banner that a replay fetches again; returns its job."""
    await press.announce(status=status("IN_REVIEW"))
    await press.announce(banner())
    await press.publish()
    await press.catch_up()
    press.rows("UPDATE assets SET state = 'pending'")  # as a replay does
    return await press.job()


async def test_a_file_that_is_fetched_again_as_the_gate_is_switched_on_is_held_instead_of_the_visible_one(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        job = await fetched_again(press)
        press.rules = rules(approved=APPROVED)
        step = await press.place(job, b"fresh")
        press.move(step)
        await press.settle(step)
        await settled(press)
        assert press.tree == press.named() == {}
        assert press.held == {held_key(1): download(job.asset, b"fresh").sha256}


async def test_a_file_that_is_fetched_again_for_a_withdrawn_one_is_dropped(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        job = await fetched_again(press)
        press.rules = rules(approved=APPROVED)
        await press.review()
        assert (await press.place(job, b"fresh"))[2] == "its design is IN_REVIEW"
        await settled(press)
        assert press.held == {held_key(1): download(job.asset).sha256}


async def test_a_large_design_is_reviewed_in_steps(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        await press.announce(*(banner(f"b{n}", f"s{n}", filename=f"{n}.png") for n in range(5)))
        for job in await press.jobs():
            step = await press.place(job)
            press.move(step)
            await press.settle(step)
        press.rules = rules(approved=APPROVED)
        steps = [await press.journal.holding.review(press.rules, 2, press.now) for _ in range(3)]
        assert [(step.withdrawn, step.more) for step in steps] == [(2, True), (2, True), (1, False)]


async def test_a_publication_that_a_crash_completed_after_the_withdrawal_is_withdrawn(press):
    await press.announce(status=status("APPROVED"))
    await press.announce(banner())
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(status=status("REJECTED", at=1))
    await press.review()
    await press.recover()
    await settled(press)
    assert press.tree == press.named() == {}
    assert list(press.held) == [held_key(1)]


# Batches


async def test_a_batch_is_held_until_the_last_of_it_is_here(whole):
    await whole.announce(banner("b1", "s1"), banner("b2", "s2", filename="b.png"), batch="g1")
    first, second = await whole.jobs()
    for job in (first, second):
        assert whole.tree == {}
        assert whole.outcomes() == {"d1": "accepted"}
        step = await whole.place(job)
        assert step[2].closed == "its batch is not complete"
        whole.move(step)
        await whole.settle(step)
    assert len(await whole.journal.holding.opened()) == 2
    await settled(whole)
    assert len(whole.tree) == len(whole.named()) == 2
    assert whole.held == {}
    assert whole.outcomes() == {"d1": "processed"}
    assert whole.rows("SELECT * FROM whole") == []


async def test_a_failure_does_not_hold_up_its_batch_for_ever(whole):
    await whole.announce(banner("b1", "s1"), banner("b2", "s2"), batch="g1")
    first, second = await whole.jobs()
    step = await whole.place(first)
    whole.move(step)
    await whole.settle(step)
    assert await whole.journal.holding.opened() == []
    await whole.give_up(second)
    await settled(whole)
    assert list(whole.tree) == list(whole.named()) == [KEY]


async def test_a_member_that_becomes_outdated_does_not_hold_up_its_batch(whole):
    await whole.announce(banner("b1", "s1"), banner("b2", "s2", 1), batch="g1")
    first = next(job for job in await whole.jobs() if job.asset.id == "b1")
    step = await whole.place(first)
    whole.move(step)
    await whole.settle(step)
    await whole.announce(banner("b2", "s2", 2))
    await settled(whole)
    assert list(whole.tree) == [KEY]


async def test_a_banner_alone_is_not_held(whole):
    await whole.announce(banner())
    assert not (await whole.publish()).closed


async def test_batches_that_share_a_banner_are_visible_together(whole):
    shared = banner("b2", "s2", filename="b.png")
    await whole.announce(banner("b1", "s1"), shared, batch="g1")
    await whole.announce(shared, banner("b3", "s3", filename="c.png"), batch="g2")
    jobs = {job.asset.id: job for job in await whole.jobs()}
    for id_ in ("b1", "b2"):
        step = await whole.place(jobs[id_])
        whole.move(step)
        await whole.settle(step)
    await settled(whole)
    assert whole.tree == {}, "the first is complete, but shares a banner with one that is not"
    step = await whole.place(jobs["b3"])
    whole.move(step)
    await whole.settle(step)
    await settled(whole)
    assert len(whole.tree) == 3


async def test_a_batch_waits_for_its_approval_and_is_visible_as_a_whole_then(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(approved=APPROVED, whole_batches=True)) as press:
        await press.announce(*(banner(f"b{n}", f"s{n}", filename=f"{n}.png") for n in range(5)), batch="g1")
        for job in await press.jobs():
            step = await press.place(job)
            press.move(step)
            await press.settle(step)
        await settled(press)
        assert press.tree == {}
        assert press.outcomes() == {"d1": "processed"}
        await press.announce(status=status("APPROVED"))
        step = await press.journal.holding.review(press.rules, 2, press.now)
        assert len(await press.journal.holding.opened()) == 5, "all of it, though a step is smaller"
        await settled(press)
        assert len(press.tree) == len(press.named()) == 5


async def test_without_the_rule_what_a_batch_holds_is_let_out(whole):
    await whole.announce(banner("b1", "s1"), banner("b2", "s2"), batch="g1")
    await whole.review()
    step = await whole.place((await whole.jobs())[0])
    whole.move(step)
    await whole.settle(step)
    whole.rules = rules()
    await settled(whole)
    assert list(whole.tree) == [KEY]
    assert len(await whole.jobs()) == 1
