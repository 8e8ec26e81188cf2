import pytest
from journal.press import START, banner, download, export, index_of, press_at, rules

from syncd.journal import Again, Placement, Published, auditing, repairing, visuals
from syncd.journal.orders import order
from syncd.model import ExportFile, FolderLine, Retry, Template, TemplateStatus

KEY = "Spring sale/square/a.png"
FOLDER = "Spring sale/square"


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        yield press


@pytest.fixture
async def keeper(tmp_path):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=2)) as press:
        yield press


async def published(press, *versions):
    for version in versions:
        await press.announce(banner(version=version))
        await press.publish(version)
        await press.catch_up()


# Where files go


async def test_the_newest_takes_the_key_of_the_one_before(press):
    await published(press, 1, 2)
    assert press.current() == {KEY: 2}
    assert press.named() == press.tree
    assert press.states() == {1: "superseded", 2: "published"}


async def test_what_comes_after_a_file_that_a_manifest_may_name_still_is_not_the_first(press, tmp_path):
    await press.announce(banner(version=1))
    assert (await press.publish()).first
    await press.name_all()
    with order(tmp_path / "journal.db") as db:
        (named,) = auditing.visuals(db)
        assert repairing.again(db, named, press.rules, press.now, press.now)
    await press.announce(banner(version=2))
    placement = await press.publish(2)
    assert (placement.key, placement.first) == (KEY, False)


async def test_what_became_unwanted_while_it_was_fetched_is_dropped(press):
    await press.announce(banner(version=1))
    job = await press.job()
    await press.announce(banner(version=2))
    assert isinstance((await press.place(job))[2], str)
    await press.publish(2)
    assert isinstance((await press.place(job))[2], str)


async def test_what_was_overtaken_is_dropped_after_more_versions_were_kept_before(keeper):
    await keeper.announce(banner(version=1))
    late = await keeper.job(1)
    await keeper.announce(banner(version=2))
    await keeper.publish(2)
    keeper.under(keep_versions=1)
    step = await keeper.place(late)
    assert step[2] == "a newer version is published"
    await keeper.settle(step)
    assert keeper.outcomes() == {"d1": "processed", "d2": "processed"}


async def test_the_version_before_is_kept_under_its_number(keeper):
    await published(keeper, 1, 2)
    assert keeper.current() == {KEY: 2}
    assert sorted(keeper.tree) == ["Spring sale/square/a.png", "Spring sale/square/a.v1.png"]
    assert keeper.named() == keeper.tree


async def test_only_as_many_versions_stay_as_are_kept(keeper):
    await published(keeper, 1, 2, 3)
    assert sorted(keeper.tree) == ["Spring sale/square/a.png", "Spring sale/square/a.v2.png"]
    assert keeper.named() == keeper.tree


async def test_an_older_version_that_comes_late_goes_beside_the_newest(keeper):
    await keeper.announce(banner(version=2), banner(version=1))
    await keeper.publish(2)
    placement = await keeper.publish(1)
    assert placement == Placement(placement.row, "Spring sale/square/a.v1.png", None, superseded=True)
    await keeper.catch_up()
    assert keeper.current() == {KEY: 2}
    assert keeper.named() == keeper.tree


async def test_an_older_version_of_another_type_goes_beside_the_newest_too(keeper):
    await keeper.announce(banner(version=2, type="jpeg", filename="a.jpeg"), banner(version=1))
    await keeper.publish(2)
    assert (await keeper.publish(1)).key == "Spring sale/square/a.v1.png"


async def test_a_version_of_another_type_is_kept_under_its_number_and_leaves_its_own_path(keeper):
    await keeper.announce(banner(version=1, type="jpeg", filename="a.jpeg"))
    await keeper.publish(1)
    await keeper.catch_up()
    await keeper.announce(banner(version=2))
    await keeper.publish(2)
    assert keeper.named().items() <= keeper.tree.items()
    await keeper.catch_up()
    assert sorted(keeper.tree) == ["Spring sale/square/a.png", "Spring sale/square/a.v1.jpeg"]
    assert keeper.named() == keeper.tree


