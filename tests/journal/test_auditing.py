import pytest
from journal.filled import EXPORT, RULES, filled
from journal.press import START, index_of, press_at, rules
from journal.press import banner as version

from syncd.journal import auditing, awaiting, repairing
from syncd.journal.auditing import Named
from syncd.journal.orders import order

NOW = START + 100
PATH = "Spring sale/square/a.png"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def the_visual(path):
    with auditing.looking(path) as db:
        (named,) = auditing.visuals(db)
    return named


async def test_listings_go_through_everything_that_is_published_and_nothing_else(path, monkeypatch):
    monkeypatch.setattr(auditing, "_PAGE", 1)
    async with filled(path), press_at(path.with_name("other.db")) as press:
        for number in range(3):
            await press.announce(version(f"b{number}", f"s{number}", filename=f"{number}.png"))
        for job in await press.jobs():
            step = await press.place(job)
            await press.settle(step)
        with auditing.looking(path.with_name("other.db")) as db:
            assert [named.path[-5:] for named in auditing.visuals(db)] == ["0.png", "1.png", "2.png"]
            assert list(auditing.folders(db)) == ["Spring sale/square"]
        with auditing.looking(path) as db:
            assert [named.path for named in auditing.visuals(db)] == ["Spring sale/square/1.png"]
            (export,) = auditing.exports(db)
            assert {named.path for named in export.named()} == {f"{export.key}/a.png", f"{export.key}/b/c.png"}
            assert auditing.total_bytes(db) == len(b"content") + 7


async def test_a_file_fetched_again_keeps_key_and_rank_and_leaves_its_manifest_until_then(path):
    async with press_at(path) as press:
        await press.announce(version())
        await press.publish()
        await press.name_all()
        named = the_visual(path)
        with order(path) as db:
            assert repairing.again(db, named, press.rules, NOW, NOW + 50)
        assert [job.row for job in await press.jobs()] == [named.asset]
        assert press.outcomes() == {"d1": "accepted"}
        await press.name_all()
        assert press.named() == {}
        assert await press.journal.claim("visuals", 9, NOW, frozenset()) == []
        with order(path) as db:
            repairing.release(db, [named.asset], press.rules, NOW)
        assert await press.journal.claim("visuals", 9, NOW, frozenset())
        placement = await press.publish()
        assert placement.key == named.path
        await press.name_all()
        assert press.named() == {named.path: named.sha256}
        assert press.outcomes() == {"d1": "processed"}
        with auditing.looking(path) as db:
            assert list(auditing.lost(db)) == []


async def test_an_older_version_that_was_lost_returns_beside_the_newest(path):
    async with press_at(path, rules(keep_versions=2)) as press:
        for number in (1, 2):
            await press.announce(version(version=number))
            await press.publish()
        with auditing.looking(path) as db:
            kept = {named.path: named for named in auditing.visuals(db)}
        assert kept.keys() == {PATH, PATH.replace(".png", ".v1.png")}
        with order(path) as db:
            for named in kept.values():
                assert repairing.again(db, named, press.rules, NOW, NOW)
        for number in (1, 2):
            await press.publish(number)
        await press.catch_up()
        assert press.named() == {path: named.sha256 for path, named in kept.items()}
        assert press.states() == {1: "superseded", 2: "published"}


async def test_a_lost_file_that_a_newer_version_replaced_meanwhile_makes_way_for_it(path):
    async with press_at(path, rules(keep_versions=2)) as press:
        await press.announce(version(version=1))
        await press.publish()
        named = the_visual(path)
        with order(path) as db:
            assert repairing.again(db, named, press.rules, NOW, NOW)
        await press.announce(version(version=2))
        await press.publish(2)
        await press.publish(1)
        await press.catch_up()
        assert press.current() == {PATH: 2}
        assert set(press.named()) == {PATH, PATH.replace(".png", ".v1.png")}


async def test_what_has_changed_since_it_was_looked_at_is_left_alone(path):
    async with press_at(path) as press:
        await press.announce(version(version=1))
        await press.publish()
        before = the_visual(path)
        await press.announce(version(version=2))
        await press.publish(2)
        with order(path) as db:
            assert not repairing.again(db, before, press.rules, NOW, NOW)
        await press.name_all()
        assert press.current() == {PATH: 2}
        assert await press.jobs() == []


async def test_one_that_fails_is_lost_until_it_is_sought_again(path):
    async with press_at(path) as press:
        await press.announce(version())
        await press.publish()
        named = the_visual(path)
        with order(path) as db:
            repairing.again(db, named, press.rules, NOW, NOW)
        with auditing.looking(path) as db:
            assert awaiting.under_way(db) == 1
            assert [(lost.path, lost.waits) for lost in auditing.lost(db)] == [(PATH, True)]
        await press.give_up(await press.job())
        with auditing.looking(path) as db:
            assert awaiting.under_way(db) == 0
            assert [(lost.path, lost.waits, lost.reason) for lost in auditing.lost(db)] == [(PATH, False, "410")]
        with order(path) as db:
            assert repairing.seek(db, named.asset, press.rules, NOW)
            assert not repairing.seek(db, 999, press.rules, NOW)
        assert await press.job()


async def test_a_folder_that_was_cleared_and_came_back_has_followed_what_was_ordered_before(path):
    async with press_at(path) as press:
        await press.announce(version())
        await press.publish()
        await press.name_all()
        named, folder = the_visual(path), PATH.rpartition("/")[0]
        with order(path) as db:
            assert repairing.again(db, named, press.rules, NOW, NOW)
            ordered = awaiting.change_of(db, folder)
            assert not awaiting.is_written(db, folder, ordered)
        await press.name_all()
        emptied = await press.journal.emptied(9)
        await press.journal.clearing(emptied)
        await press.journal.cleared(emptied)
        await press.publish()
        await press.name_all()
        with auditing.looking(path) as db:
            assert awaiting.is_written(db, folder, ordered)


