import pytest
from journal.filled import filled
from journal.press import SPRING, banner, export, press_at, rules

from syncd.errors import Ambiguous
from syncd.journal import Again, Decision, Published, finding, mending
from syncd.journal.orders import order
from syncd.model import ExportFile, Retry
from syncd.model import Template as Design

DAY = 86_400.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def retry(press, path, name):
    with order(path) as db:
        return mending.retry(db, mending.named(db, name, [name]), press.rules, press.now)


def replay(press, path, name):
    with order(path) as db:
        return mending.replay(db, name, press.now)


async def reread(press, *assets, outcome="accepted"):
    """Read what is unread, as if it said this."""
    (delivery,) = await press.journal.inbox(10)
    await press.journal.decide([Decision(delivery, "NEW_BANNER", outcome, "", assets)], press.rules, press.now)


# ---- retry ----


async def test_an_asset_given_up_is_a_job_again_with_all_its_time(path):
    async with press_at(path) as press:
        await press.announce(banner())
        await press.give_up(await press.job())
        press.now += 10 * DAY
        (mended,) = retry(press, path, "b1")
        assert (mended.due, mended.shown, mended.path) == (True, False, "Spring sale/square/a.png")
        job = await press.job()
        assert (job.goes, job.give_up_at) == (0, press.now + DAY)
        assert press.outcomes() == {"d1": "accepted"}
        await press.publish()
        assert press.outcomes() == {"d1": "processed"}


async def test_an_asset_that_waits_is_due_now(path):
    async with press_at(path) as press:
        await press.announce(banner())
        again = Again(await press.job(), Retry("503", 3), press.now + 3600)
        await press.journal.settle([again], press.rules, press.now)
        assert await press.journal.claim("visuals", 10, press.now, frozenset()) == []
        retry(press, path, "b1")
        assert len(await press.journal.claim("visuals", 10, press.now, frozenset())) == 1


async def test_of_two_versions_that_failed_at_one_path_the_newer_is_tried(path):
    async with press_at(path) as press:
        await press.announce(banner(version=1))
        await press.give_up(await press.job())
        await press.announce(banner("b2", version=2))
        await press.give_up(await press.job())
        retry(press, path, "spring SALE/square/a.png")
        assert press.states() == {1: "superseded", 2: "pending"}


async def test_an_outdated_asset_that_failed_is_superseded_rather_than_tried(path):
    async with press_at(path) as press:
        await press.announce(banner(version=1))
        await press.give_up(await press.job())
        await press.announce(banner("b2", version=2))
        await press.publish()
        (mended,) = retry(press, path, "b1")
        assert (mended.due, mended.reason) == (False, "a newer version was announced (version 2)")


async def test_a_published_one_is_left_as_it_is(path):
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        (mended,) = retry(press, path, "b1")
        assert (mended.due, mended.shown, mended.reason) == (False, True, "is published")
        assert press.states() == {1: "published"}


async def test_an_asset_told_to_be_tried_while_it_fails_is_tried_once_more(path):
    async with press_at(path) as press:
        await press.announce(banner())
        job = await press.job()
        press.now += 60
        retry(press, path, "b1")
        await press.give_up(job)
        assert press.states() == {1: "pending"}
        await press.give_up(await press.job())
        assert press.states() == {1: "failed"}


async def test_what_failed_is_found_oldest_first_and_only_once(path):
    async with press_at(path) as press:
        await press.announce(*(banner(f"b{n}", f"s{n}") for n in range(3)))
        for job in await press.jobs():
            press.now += 1
            await press.give_up(job)
        with order(path) as db:
            rows = mending.failing(db, press.now, 2)
            assert [row["platform_id"] for row in rows] == ["b0", "b1"]
            mending.retry(db, rows, press.rules, press.now)
            assert [row["platform_id"] for row in mending.failing(db, press.now, 2)] == ["b2"]


# ---- replay ----


async def test_a_published_file_keeps_its_place_in_the_manifest_while_it_is_fetched_again(path):
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        await press.name_all()
        (before,) = press.rows("SELECT key, published_at, received_at, seq FROM assets")
        press.now += 10 * DAY
        assert replay(press, path, "d1") == "processed"
        await reread(press, banner())
        assert press.outcomes() == {"d1": "accepted"}
        await press.name_all()
        assert press.current() == {"Spring sale/square/a.png": 1}
        assert (await press.job()).give_up_at == press.now + DAY
        await press.publish()
        assert press.rows("SELECT key, published_at, received_at, seq FROM assets") == [before]
        assert press.outcomes() == {"d1": "processed"}


async def test_other_content_under_the_same_version_takes_the_place(path):
    async with press_at(path, rules(keep_versions=2)) as press:
        await press.announce(banner())
        await press.publish(content=b"one")
        press.now += 5
        replay(press, path, "d1")
        await reread(press, banner())
        await press.publish(content=b"two")
        await press.catch_up()
        assert press.named() == press.tree
        assert list(press.tree) == ["Spring sale/square/a.png"]
        assert press.rows("SELECT published_at FROM assets") == [(press.now,)]


async def test_a_file_that_can_not_be_fetched_again_stays_published(path):
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        replay(press, path, "d1")
        await reread(press, banner())
        await press.give_up(await press.job())
        assert press.rows("SELECT state, reason, failing_since FROM assets") == [("published", "410", None)]
        assert press.outcomes() == {"d1": "processed"}


