import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal.press import START, arrival, banner, export, press_at

from syncd.journal import Again, Decision
from syncd.model import Retry, Template, TemplateStatus

HOUR = 3600.0


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        yield press


async def test_a_delivery_is_stored_as_it_came(press):
    sent = arrival("d-1", b'{"id": 1}', signed_at="1790000000")
    receipt = await press.journal.accept(sent)
    (stored,) = await press.journal.inbox(10)
    assert (receipt.delivery, receipt.duplicate) == ("d-1", False)
    assert (stored.id, stored.source, stored.body, stored.received_at) == ("d-1", "abyssale", sent.body, START)
    assert stored.headers == sent.headers
    assert press.journal.arrived.is_set()


async def test_the_same_id_is_a_duplicate_whatever_its_body(press):
    await press.journal.accept(arrival("d-1", b"{}", signed_at="1"))
    again = await press.journal.accept(arrival("d-1", b'{"rebuilt": 1}', signed_at="2"))
    assert (again.delivery, again.duplicate) == ("d-1", True)
    assert len(await press.journal.inbox(10)) == 1


async def test_what_was_signed_is_a_duplicate_under_another_id_or_none(press):
    await press.journal.accept(arrival("d-1", b"{}", signed_at="1"))
    for name in ("d-2", None):
        again = await press.journal.accept(arrival(name, b"{}", at=START + 7 * HOUR, signed_at="1"))
        assert (again.delivery, again.duplicate) == ("d-1", True)


@pytest.mark.parametrize(("signed_at", "body"), [("2", b"{}"), ("1", b"{ }")])
async def test_another_time_or_body_under_another_id_is_another_delivery(press, signed_at, body):
    await press.journal.accept(arrival("d-1", b"{}", signed_at="1"))
    assert not (await press.journal.accept(arrival("d-2", body, signed_at=signed_at))).duplicate


async def test_unsigned_deliveries_with_ids_are_told_apart_by_them(press):
    await press.journal.accept(arrival("d-1"))
    assert not (await press.journal.accept(arrival("d-2"))).duplicate


@pytest.mark.parametrize("first", ["d-1", None])
async def test_without_an_id_a_body_that_came_within_six_hours_is_a_duplicate(press, first):
    stored = await press.journal.accept(arrival(first, at=START))
    again = await press.journal.accept(arrival(None, at=START + 6 * HOUR - 1))
    assert (again.delivery, again.duplicate) == (stored.delivery, True)


async def test_without_an_id_a_body_of_longer_ago_is_a_new_delivery_with_an_id_of_its_own(press):
    first = await press.journal.accept(arrival(None, at=START))
    later = await press.journal.accept(arrival(None, at=START + 6 * HOUR))
    assert first.delivery == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert not later.duplicate
    assert later.delivery.startswith(first.delivery)
    assert [delivery.id for delivery in await press.journal.inbox(10)] == [first.delivery, later.delivery]


async def test_the_inbox_gives_the_oldest_first_and_what_was_read_no_more(press):
    await press.announce()
    for name in ("d-7", "d-8", "d-9"):
        await press.journal.accept(arrival(name))
    assert [delivery.id for delivery in await press.journal.inbox(2)] == ["d-7", "d-8"]


async def test_a_delivery_without_assets_is_processed_as_soon_as_it_is_read(press):
    (finished,) = await press.announce()
    assert (finished.source, finished.event) == ("abyssale", "NEW_BANNER")
    assert press.outcomes() == {"d1": "processed"}


async def test_a_delivery_is_processed_only_when_all_its_assets_have_ended(press):
    assert not await press.announce(banner("b1", "s1"), banner("b2", "s2", filename="b.png"))
    first, second = await press.jobs()
    step = await press.place(first)
    press.move(step)
    assert not await press.settle(step)
    assert not await press.journal.settle([Again(second, Retry("503", 5), press.now + 60)], press.rules, press.now)
    assert press.outcomes() == {"d1": "accepted"}
    assert len(await press.give_up(second)) == 1
    assert press.outcomes() == {"d1": "processed"}