async def test_versions_without_a_number_are_kept_by_their_order_of_receipt(keeper):
    for _ in range(2):
        await keeper.announce(banner(version=None, url=f"https://host.test/{keeper.now}"))
        await keeper.publish()
    await keeper.catch_up()
    assert sorted(keeper.tree) == ["Spring sale/square/a.png", "Spring sale/square/a.v1.png"]
    assert keeper.named() == keeper.tree


async def test_a_kept_version_does_not_take_the_name_of_another_visual(keeper):
    await keeper.announce(banner("b9", "s9", filename="a.v1.png"))
    await keeper.publish()
    await published(keeper, 1, 2)
    kept = set(keeper.tree) - {KEY, "Spring sale/square/a.v1.png"}
    assert [key.partition("~")[0] for key in kept] == ["Spring sale/square/a.v1"]
    assert keeper.named() == keeper.tree


async def test_versions_that_became_one_visual_after_they_were_claimed_are_each_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(visuals, "_LOOKED_UP", 2)
    async with press_at(tmp_path / "journal.db", rules(keep_versions=4)) as press:
        await published(press, 3, 4)
        await press.announce(banner(version=2))
        await press.announce(banner("b9", "", 1))
        await press.announce(*(banner(f"f{n}", f"g{n}", filename=f"f{n}.png") for n in range(2)))
        jobs = {job.asset.id: job for job in await press.jobs()}
        await press.announce(banner("b9", "s1", 1))
        order_of_arrival = [jobs["b9"], jobs["f0"], jobs["f1"], jobs["b1"]]
        fetched = [(job, download(job.asset)) for job in order_of_arrival]
        placed = await press.journal.place(fetched, press.rules)
        steps = [(job, file, place) for (job, file), place in zip(fetched, placed, strict=True)]
        await press.journal.settle([press.ending(step) for step in steps], press.rules, press.now)
        kept = press.rows("SELECT version FROM assets WHERE platform_id IN ('b1', 'b9') AND folder IS NOT NULL")
        assert sorted(version for (version,) in kept) == [1, 2, 3, 4]


async def test_the_same_content_is_not_kept_twice(keeper):
    for version in (1, 2):
        await keeper.announce(banner(version=version))
        await keeper.publish(version, b"the same")
    await keeper.catch_up()
    assert list(keeper.tree) == [KEY]
    assert keeper.named() == keeper.tree


async def test_two_visuals_with_one_version_number_that_become_one_keep_both_files_apart(keeper):
    await keeper.announce(banner("b1", "", 1))
    await keeper.publish()
    await keeper.announce(banner("b2", "s1", 1))
    await keeper.publish()
    await keeper.announce(banner("b1", "s1", 2))
    await keeper.publish()
    await keeper.announce(banner("b1", "s1", 3))
    await keeper.publish()
    assert keeper.named().items() <= keeper.tree.items()
    await keeper.catch_up()
    assert keeper.named() == keeper.tree


@pytest.mark.parametrize("keep_versions", [1, 2])
async def test_of_two_visuals_with_one_version_number_that_become_one_the_later_announced_is_newer(
    tmp_path, keep_versions
):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=keep_versions)) as press:
        await press.announce(banner("b1", "", 1))
        await press.publish()
        for version in (5, 4, 1):
            await press.announce(banner(f"b{version}0", "s1", version))
        await press.announce(banner("b1", "s1", 1))
        for version in (5, 4):
            await press.give_up(await press.job(version))
        assert (await press.publish(1)).key == KEY
        await press.name_all()
        assert press.named().items() <= press.tree.items()
        await press.announce(banner("b20", "s1", 6))
        await press.publish(6)
        await press.name_all()
        assert press.named().items() <= press.tree.items()
        await press.sweep()
        assert press.named() == press.tree


