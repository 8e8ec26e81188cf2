from dataclasses import replace

import pytest
from journal.press import banner, press_at, rules

from syncd.journal import Again
from syncd.model import Retry

ALONE = {"sharing_id": ""}


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        yield press


@pytest.fixture
async def keeper(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=3)) as press:
        yield press


async def count_visuals(press):
    ((count,),) = press.rows("SELECT count(*) FROM visuals")
    return count


async def test_versions_with_one_sharing_id_are_one_visual(press):
    await press.announce(banner("b1", "s1", 1), banner("b2", "s1", 2))
    assert await count_visuals(press) == 1


async def test_an_id_seen_with_a_sharing_id_is_remembered(press):
    await press.announce(banner("b1", "s1", 1))
    await press.announce(banner("b1", "", 2))
    assert await count_visuals(press) == 1


async def test_a_sharing_id_that_comes_later_joins_what_was_known_by_its_id(press):
    await press.announce(banner("b1", "", 1))
    await press.publish()
    await press.announce(banner("b1", "s1", 2))
    assert (await press.job()).key == "Spring sale/square/a.png"
    assert await count_visuals(press) == 1


async def test_an_id_of_another_sharing_id_proves_nothing(press):
    await press.announce(banner("b1", "s1", 1))
    await press.announce(banner("b1", "s2", 1))
    await press.announce(banner("b1", "s2", 2))
    assert await count_visuals(press) == 2


async def test_an_id_that_looks_like_a_sharing_id_is_still_an_id(press):
    await press.announce(banner("x:sharing:y", "", 1))
    await press.announce(banner("x:sharing:y", "s1", 2))
    assert await count_visuals(press) == 1


async def test_an_html5_visual_and_its_fallback_are_two(press):
    await press.announce(banner(), replace(banner(), kind="fallback"))
    assert await count_visuals(press) == 2


async def test_of_two_published_visuals_that_are_one_the_newer_stays(press):
    await press.announce(banner("b1", "", 1))
    await press.publish(1)
    await press.announce(banner("b2", "s1", 2))
    await press.publish(2)
    await press.catch_up()
    assert len(press.tree) == 2

    await press.announce(banner("b1", "s1", 1))  # says that b1 belongs to s1
    assert press.states() == {1: "superseded", 2: "published"}
    await press.sweep()
    assert press.named().items() <= press.tree.items(), "no file goes before its manifest drops it"
    await press.catch_up()
    assert list(press.current().values()) == [2]
    assert press.named() == press.tree


async def test_a_merger_while_the_older_one_is_on_its_way_leaves_the_newer(press):
    await press.announce(banner("b1", "", 1))
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(banner("b2", "s1", 2))
    await press.publish(2)
    await press.announce(banner("b1", "s1", 3))
    await press.settle(step)
    await press.give_up(await press.job(3))
    await press.catch_up()
    assert list(press.current().values()) == [2]
    assert press.named() == press.tree


async def test_two_visuals_placed_in_one_batch_while_they_become_one_end_as_the_newer(press):
    await press.announce(banner("b1", "", 1), banner("b2", "s1", 2))
    older, newer = [await press.place(job) for job in await press.jobs()]
    press.move(newer)
    press.move(older)
    await press.announce(banner("b1", "s1", 1))
    await press.settle(newer)
    await press.settle(older)
    await press.catch_up()
    assert list(press.current().values()) == [2]
    assert press.named() == press.tree


async def test_a_merger_forgets_the_older_of_two_jobs(press):
    await press.announce(banner("b1", "", 1))
    await press.announce(banner("b2", "s1", 3))
    await press.announce(banner("b1", "s1", 2))
    assert press.states() == {1: "superseded", 2: "superseded", 3: "pending"}


async def test_a_merger_by_a_repetition_forgets_the_older_job_too(press):
    await press.announce(banner("b1", "", 1))
    await press.announce(banner("b2", "s1", 3))
    await press.announce(banner("b1", "s1", 3))
    assert press.states() == {1: "superseded", 3: "pending"}


async def test_the_same_version_again_joins_the_job_with_the_fresh_url(press):
    await press.announce(banner(url="https://host.test/stale"))
    await press.announce(banner(url="https://host.test/fresh"))
    assert (await press.job()).asset.url == "https://host.test/fresh"


async def test_the_same_version_again_is_no_second_job_once_it_is_published(press):
    await press.announce(banner())
    await press.publish()
    await press.announce(banner())
    assert await press.jobs() == []
    assert press.outcomes() == {"d1": "processed", "d2": "processed"}