async def test_a_delivery_ends_when_a_newer_version_makes_its_only_asset_unwanted(press):
    await press.announce(banner(version=1))
    assert len(await press.announce(banner(version=2))) == 1
    assert press.outcomes() == {"d1": "processed", "d2": "accepted"}


async def test_a_late_older_version_is_processed_at_once(press):
    await press.announce(banner(version=2))
    assert len(await press.announce(banner(version=1))) == 1
    assert press.outcomes() == {"d1": "accepted", "d2": "processed"}


async def test_a_revived_asset_takes_its_deliveries_back_to_accepted(press):
    await press.announce(banner())
    await press.give_up(await press.job())
    await press.announce(banner())
    assert press.outcomes() == {"d1": "accepted", "d2": "accepted"}
    await press.publish()
    assert press.outcomes() == {"d1": "processed", "d2": "processed"}


async def test_a_quarantined_delivery_stays_so_while_what_was_clear_in_it_is_published(press):
    assert not await press.announce(banner(), outcome="quarantined")
    await press.publish()
    assert press.outcomes() == {"d1": "quarantined"}
    assert press.states() == {1: "published"}


async def test_an_export_announced_again_is_the_same_job_with_the_fresh_url(press):
    await press.announce(export(url="https://host.test/stale.zip"))
    await press.announce(export(url="https://host.test/fresh.zip"))
    job = await press.job()
    assert job.asset.url == "https://host.test/fresh.zip"
    assert job.key == "_exports/2026-09-21_e1"


async def test_a_failed_export_is_revived_under_its_key(press):
    await press.announce(export())
    await press.give_up(await press.job())
    press.now += 3 * 86_400
    await press.announce(export())
    assert (await press.job()).key == "_exports/2026-09-21_e1"


async def test_an_export_that_was_forgotten_gets_its_key_again(press):
    await press.announce(export())
    await press.give_up(await press.job())
    while await press.journal.prune(press.now + 1):
        pass
    await press.announce(export())
    assert (await press.job()).key == "_exports/2026-09-21_e1"


async def test_a_status_is_told_to_the_folders_of_its_template(press):
    await press.announce(banner())
    await press.publish()
    await press.name_all()
    await press.announce(status=TemplateStatus(Template("t1", "Spring sale"), "APPROVED", START))
    await press.name_all()
    (folder,) = press.manifests.values()
    assert folder.status == TemplateStatus(Template("t1", "Spring sale"), "APPROVED", START)


async def test_a_late_older_status_changes_nothing(press):
    template = Template("t1", "Spring sale")
    await press.announce(banner())
    await press.publish()
    await press.announce(status=TemplateStatus(template, "APPROVED", START))
    await press.announce(status=TemplateStatus(template, "IN_REVIEW", START - 1))
    await press.name_all()
    assert press.manifests["Spring sale/square"].status == TemplateStatus(template, "APPROVED", START)


async def test_a_status_that_does_not_say_when_is_as_new_as_its_receipt(press):
    template = Template("t1", "Spring sale")

    async def after(word, at):
        await press.announce(status=TemplateStatus(template, word, at))
        return press.rows("SELECT status, status_updated_at FROM templates")

    assert await after("APPROVED", START) == [("APPROVED", START)]
    assert await after("IN_REVIEW", None) == [("IN_REVIEW", START + 2)]
    assert await after("APPROVED", START + 1) == [("IN_REVIEW", START + 2)]
    assert await after("REJECTED", START + 3) == [("REJECTED", START + 3)]