async def test_one_file_that_two_versions_share_goes_with_the_last_of_them(tmp_path):
    async with press_at(tmp_path / "journal.db", rules("{template}/{hash}.{ext}", keep_versions=2)) as press:
        await press.announce(banner("b1", "", 1), banner("b2", "s1", 2))
        older, newer = await press.jobs()
        await press.announce(banner("b1", "s1", 1))
        for step in [await press.place(newer, b"same"), await press.place(older, b"same")]:
            press.move(step)
            await press.settle(step)
        await press.announce(banner("b3", "s1", 3))
        await press.publish(3)
        await press.catch_up()
        assert press.named() == press.tree
        assert len(press.tree) == 2


async def test_a_version_in_flight_that_was_superseded_still_counts_once_it_is_visible(press):
    await press.announce(banner(version=1))
    step = await press.place(await press.job())
    press.move(step)
    await press.announce(banner(version=2))
    await press.settle(step)
    await press.name_all()
    assert press.current() == {KEY: 1}
    await press.publish(2)
    await press.catch_up()
    assert press.current() == {KEY: 2}
    assert press.named() == press.tree


async def test_an_older_version_does_not_go_over_a_newer_one_whose_record_is_missing(keeper):
    await published(keeper, 1)
    await keeper.announce(banner(version=3), banner(version=2))
    keeper.move(await keeper.place(await keeper.job(3)))
    assert (await keeper.publish(2)).key == "Spring sale/square/a.v2.png"
    await keeper.recover()
    await keeper.catch_up()
    assert keeper.current() == {KEY: 3}
    assert keeper.named() == keeper.tree


async def test_what_is_kept_of_a_version_that_a_merger_took_away_meanwhile_goes(keeper):
    await keeper.announce(banner("b1", "s1", 1))
    await keeper.publish(1)
    await keeper.announce(banner("b2", "", 2))
    await keeper.publish(2)
    await keeper.announce(banner("b1", "s1", 3))
    step = await keeper.place(await keeper.job(3))
    await keeper.announce(banner("b2", "s1", 4))  # says that b2 is of s1: of the two published, 1 goes
    keeper.move(step)
    await keeper.settle(step)
    await keeper.publish(4)
    await keeper.catch_up()
    assert keeper.named() == keeper.tree
    assert len(keeper.tree) == 2


# Crashes


async def test_a_crash_before_the_move_leaves_the_job(press):
    await published(press, 1)
    await press.announce(banner(version=2))
    await press.place(await press.job())
    await press.recover()
    await press.name_all()
    assert press.named() == press.tree
    await press.publish(2)
    await press.catch_up()
    assert press.current() == {KEY: 2}


@pytest.mark.parametrize("keep_versions", [1, 2])
async def test_a_crash_after_the_move_is_answered_by_the_file(tmp_path, keep_versions):
    async with press_at(tmp_path / "journal.db", rules(keep_versions=keep_versions)) as press:
        await published(press, 1)
        await press.announce(banner(version=2))
        press.move(await press.place(await press.job()))
        tree = press.tree
    async with press_at(tmp_path / "journal.db", rules(keep_versions=keep_versions)) as press:
        press.tree = tree
        ((job, fetched, placement),) = await press.journal.interrupted()
        assert (job.asset.version, placement.key, fetched.sha256) == (2, KEY, tree[KEY])
        await press.recover()
        assert await press.journal.interrupted() == []
        await press.journal.rewrite_all()
        await press.catch_up()
        assert press.current() == {KEY: 2}
        assert press.named() == press.tree
        assert len(press.tree) == keep_versions


async def test_a_file_that_moved_before_a_crash_is_recorded_although_a_newer_one_was_announced(press):
    await published(press, 1)
    await press.announce(banner(version=2))
    press.move(await press.place(await press.job()))
    await press.announce(banner(version=3))
    await press.recover()
    await press.name_all()
    assert press.current() == {KEY: 2}
    assert press.named() == press.tree
    assert press.states()[3] == "pending"


