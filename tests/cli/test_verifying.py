import asyncio
import json

import pytest
from cli.command import command, write_config

from syncd.journal.sqlite import open_journal
from syncd.owner import sole_owner
from syncd.store.local import LocalTree

OWNER = "the journal's id"


async def make(folder):
    """A journal with a root that is its own, and nothing in either."""
    async with open_journal(folder / "state" / "journal.db") as journal:
        await journal.note("journal id", OWNER)
        await journal.note("mirror root", str(folder / "mirror"))
    tree = LocalTree(folder / "mirror", OWNER, file_mode=0o644, dir_mode=0o755)
    await tree.attach(make=True)
    await tree.close()


@pytest.fixture
def config(tmp_path):
    asyncio.run(make(tmp_path))
    return write_config(tmp_path)


def syncd(*args, config):
    return command(*args, "--config", config)


@pytest.mark.parametrize("name", ["verify", "prune"])
def test_without_a_journal_nothing_can_be_looked_at(tmp_path, name):
    ended = syncd(name, config=write_config(tmp_path))
    assert (ended.code, ended.out) == (1, "")
    assert "there is no journal" in ended.err


@pytest.mark.parametrize("name", ["verify", "prune"])
def test_a_root_that_belongs_to_another_journal_is_not_touched(tmp_path, config, name):
    (tmp_path / "mirror/.syncd/root.json").write_text('{"journal": "another"}')
    (tmp_path / "mirror/stray").write_text("stray")
    ended = syncd(name, *(["--repair"] if name == "verify" else []), config=config)
    assert (ended.code, ended.out) == (1, "")
    assert "belongs to another journal" in ended.err
    assert (tmp_path / "mirror/stray").exists()


def test_a_tree_with_nothing_in_it_is_well(config):
    ended = syncd("verify", config=config)
    assert (ended.code, ended.out, ended.err) == (0, "0 files checked, 0 B: all is well\n", "")
    said = json.loads(syncd("verify", "--json", config=config).out)
    assert said == {
        "checked": 0, "bytes": 0, "missing": [], "changed": [], "stray": [],
        "plan": [], "repaired": [], "quarantined": [], "unrepaired": [],
    }  # fmt: skip


def test_what_nothing_names_is_listed_whatever_it_is_but_no_folder_of_somebody_elses_own(tmp_path, config):
    root = tmp_path / "mirror"
    for folder in ("a/b", ".snapshots", "_exports", "empty"):
        (root / folder).mkdir(parents=True)
    for name in ("a/b/file", ".snapshots/file", "_exports/x.json", ".DS_Store", "a/manifest.json"):
        (root / name).write_text("{}")
    (root / "a/link").symlink_to(root / ".snapshots")
    ended = syncd("verify", "--json", config=config)
    assert ended.code == 1
    listed = {one["path"]: one["reason"] for one in json.loads(ended.out)["stray"]}
    assert listed.keys() == {"a/b/file", "_exports/x.json", ".DS_Store", "a/manifest.json", "a/link"}
    assert listed["a/link"] == "a link that nothing names"
    ended = syncd("verify", config=config)
    assert "stray  a/b/file: nothing names it\n" in ended.out
    assert ended.out.endswith("0 files checked, 0 B: 5 stray\n")
    assert "--repair" in ended.err


def test_a_dry_run_says_what_a_repair_would_do_and_does_nothing(tmp_path, config):
    (tmp_path / "mirror/stray").write_text("stray")
    ended = syncd("verify", "--repair", "--dry-run", config=config)
    assert (ended.code, ended.out) == (
        1, "stray: set it aside (nothing names it)\n0 files checked, 0 B: 1 stray\n",
    )  # fmt: skip
    assert (tmp_path / "mirror/stray").exists()


def test_a_dry_run_of_nothing_is_wrong_usage(config):
    assert syncd("verify", "--dry-run", config=config).code == 2


@pytest.mark.parametrize(("path", "code"), [("/etc/passwd", 2), ("nobody/knows.png", 1)])
def test_a_path_that_is_not_in_the_mirror_is_an_error(config, path, code):
    ended = syncd("verify", path, config=config)
    assert (ended.code, ended.out) == (code, "")
    assert path in ended.err


def test_prune_says_what_would_go_and_then_lets_it_go(tmp_path, config):
    root = tmp_path / "mirror"
    (root / "a/b").mkdir(parents=True)
    (root / ".syncd/tmp/17-1").mkdir(parents=True)
    (root / ".syncd/tmp/17-1/part").write_text("12345")
    expected = {
        "deliveries": 0, "versions": [], "temps": ["17-1"], "quarantine": [], "bytes": 5,
    }  # fmt: skip
    would = json.loads(syncd("prune", "--dry-run", "--json", config=config).out)
    assert would == {**expected, "folders": ["a/b"], "dry_run": True}
    assert (root / "a/b").exists()
    assert (root / ".syncd/tmp/17-1/part").exists()
    ended = syncd("prune", config=config)
    assert ended.code == 0
    assert ended.out.endswith(
        "removed 0 deliveries, 0 older versions, 1 temp files, 2 empty folders, 0 quarantined batches: 5 B\n"
    )
    assert sorted(path.name for path in root.iterdir()) == [".syncd"]
    said = json.loads(syncd("prune", "--json", config=config).out)
    assert said == {**expected, "temps": [], "folders": [], "bytes": 0, "dry_run": False}


def test_temp_files_of_a_running_daemon_are_its_own(tmp_path, config):
    temp = tmp_path / "mirror/.syncd/tmp/17-1"
    with sole_owner(tmp_path / "state/journal.db.lock", "it"):
        temp.write_text("12345")
        assert json.loads(syncd("prune", "--json", config=config).out)["temps"] == []
        assert json.loads(syncd("verify", "--json", config=config).out)["stray"] == []
    assert json.loads(syncd("verify", "--json", config=config).out)["stray"][0]["path"] == ".syncd/tmp/17-1"