async def test_a_late_older_version_does_not_bring_back_the_old_name_of_its_template(press):
    names = []
    for version, name in ((1, "Spring"), (3, "Summer"), (2, "Spring"), (3, "Summer sale")):
        await press.announce(banner(version=version, template=Template("t1", name)))
        names += press.rows("SELECT name FROM templates")
    assert names == [("Spring",), ("Summer",), ("Summer",), ("Summer sale",)]


async def test_pruning_forgets_finished_deliveries_and_keeps_what_is_published(press):
    await press.announce(banner())
    await press.publish()
    await press.name_all()
    assert await press.journal.prune(press.now) == 0
    assert await press.journal.prune(press.now + 1) == 1
    assert press.outcomes() == {}
    assert press.states() == {1: "published"}
    await press.journal.rewrite_all()
    await press.name_all()
    assert press.named() == press.tree


async def test_pruning_forgets_assets_without_a_file_once_their_deliveries_are_gone(press):
    await press.announce(banner(version=2))
    await press.announce(banner(version=1))
    await press.publish(version=2)
    assert press.states() == {1: "superseded", 2: "published"}
    assert await press.journal.prune(press.now + 1) == 3
    assert press.states() == {2: "published"}
    assert await press.journal.prune(press.now + 1) == 0


@pytest.mark.parametrize("outcome", ["accepted", "quarantined"])
async def test_pruning_leaves_what_is_not_finished(press, outcome):
    await press.announce(banner(), outcome=outcome)
    await press.journal.accept(arrival("unread", at=press.now))
    assert await press.journal.prune(press.now + 1) == 0
    assert press.outcomes() == {"d1": outcome, "unread": "accepted"}


async def test_pruning_leaves_a_superseded_version_that_is_being_moved(press):
    await press.announce(banner(version=1))
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(banner(version=2))
    while await press.journal.prune(press.now + 1):
        pass
    await press.settle(step)
    await press.name_all()
    assert press.named() == press.tree


async def test_the_number_of_a_forgotten_delivery_is_never_given_again(press):
    await press.announce()
    await press.journal.prune(press.now + 1)
    await press.journal.accept(arrival("d-2"))
    (delivery,) = await press.journal.inbox(1)
    assert delivery.seq == 2


# Many deliveries read in one step

SAID = st.lists(
    st.builds(
        banner,
        st.sampled_from(["b1", "b2"]),
        st.sampled_from(["", "s1", "s2"]),
        st.sampled_from([None, 1, 2]),
        filename=st.sampled_from(["a.png", "A.png", "b.png"]),
        template=st.sampled_from([Template("t1", "Spring"), Template("t1", "Summer"), Template("t2", "spring")]),
    ),
    max_size=2,
)


async def tables_after(path, said, *, at_once):
    """What the journal holds once these deliveries are read, all in one step or one by one."""
    async with press_at(path) as press:
        for number in range(len(said)):
            await press.journal.accept(arrival(f"d{number}"))
        decisions = [
            Decision(delivery, "NEW_BANNER_BATCH", "accepted", "", tuple(assets))
            for delivery, assets in zip(await press.journal.inbox(99), said, strict=True)
        ]
        for step in [decisions] if at_once else [[decision] for decision in decisions]:
            await press.journal.decide(step, press.rules, START)
        db = press.journal._db
        # The number of a visual that was merged into another is given again, but not in the same step.
        for number, (visual,) in enumerate(db.execute("SELECT visual FROM visuals ORDER BY visual").fetchall(), 1):
            for table in ("assets", "identities", "keys", "visuals"):
                db.execute(f"UPDATE {table} SET visual = ? WHERE visual = ?", (number, visual))  # noqa: S608 - from above
        return list(db.iterdump())


@given(st.lists(SAID, min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
def test_it_is_the_same_whether_deliveries_are_read_in_one_step_or_one_by_one(said):
    with TemporaryDirectory() as folder:
        path = Path(folder)
        together = asyncio.run(tables_after(path / "one.db", said, at_once=True))
        assert together == asyncio.run(tables_after(path / "two.db", said, at_once=False))