async def test_a_newer_file_over_one_whose_record_is_missing_is_what_counts(keeper):
    await published(keeper, 1)
    await keeper.announce(banner(version=2), banner(version=3))
    keeper.move(await keeper.place(await keeper.job(2)))
    keeper.move(await keeper.place(await keeper.job(3)))
    await keeper.recover()
    await keeper.catch_up()
    assert keeper.current() == {KEY: 3}
    assert keeper.named() == keeper.tree
    assert keeper.states()[2] == "pending"


async def test_a_publication_recorded_twice_counts_once(keeper):
    await published(keeper, 1)
    await keeper.announce(banner(version=2))
    step = await keeper.place(await keeper.job())
    keeper.move(step)
    await keeper.settle(step)
    await keeper.settle(step)
    await keeper.catch_up()
    assert keeper.current() == {KEY: 2}
    assert keeper.named() == keeper.tree


async def test_a_job_that_gave_up_leaves_nothing_to_recover(press):
    await press.announce(banner())
    job, _, _ = await press.place(await press.job())
    await press.give_up(job)
    assert await press.journal.interrupted() == []


# Removals


async def test_a_file_goes_only_after_a_manifest_that_is_new_enough_is_on_disk(press):
    await press.announce(banner(version=1))
    await press.publish()
    await press.catch_up()
    await press.announce(banner(version=2, type="jpeg"))
    behind = await press.write_manifests()
    await press.publish(2)
    await press.journal.manifested(behind, [])
    assert await press.journal.removable(10) == []
    await press.name_all()
    assert await press.journal.removable(10) == [KEY]
    assert await press.journal.removable(10) == [KEY], "until it is said to be gone"
    await press.sweep()
    assert await press.journal.removable(10) == []


async def test_a_manifest_from_before_a_change_does_not_count_as_up_to_date(press):
    await published(press, 1)
    await press.announce(banner(version=2))
    await press.journal.rewrite_all()
    behind = await press.write_manifests()
    await press.publish(2)
    await press.journal.manifested(behind, [])
    ((folder,), _) = await press.journal.stale(10)
    assert [listed.version for listed in folder.listed] == [2]


async def test_a_removal_is_off_when_its_key_is_published_again(press):
    await published(press, 1)
    await press.announce(banner(version=2, type="jpeg"))
    await press.publish(2)
    await press.name_all()
    await press.announce(banner(version=3))
    step = await press.place(await press.job())
    press.move(step)
    assert await press.journal.removable(10) == [], "the file there may be the new one already"
    await press.settle(step)
    await press.catch_up()
    assert press.current() == {KEY: 3}
    assert press.named() == press.tree


# Waiting


async def test_a_job_that_waits_comes_back_when_it_is_due(press):
    await press.announce(banner())
    job = await press.job()
    await press.journal.settle([Again(job, Retry("503", 5), START + 500)], press.rules, START + 100)
    assert await press.journal.claim("visuals", 10, START + 499, frozenset()) == []
    assert await press.journal.next_due("visuals", START + 499) == START + 500
    (later,) = await press.journal.claim("visuals", 10, START + 500, frozenset())
    assert (later.attempts, later.goes) == (5, 1)
    assert await press.journal.next_due("visuals", START + 500) is None


async def test_a_job_whose_host_is_down_has_not_had_a_go(press):
    await press.announce(banner())
    parked = Retry("host h is down", 1, after=8.0, parked=True)
    await press.journal.settle([Again(await press.job(), parked, START + 8)], press.rules, START)
    (later,) = await press.journal.claim("visuals", 10, START + 8, frozenset())
    assert (later.attempts, later.goes) == (1, 0)