async def test_a_newer_version_that_comes_meanwhile_wins(path):
    async with press_at(path) as press:
        await press.announce(banner(version=1))
        await press.publish()
        replay(press, path, "d1")
        await reread(press, banner(version=1))
        step = await press.place(await press.job())
        await press.announce(banner("b2", version=2))
        await press.publish(2)
        await press.settle(step)
        await press.catch_up()
        assert press.current() == {"Spring sale/square/a.png": 2}
        assert press.states()[2] == "published"


async def test_a_file_fetched_again_is_dropped_once_a_newer_one_is_there(path):
    async with press_at(path) as press:
        await press.announce(banner(version=1))
        await press.publish()
        replay(press, path, "d1")
        await reread(press, banner(version=1))
        old = await press.job()
        await press.announce(banner("b2", version=2, type="jpeg"))
        await press.publish(2)
        assert (await press.place(old))[2] == "a newer version was announced"
        await press.catch_up()
        assert list(press.tree) == ["Spring sale/square/a.jpeg"]
        assert press.states() == {1: "superseded", 2: "published"}


async def test_an_older_version_comes_back_where_more_of_them_are_kept_now(path):
    async with press_at(path) as press:
        await press.announce(banner(version=1))
        await press.publish()
        await press.announce(banner("b2", version=2))
        await press.publish()
        await press.catch_up()
        replay(press, path, "d1")
        await reread(press, banner(version=1))
        assert press.states() == {1: "superseded", 2: "published"}
        press.under(keep_versions=2)
        replay(press, path, "d1")
        await reread(press, banner(version=1))
        await press.publish()
        await press.catch_up()
        assert set(press.named()) == {"Spring sale/square/a.png", "Spring sale/square/a.v1.png"}
        assert press.named() == press.tree
        replay(press, path, "d1")  # now it is there
        await reread(press, banner(version=1))
        assert press.states() == {1: "superseded", 2: "published"}


async def test_a_replay_does_not_bring_back_a_url_that_a_later_announcement_renewed(path):
    async with press_at(path) as press:
        await press.announce(banner(url="https://host.test/old.png"))
        await press.announce(banner(url="https://host.test/new.png"))
        replay(press, path, "d1")
        await reread(press, banner(url="https://host.test/old.png"))
        assert (await press.job()).asset.url == "https://host.test/new.png"


async def test_what_a_delivery_says_is_decided_anew(path):
    async with press_at(path) as press:
        await press.announce(outcome="ignored")
        replay(press, path, "d1")
        await reread(press, banner())
        press.now += 1
        assert await press.publish() is not None
        assert press.outcomes() == {"d1": "processed"}
        replay(press, path, "d1")
        await reread(press, outcome="ignored")
        assert press.outcomes() == {"d1": "ignored"}
        assert press.states() == {1: "published"}


async def test_visuals_that_turn_out_to_be_one_while_one_is_fetched_again_leave_one_file(path):
    async with press_at(path) as press:
        await press.announce(banner("b1", "", None))
        await press.publish()
        await press.announce(banner("b2", "s1", 2))
        await press.publish(2)
        replay(press, path, "d1")
        await reread(press, banner("b1", "", None))
        await press.announce(banner("b1", "s1", 1))
        await press.catch_up()
        assert list(press.current().values()) == [2]


async def test_an_export_published_as_a_plain_file_keeps_its_name(path):
    async with press_at(path) as press:
        await press.announce(export())
        for _ in range(2):
            job, fetched, placement = await press.place(await press.job())
            done = as_plain_file(placement, job, fetched, press.now)
            await press.journal.settle([done], press.rules, press.now)
            assert press.rows("SELECT state, key FROM assets") == [("published", "_exports/2026-09-21_e1.png")]
            replay(press, path, "d1")
            await reread(press, export())


def as_plain_file(placement, job, fetched, at):
    files = (ExportFile("", fetched.bytes, fetched.sha256),)
    return Published(placement, job, fetched, at, f"{placement.key}.png", files=files)


# ---- rehearsal ----


async def test_a_rehearsal_says_what_would_come_and_changes_nothing(path):
    async with press_at(path) as press:
        await press.announce(banner("b1", "s1"))
        await press.publish()
        before = list(press.journal._db.iterdump())
        with order(path) as db:
            delivery = mending.stored(db, "d1")
            decision = Decision(
                delivery,
                "NEW_BANNER",
                "accepted",
                "",
                (banner("b1", "s1"), banner("b2", "s2", template=Design("t2", "Autumn"))),
            )
            there, fresh = mending.rehearse(db, decision, press.rules, press.now)
        assert (there.due, there.shown) == (True, True)
        assert (fresh.due, fresh.shown, fresh.path) == (True, False, "Autumn/square/a.png")
        assert list(press.journal._db.iterdump()) == before
        assert SPRING.name in there.path


# ---- what is meant ----


async def test_ids_are_found_by_any_beginning_that_is_the_only_one(path):
    async with filled(path):
        with order(path) as db:
            assert finding.delivery_id(db, "d-w") == "d-waiting"
            assert [row["platform_id"] for row in finding.assets_of(db, "b3")] == ["b3"]
            for nothing in ("", "x", "\udcff", "%", "d\0"):
                assert finding.delivery_id(db, nothing) is None
                assert finding.assets_of(db, nothing) == []
            with pytest.raises(Ambiguous, match="b1, b2, b3, b4"):
                finding.assets_of(db, "b")


async def test_a_delivery_that_is_forgotten_is_not_replayed(path):
    async with filled(path):
        with order(path) as db:
            assert mending.replay(db, "gone", 0.0) is None
            assert mending.stored(db, "gone") is None