async def test_an_export_fetched_again_is_in_no_index_until_then(path):
    async with filled(path) as journal:
        with auditing.looking(path) as db:
            (export,) = auditing.exports(db)
            assert auditing.export_at(db, export.key) == export
            assert auditing.export_at(db, f"{export.stem}.json") == export
            assert auditing.export_at(db, "Spring sale") is None
            part = next(iter(export.parts()))
            assert auditing.still(db, part) == part
            assert not (await index_of(journal))[1]
        await journal.manifested([], [(export.asset, {"path": export.key})])
        assert (await index_of(journal))[1]
        with order(path) as db:
            assert repairing.again(db, part, RULES, NOW, NOW)
        assert not (await index_of(journal))[1]
        jobs = await journal.claim("exports", 9, NOW, frozenset())
        assert [job.asset.id for job in jobs] == [EXPORT.id]
        with auditing.looking(path) as db:
            assert awaiting.unwritten(db)
            assert auditing.still(db, part) is None


async def test_versions_beyond_the_limit_are_found_and_taken_out_of_their_manifest_first(path):
    async with press_at(path, rules(keep_versions=3)) as press:
        for number in (1, 2, 3):
            await press.announce(version(version=number))
            await press.publish(number)
        await press.catch_up()
        assert len(press.tree) == 3
        with auditing.looking(path) as db:
            assert list(auditing.crowded(db, 3)) == []
            (visual,) = auditing.crowded(db, 1)
        with order(path) as db:
            repairing.thin(db, visual, 1)
        assert await press.journal.removable(9) == []
        await press.catch_up()
        assert list(press.tree) == list(press.named()) == [PATH]


async def moved_on(press):
    """A visual's second version is in another folder; the first one's folder is empty and returned."""
    for number in (1, 2):
        await press.announce(version(version=number))
        await press.publish(number)
        await press.catch_up()
    return await press.journal.emptied(9)


async def test_a_folder_is_named_for_as_long_as_its_manifest_names_files(path):
    async with press_at(path, rules("{template}/v{version}/{filename}")) as press:
        await press.announce(version(version=1))
        await press.publish(1)
        await press.catch_up()
        await press.announce(version(version=2))
        await press.publish(2)
        assert [line.folder for line in (await index_of(press.journal))[0]] == ["Spring sale/v1"]
        await press.catch_up()
        assert [line.folder for line in (await index_of(press.journal))[0]] == ["Spring sale/v2"]


async def test_what_comes_back_while_its_folder_is_cleared_is_named_once_its_manifest_is_there_again(path):
    async with press_at(path, rules("{template}/v{version}/{filename}")) as press:
        emptied = await moved_on(press)
        assert await press.journal.clearing(emptied) == emptied
        await press.announce(version("b2", "s2", version=1))
        await press.publish(1)
        await press.journal.cleared(emptied)
        assert [line.folder for line in (await index_of(press.journal))[0]] == ["Spring sale/v2"]
        assert await press.journal.clearing(emptied) == []
        await press.name_all()
        assert [line.folder for line in (await index_of(press.journal))[0]] == ["Spring sale/v1", "Spring sale/v2"]


async def test_a_manifest_of_a_folder_that_was_cleared_meanwhile_is_not_recorded_as_the_newest(path):
    async with press_at(path, rules("{template}/v{version}/{filename}")) as press:
        emptied = await moved_on(press)
        await press.journal.clearing(emptied)
        late = await press.write_manifests()
        await press.journal.cleared(emptied)
        await press.journal.manifested(late, [])
        await press.announce(version("b2", "s2", version=1))
        await press.publish(1)
        await press.name_all()
        assert set(press.named()) == set(press.tree)


async def test_a_folder_is_emptied_once_no_manifest_names_a_file_of_it_and_counts_on_when_it_returns(path):
    async with press_at(path, rules("{template}/v{version}/{filename}")) as press:
        await press.announce(version(version=1))
        await press.publish()
        await press.catch_up()
        assert await press.journal.emptied(9) == []
        await press.announce(version(version=2))
        await press.publish(2)
        await press.name_all()
        emptied = await press.journal.emptied(9)
        assert [folder for folder, _ in emptied] == ["Spring sale/v1"]
        assert await press.journal.clearing(emptied) == [], "a file that is still to be removed keeps it"
        assert await press.journal.emptied(9) == emptied
        await press.sweep()
        assert await press.journal.clearing(emptied) == emptied
        await press.journal.cleared(emptied)
        assert await press.journal.emptied(9) == []
        await press.journal.rewrite_all()
        await press.name_all()
        assert press.manifests["Spring sale/v1"].sequence == 1, "a folder that is gone is not written again"
        await press.announce(version("b2", "s2", version=1))
        await press.publish(1)
        await press.name_all()
        assert press.manifests["Spring sale/v1"].sequence == 2


async def test_what_arrives_at_a_path_is_known_before_it_is_published(path):
    async with press_at(path) as press:
        await press.announce(version())
        step = await press.place(await press.job())
        with auditing.looking(path) as db:
            assert auditing.is_visual(db, PATH)
            assert auditing.arriving(db, PATH) == {(step[1].bytes, step[1].sha256)}
            assert not auditing.is_visual(db, "Spring sale/square/b.png")
            assert auditing.still(db, Named(PATH, 1, "", 1)) is None
        await press.settle(step)
        with auditing.looking(path) as db:
            assert auditing.arriving(db, PATH) == set()
            assert auditing.is_visual(db, PATH)