async def test_jobs_come_in_the_order_in_which_they_became_due_and_only_those_nobody_holds(press):
    await press.announce(banner("b1", "s1"))
    await press.announce(banner("b2", "s2"))
    await press.announce(export())
    first, second = await press.journal.claim("visuals", 10, press.now, frozenset())
    assert [first.asset.id, second.asset.id] == ["b1", "b2"]
    assert await press.journal.claim("visuals", 1, press.now, frozenset({first.row})) == [second]
    assert [job.asset.id for job in await press.journal.claim("exports", 10, press.now, frozenset())] == ["e1"]


# What the manifests are made of


async def test_an_export_is_listed_with_its_files(press):
    await press.announce(export(requested_at=START))
    job = await press.job()
    fetched = download(job.asset)
    (placement,) = await press.journal.place([(job, fetched)], press.rules)
    assert placement.key == "_exports/2026-09-21_e1"
    files = (ExportFile("a.png", 3, "aa"), ExportFile("b/c.png", 4, "bb"))
    done = Published(placement, job, fetched, press.now, placement.key, files, f"{placement.key}.zip")
    await press.journal.settle([done], press.rules, press.now)

    ((), (contents,)) = await press.journal.stale(10)
    assert (contents.key, contents.files, contents.bytes) == (placement.key, files, 7)
    assert (contents.sha256, contents.archive_key) == (fetched.sha256, f"{placement.key}.zip")
    assert contents.source_url == "https://host.test/e1.zip"
    assert await index_of(press.journal) == ([], [])
    await press.journal.manifested([], [(contents.row, {"export_id": "e1"})])
    assert await index_of(press.journal) == ([], [{"export_id": "e1"}])
    assert await press.journal.stale(10) == ([], [])


async def test_an_export_interrupted_by_a_crash_is_simply_a_job_again(press):
    await press.announce(export())
    await press.place(await press.job())
    assert await press.journal.interrupted() == []
    assert len(await press.jobs()) == 1


async def test_the_index_names_folders_in_order_of_path_once_their_manifests_are_on_disk(press):
    await press.announce(banner("b1", "s1", template=Template("t2", "Zebra")), banner("b2", "s2"))
    for job in await press.jobs():
        step = await press.place(job, b"four")
        press.move(step)
        await press.settle(step)
    assert await index_of(press.journal) == ([], [])
    await press.name_all()
    lines, _ = await index_of(press.journal)
    assert lines == [
        FolderLine(FOLDER, Template("t1", "Spring sale"), "square", 1, 4, 1),
        FolderLine("Zebra/square", Template("t2", "Zebra"), "square", 1, 4, 1),
    ]


async def test_each_manifest_of_a_folder_has_the_next_sequence(press):
    await published(press, 1, 2)
    await press.journal.rewrite_all()
    await press.name_all()
    ((line,), _) = await index_of(press.journal)
    assert line.sequence == 3
    assert await press.journal.stale(10) == ([], [])


async def test_a_sequence_that_may_be_on_disk_already_is_passed_over(press):
    await published(press, 1)
    await press.journal.rewrite_all()
    (unrecorded,) = await press.write_manifests()
    await press.journal.use_up_sequences()
    (again,) = await press.write_manifests()
    assert again.line.sequence == unrecorded.line.sequence + 1
    await press.name_all()
    await press.journal.use_up_sequences()
    ((line,), _) = await index_of(press.journal)
    assert line.sequence == again.line.sequence, "what is recorded is known"


async def test_a_source_url_is_kept_without_its_query(press):
    await published(press, 1)
    ((listed,),) = [folder.listed for folder in press.manifests.values()]
    assert listed.source_url == "https://host.test/b1-1.png"


async def test_a_status_without_a_template_is_nobodys(press):
    await press.announce(banner(template=Template()))
    await press.publish()
    await press.name_all()
    await press.announce(status=TemplateStatus(Template(), "APPROVED", START))
    assert await press.journal.stale(10) == ([], [])
