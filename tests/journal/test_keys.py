from dataclasses import replace

import pytest
from journal.press import START, banner, export, press_at, rules

from syncd.config import Mirror
from syncd.journal.sqlite import open_journal
from syncd.mirror.names import Names
from syncd.model import Format, Template


@pytest.fixture
async def press(tmp_path):
    async with press_at(tmp_path / "journal.db") as press:
        yield press


async def keys_of(press, *assets):
    await press.announce(*assets)
    keys = {job.asset.id: job.key for job in await press.jobs()}
    return [keys[asset.id] for asset in assets]


@pytest.mark.parametrize(
    "names",
    [("a.png", "a.png"), ("a.png", "A.PNG"), ("caf\u00e9.png", "CAFE\u0301.png"), ("stra\u00dfe.png", "STRASSE.png")],
)
async def test_two_visuals_of_one_name_never_share_a_path(press, names):
    first, second = await keys_of(press, *(banner(f"b{n}", f"s{n}", filename=name) for n, name in enumerate(names)))
    assert "~" not in first
    assert "~" in second


async def test_a_template_that_is_renamed_keeps_its_folder_and_its_visuals_their_keys(press):
    before = await keys_of(press, banner("b1", "s1"))
    renamed = Template("t1", "Summer sale")
    new_version, other = await keys_of(
        press, banner("b2", "s1", 2, template=renamed), banner("b3", "s3", template=renamed, filename="b.png")
    )
    assert [new_version] == before
    assert other == "Spring sale/square/b.png"


@pytest.mark.parametrize("name", ["Spring sale", "SPRING SALE"])
async def test_two_templates_of_one_name_get_different_folders(press, name):
    first, second = await keys_of(press, banner("b1", "s1"), banner("b2", "s2", template=Template("t2", name)))
    assert first.startswith("Spring sale/")
    assert second.startswith(f"{name}~")


async def test_a_visual_keeps_its_key_when_its_file_is_called_differently(press):
    await press.announce(banner(version=1))
    await press.publish()
    assert await keys_of(press, banner("b2", version=2, filename="b.png")) == ["Spring sale/square/a.png"]


async def test_a_revived_older_version_has_the_key_of_its_visual(press):
    await press.announce(banner(version=2))
    await press.announce(banner(version=1, filename="b.png"))
    await press.give_up(await press.job())
    assert (await press.publish()).key == "Spring sale/square/a.png"


@pytest.mark.parametrize("name", ["manifest", "MANIFEST"])
async def test_what_lies_beside_an_export_is_never_called_like_a_folders_manifest(press, name):
    mirror = Mirror.model_validate({"root": "/unused", "exports": "exports/{export_id}"})
    press.rules = replace(press.rules, naming=Names(mirror))
    own, other = await keys_of(press, export(name), export("manifest-2"))
    assert own.startswith(f"exports/{name}~")
    assert other == "exports/manifest-2"


async def test_names_and_keys_are_the_same_after_reopening_and_after_a_lost_journal(tmp_path):
    assets = [banner("b1", "s1"), banner("b2", "s2"), banner("b3", "s3", template=Template("t2", "spring sale"))]
    found = []
    for name in ("one.db", "one.db", "other.db"):
        async with press_at(tmp_path / name) as press:
            press._deliveries = len(found) * 10
            await press.announce(*assets)
            found.append({job.asset.id: job.key for job in await press.jobs()})
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == 3


async def test_the_type_decides_the_extension_and_moves_the_file(press):
    await press.announce(banner(version=1, type="jpeg", filename="a.jpeg"))
    await press.publish()
    await press.catch_up()
    await press.announce(banner(version=2, type="png", filename="a.png"))
    await press.publish()
    assert sorted(press.tree) == ["Spring sale/square/a.jpeg", "Spring sale/square/a.png"]
    await press.sweep()
    assert len(press.tree) == 2, "the manifest on disk still names the old one"
    await press.catch_up()
    assert press.current() == {"Spring sale/square/a.png": 2}
    assert press.named() == press.tree