async def test_a_failed_version_is_revived_with_the_fresh_url_and_all_its_time(press):
    await press.announce(banner(url="https://host.test/stale"))
    await press.give_up(await press.job())
    assert await press.jobs() == []
    press.now += 86_400
    await press.announce(banner(url="https://host.test/fresh"))
    job = await press.job()
    assert (job.asset.url, job.goes, job.give_up_at) == ("https://host.test/fresh", 0, press.now + 86_400)


async def test_a_job_that_fails_with_a_stale_url_is_tried_with_the_fresh_one(press):
    await press.announce(banner(url="https://host.test/stale"))
    in_hand = await press.job()
    await press.announce(banner(url="https://host.test/fresh"))
    await press.give_up(in_hand)
    assert (await press.job()).asset.url == "https://host.test/fresh"
    await press.give_up(await press.job())
    assert press.states() == {1: "failed"}


async def test_a_waiting_job_has_the_time_of_its_latest_announcement(press):
    await press.announce(banner())
    await press.journal.settle([Again(await press.job(), Retry("503", 5), press.now + 60)], press.rules, press.now)
    press.now += 3600
    await press.announce(banner())
    assert (await press.job()).give_up_at == press.now + 86_400


async def test_a_newer_version_makes_an_older_job_unwanted(press):
    await press.announce(banner(version=2))
    await press.announce(banner(version=10))
    assert press.states() == {2: "superseded", 10: "pending"}


async def test_an_older_version_that_comes_late_is_never_fetched(press):
    await press.announce(banner(version=2))
    await press.announce(banner(version=1))
    assert [job.asset.version for job in await press.jobs()] == [2]
    await press.publish()
    await press.announce(banner(version=0))
    assert await press.jobs() == []


@pytest.mark.parametrize("versions", [(None, 0), (0, None)])
async def test_a_versioned_one_beats_one_without_in_either_order(press, versions):
    for version in versions:
        await press.announce(banner(version=version))
    assert press.states() == {None: "superseded", 0: "pending"}


async def test_without_versions_the_later_receipt_wins(press):
    await press.announce(banner(version=None, url="https://host.test/first"))
    await press.publish()
    await press.announce(banner(version=None, url="https://host.test/second"))
    assert (await press.job()).asset.url == "https://host.test/second"
    placement = await press.publish()
    assert (placement.key, placement.superseded) == ("Spring sale/square/a.png", False)


async def test_one_visual_twice_in_a_batch_without_versions_is_one_job(press):
    await press.announce(banner(version=None), banner(version=None))
    await press.publish()
    assert press.outcomes() == {"d1": "processed"}


async def test_two_versions_of_one_visual_in_a_batch_leave_the_newer_job(press):
    await press.announce(banner(version=2), banner(version=1), banner(version=3))
    assert press.states() == {1: "superseded", 2: "superseded", 3: "pending"}


async def test_a_newer_version_that_fails_gives_the_older_one_its_chance(press):
    await press.announce(banner(version=1))
    await press.announce(banner(version=2))
    await press.announce(banner(version=3))
    await press.give_up(await press.job())
    assert press.states() == {1: "superseded", 2: "pending", 3: "failed"}
    assert press.outcomes() == {"d1": "processed", "d2": "accepted", "d3": "processed"}
    placement = await press.publish()
    assert placement.key == "Spring sale/square/a.png"
    assert press.outcomes()["d2"] == "processed"


async def test_an_older_one_gets_no_chance_while_something_newer_is_published(press):
    await press.announce(banner(version=2))
    await press.publish()
    await press.announce(banner(version=1))
    await press.announce(banner(version=3))
    await press.give_up(await press.job())
    assert press.states() == {1: "superseded", 2: "published", 3: "failed"}


async def test_a_replaced_version_does_not_come_back(press):
    for version in (1, 2):
        await press.announce(banner(version=version))
        await press.publish()
    await press.announce(banner(version=3))
    await press.give_up(await press.job())
    press.under(keep_versions=3)
    await press.announce(banner(version=1))
    assert press.states() == {1: "superseded", 2: "published", 3: "failed"}


async def test_as_many_versions_as_are_kept_are_wanted(keeper):
    for version in (4, 1, 2, 3):
        await keeper.announce(banner(version=version))
    assert keeper.states() == {1: "superseded", 2: "pending", 3: "pending", 4: "pending"}
