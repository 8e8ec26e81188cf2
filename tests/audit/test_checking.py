import resource
import time
from contextlib import contextmanager

import pytest
from journal.press import START, banner, content_of, export, press_at, rules

from syncd.audit import Fetch, Seek, SetAside
from syncd.audit.checking import Check
from syncd.journal import Published, auditing, repairing
from syncd.journal.orders import order
from syncd.model import ExportFile
from syncd.store.folders import opened

PATH = "Spring sale/square/a.png"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def check(path, root, *, runs=False, within=()):
    """All findings but those about manifests, which nobody writes here."""
    with auditing.looking(path) as db, opened(str(root)) as folder:
        found = Check(db, folder, 0.0, lambda: runs, within=frozenset(within)).findings()
        return [finding for finding in found if not finding.path.endswith("manifest.json")]


def put(root, path, content):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


async def test_a_file_of_another_size_or_content_is_changed_and_one_that_is_not_there_missing(tmp_path, root):
    path = tmp_path / "journal.db"
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        content = content_of(banner())
        (finding,) = check(path, root)
        assert (finding.what, finding.path, finding.reason) == ("missing", PATH, "it is not there")
        put(root, PATH, content)
        assert check(path, root) == []
        for wrong, reason in ((content[:-1], "bytes instead of"), (content[:-1] + b"?", "its SHA-256 is")):
            put(root, PATH, wrong)
            (finding,) = check(path, root)
            assert finding.what == "changed"
            assert reason in finding.reason
            assert isinstance(finding.cure, Fetch)


async def test_a_file_in_its_place_before_it_is_recorded_is_neither_stray_nor_changed(tmp_path, root):
    path = tmp_path / "journal.db"
    async with press_at(path) as press:
        await press.announce(banner())
        step = await press.place(await press.job())
        put(root, PATH, content_of(banner()))
        assert check(path, root) == []
        await press.settle(step)
        await press.announce(banner(version=2))
        step = await press.place(await press.job(2))
        put(root, PATH, content_of(banner(version=2)))
        assert check(path, root) == []
        await press.settle(step)
        assert check(path, root) == []


async def test_a_file_that_is_about_to_be_removed_is_not_stray(tmp_path, root):
    path = tmp_path / "journal.db"
    async with press_at(path, rules("{template}/v{version}/{filename}")) as press:
        for version in (1, 2):
            await press.announce(banner(version=version))
            await press.publish(version)
            put(root, f"Spring sale/v{version}/a.png", content_of(banner(version=version)))
        assert check(path, root) == []
        await press.catch_up()
        (finding,) = check(path, root)
        assert (finding.what, finding.path, finding.cure) == ("stray", "Spring sale/v1/a.png", SetAside())


async def test_a_file_that_waits_to_be_fetched_again_is_in_the_daemons_hands_unless_it_is_asked_for(tmp_path, root):
    path = tmp_path / "journal.db"
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        with auditing.looking(path) as db:
            (named,) = auditing.visuals(db)
        with order(path) as db:
            assert repairing.again(db, named, press.rules, START, START)
        assert check(path, root, runs=True) == []
        for found in (check(path, root, runs=True, within=[PATH]), check(path, root)):
            assert [(finding.what, finding.path) for finding in found] == [("missing", PATH)]
        await press.give_up(await press.job())
        (finding,) = check(path, root, runs=True)
        assert "410" in finding.reason


async def test_a_file_that_a_repair_was_about_to_have_fetched_when_it_was_killed_is_missing(tmp_path, root):
    path = tmp_path / "journal.db"
    async with press_at(path) as press:
        await press.announce(banner())
        await press.publish()
        with auditing.looking(path) as db:
            (named,) = auditing.visuals(db)
        with order(path) as db:
            assert repairing.again(db, named, press.rules, time.time(), time.time() + 3600.0)
        (finding,) = check(path, root, runs=True)
        assert (finding.what, finding.path, type(finding.cure)) == ("missing", PATH, Seek)


async def test_a_folder_that_is_very_deep_is_gone_through(tmp_path, root):
    deep = root / "/".join(["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "stray").write_text("x")
    async with press_at(tmp_path / "journal.db"):
        (finding,) = check(tmp_path / "journal.db", root)
    assert finding.path.endswith("/d/stray")


@contextmanager
def few_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_export_of_very_deep_folders_is_gone_through_with_few_descriptors(tmp_path, root):
    deep = "/".join(["d"] * 380)
    async with press_at(tmp_path / "journal.db") as press:
        await press.announce(export())
        job, fetched, placement = await press.place(await press.job(), b"film")
        files = (ExportFile(f"{deep}/film.mp4", fetched.bytes, fetched.sha256),)
        await press.journal.settle([Published(placement, job, fetched, START, placement.key, files)], rules(), START)
        put(root, f"{placement.key}/{deep}/film.mp4", b"film")
        put(root, f"{placement.key}/{deep}/stray", b"x")
        with few_descriptors():
            (finding,) = check(tmp_path / "journal.db", root, within={placement.key})
    assert (finding.what, finding.path) == ("stray", f"{placement.key}/{deep}/stray")


async def test_a_name_that_a_share_lists_in_another_normal_form_is_the_name_it_was_given(tmp_path, root):
    path, asset = tmp_path / "journal.db", banner(filename="Zo\u00eb.png")
    async with press_at(path) as press:
        await press.announce(asset)
        await press.publish()
        put(root, "Spring sale/square/Zo\u00eb.png", content_of(asset))
        listed = root / "Spring sale/square/Zoe\u0308.png"
        listed.hardlink_to(root / "Spring sale/square/Zo\u00eb.png")  # both names are one file there
        assert check(path, root) == []
        listed.unlink()
        listed.write_bytes(content_of(asset))
        (finding,) = check(path, root)
        assert (finding.what, finding.path) == ("stray", "Spring sale/square/Zoe\u0308.png")