async def test_a_path_that_was_a_visuals_once_is_never_anothers(press):
    await press.announce(banner("b1", "s1", 1, type="jpeg", filename="a.jpeg"))
    await press.publish()
    await press.announce(banner("b2", "s1", 2, type="png", filename="a.png"))
    await press.publish()
    await press.catch_up()
    (key,) = await keys_of(press, banner("b3", "s3", type="jpeg", filename="a.jpeg"))
    assert key.startswith("Spring sale/square/a~")


async def test_a_layout_with_the_version_gives_each_its_own_path(tmp_path):
    async with press_at(tmp_path / "journal.db", rules("{template}/v{version}/{filename}")) as press:
        for version in (1, 2):
            await press.announce(banner(version=version))
            await press.publish()
        await press.catch_up()
        assert list(press.tree) == ["Spring sale/v2/a.png"]
        assert press.named() == press.tree


async def test_a_layout_with_the_hash_names_the_file_when_its_content_is_known(tmp_path):
    async with press_at(tmp_path / "journal.db", rules("{template}/{stem}.{hash}.{ext}")) as press:
        await press.announce(banner())
        assert (await press.job()).key is None
        placement = await press.publish(content=b"spring")
        assert placement.key == "Spring sale/a.622a494d.png"


async def test_a_new_version_with_the_same_content_keeps_the_file_of_a_hashed_layout(tmp_path):
    async with press_at(tmp_path / "journal.db", rules("{template}/{stem}.{hash}.{ext}")) as press:
        for version in (1, 2):
            await press.announce(banner(version=version))
            await press.publish(content=b"spring")
            await press.catch_up()
        assert list(press.current().values()) == [2]
        assert press.named() == press.tree


async def test_names_that_differ_in_case_only_are_one_path_of_one_visual(tmp_path):
    async with press_at(tmp_path / "journal.db", rules("{template}/{date}/{filename}")) as press:
        for version, name in ((1, "a.png"), (2, "A.png")):
            await press.announce(banner(version=version, filename=name))
            await press.publish()
            await press.catch_up()
        assert list(press.tree) == ["Spring sale/2026-09-21/a.png"]
        assert press.named() == press.tree


async def test_after_a_layout_with_versions_the_shared_path_is_made_anew(press):
    press.under(layout="{template}/v{version}/{filename}")
    await press.announce(banner(version=1))
    await press.publish()
    press.under(layout="{template}/{filename}")
    await press.announce(banner(version=2))
    assert (await press.publish()).key == "Spring sale/a.png"
    await press.catch_up()
    assert press.named() == press.tree


async def test_a_folder_is_never_where_a_file_of_an_earlier_layout_is(press):
    press.under(layout="{template}/{stem}.{ext}")
    square = Format("a.png")
    (file,) = await keys_of(press, banner("b1", "s1", format=square))
    press.under(layout="{template}/{format}/{filename}")
    (below,) = await keys_of(press, banner("b2", "s2", format=square))
    assert file == "Spring sale/a.png"
    assert below.startswith("Spring sale/a.png~")


async def test_a_file_is_never_where_a_folder_of_an_earlier_layout_is(press):
    (below,) = await keys_of(press, banner("b1", "s1", format=Format("A.png")))
    press.under(layout="{template}/{filename}")
    (file,) = await keys_of(press, banner("b2", "s2"))
    assert below == "Spring sale/A.png/a.png"
    assert file.startswith("Spring sale/a~")


async def test_what_lies_beside_an_export_is_never_anothers(press):
    press.under(exports="Spring sale/{export_id}")
    await press.announce(export("a"))
    press.under(layout="{template}/{filename}", exports="Spring sale/{export_id}")
    keys = await keys_of(press, banner("b1", "s1", filename="a.png"), banner("b2", "s2", type="zip", filename="a.zip"))
    assert all(key.startswith("Spring sale/a~") for key in keys)


async def test_what_a_visual_was_promised_survives_reopening(tmp_path):
    path = tmp_path / "journal.db"
    async with press_at(path) as press:
        await press.announce(banner())
        (before,) = await press.jobs()
    async with open_journal(path) as journal:
        (after,) = await journal.claim("visuals", 10, START + 100, frozenset())
    assert before == after
