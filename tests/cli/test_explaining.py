import json

import pytest
from cli.command import command, write_config
from journal.filled import EXPORT, announce, filled
from journal.press import banner, download, press_at

KEY = "Spring sale/square/a.png"


@pytest.fixture
async def press(tmp_path):
    """A journal and, in `tmp_path`/mirror, the files that it believes to be there."""
    write_config(tmp_path)
    async with press_at(tmp_path / "state" / "journal.db") as press:
        press.root = tmp_path / "mirror"
        yield press


async def published(press, asset):
    await press.announce(asset)
    content = f"{asset.id}".encode()
    placement = await press.publish(asset.version, content=content)
    lay(press.root, placement.key, content)


def lay(root, key, content=b"x"):
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def explain(folder, path):
    ended = command("explain", path, "--json", "--config", folder / "config" / "sync.toml")
    return ended.code, json.loads(ended.out)


def shown(folder, path):
    return command("explain", path, "--config", folder / "config" / "sync.toml").out


async def test_a_published_file_is_told_with_its_delivery_and_hash(press, tmp_path):
    await published(press, banner())
    lay(press.root, "Spring sale/square/manifest.json", json.dumps({"assets": [{"path": KEY}]}).encode())
    code, said = explain(tmp_path, KEY)
    assert (code, said["state"], said["as_recorded"], said["in_manifest"]) == (0, "published", True, True)
    assert said["sha256"] == said["disk"]["sha256"] == download(banner(), b"b1").sha256
    assert (said["url"], said["attempts"], said["replaced"]) == ("https://host.test/b1-1.png", 1, [])
    assert [delivery["id"] for delivery in said["deliveries"]] == ["d1"]
    text = shown(tmp_path, KEY)
    assert text.startswith(f"{KEY} is published\n")
    assert "as recorded" in text
    assert "named by Spring sale/square/manifest.json" in text


@pytest.mark.parametrize("spelled", ["{root}/" + KEY, KEY, "SPRING SALE/square/./A.PNG", "b1", "mirror/" + KEY])
async def test_a_path_may_be_absolute_or_from_the_root_or_from_here_or_an_id(press, tmp_path, monkeypatch, spelled):
    monkeypatch.chdir(tmp_path)
    await published(press, banner())
    code, said = explain(tmp_path, spelled.format(root=press.root))
    assert (code, said["path"]) == (0, KEY)


async def test_a_path_from_a_folder_of_the_tree_reached_by_a_link_is_understood(press, tmp_path, monkeypatch):
    await published(press, banner())
    (tmp_path / "link").symlink_to(press.root)
    monkeypatch.chdir(tmp_path / "link" / "Spring sale")
    assert explain(tmp_path, "square/a.png")[1]["path"] == KEY
    assert explain(tmp_path, tmp_path / "link" / KEY)[1]["path"] == KEY


async def test_a_file_that_was_changed_or_is_gone_is_told(press, tmp_path):
    await published(press, banner())
    lay(press.root, KEY, b"other")
    code, said = explain(tmp_path, KEY)
    assert (code, said["as_recorded"], said["disk"]["bytes"]) == (1, False, 5)
    assert "not as recorded" in shown(tmp_path, KEY)
    (press.root / KEY).unlink()
    (press.root / KEY).symlink_to("/etc/passwd")
    code, said = explain(tmp_path, KEY)
    assert (code, said["disk"]) == (1, {"kind": "link"})
    (press.root / KEY).unlink()
    code, said = explain(tmp_path, KEY)
    assert (code, said["disk"]) == (1, None)
    assert "missing" in shown(tmp_path, KEY)


async def test_what_a_file_replaced_and_what_is_newer_is_told(press, tmp_path):
    for version in (1, 2):
        await published(press, banner(f"b{version}", version=version))
    await press.announce(banner("b3", version=3))
    await press.give_up(await press.job())
    code, said = explain(tmp_path, KEY)
    assert (code, said["version"], said["as_recorded"]) == (0, 2, True)
    assert [(one["version"], one["delivery"], one["sha256"]) for one in said["replaced"]] == [
        (1, "d1", download(banner(), b"b1").sha256)
    ]
    assert [(one["version"], one["state"], one["reason"]) for one in said["newer"]] == [(3, "failed", "410")]
    assert "Newer versions" in shown(tmp_path, KEY)


async def test_why_a_file_is_missing_is_told(press, tmp_path):
    await press.announce(banner())
    code, said = explain(tmp_path, KEY)
    assert (code, said["state"], said["sha256"], said["disk"]) == (0, "pending", None, None)
    assert said["next_attempt_at"]
    await press.give_up(await press.job())
    code, said = explain(tmp_path, KEY)
    assert (said["state"], said["reason"], said["next_attempt_at"]) == ("failed", "410", None)
    assert "could not be fetched, and was given up" in shown(tmp_path, KEY)


async def test_a_path_that_was_left_is_told_with_where_its_newest_is(press, tmp_path):
    await published(press, banner(version=1))
    await published(press, banner("b2", version=2, type="jpeg"))
    code, said = explain(tmp_path, KEY)
    assert (code, said["state"], said["newest"]) == (0, "removed", "Spring sale/square/a.jpeg")


async def test_a_kept_older_version_is_told_apart(press, tmp_path):
    press.under(keep_versions=2)
    for version in (1, 2):
        await published(press, banner(f"b{version}", version=version))
    _, said = explain(tmp_path, "Spring sale/square/a.v1.png")
    assert (said["state"], said["version"]) == ("superseded", 1)
    assert "kept beside the newest" in shown(tmp_path, "Spring sale/square/a.v1.png")


@pytest.mark.parametrize("near", ["Spring sale/square/b.png", "elsewhere/a.png", "Sprnig sale/square/a.png"])
async def test_a_path_nobody_has_heard_of_is_told_with_those_near_it(press, tmp_path, near):
    await published(press, banner())
    code, said = explain(tmp_path, near)
    assert (code, said["state"], said["near"]) == (1, "unknown", [KEY])


async def test_a_file_that_syncd_did_not_put_there_is_a_stray(press, tmp_path):
    await published(press, banner())
    lay(press.root, "Spring sale/square/notes\x1b[2J.txt")
    code, said = explain(tmp_path, "Spring sale/square/notes\x1b[2J.txt")
    assert (code, said["state"]) == (1, "stray")
    assert "\x1b" not in shown(tmp_path, "Spring sale/square/notes\x1b[2J.txt")
    assert explain(tmp_path, f"{KEY}/below")[1]["state"] == "unknown"
    assert explain(tmp_path, "\udcff")[1]["state"] == "unknown"


@pytest.mark.parametrize(
    "own", [".", "manifest.json", "Spring sale/square/manifest.json", ".syncd/root.json", "x/SHA256SUMS"]
)
async def test_what_syncd_keeps_for_itself_is_told(press, tmp_path, own):
    press.root.mkdir()
    code, said = explain(tmp_path, press.root / own)
    assert (code, said["state"]) == (0, "own")
    assert "is syncd's own: " in shown(tmp_path, press.root / own)


async def test_a_folder_is_told_with_what_it_holds(press, tmp_path):
    await published(press, banner())
    for folder in ("Spring sale", "Spring sale/square"):
        code, said = explain(tmp_path, folder)
        assert (code, said["state"], said["files"], said["as_recorded"]) == (0, "folder", 1, True)


async def test_a_file_inside_an_export_is_told_with_its_export(tmp_path):
    write_config(tmp_path)
    root = tmp_path / "mirror"
    async with filled(tmp_path / "state" / "journal.db"):
        export = "_exports/2026-09-21_e1"
        lay(root, f"{export}/b/c.png", b"four")
        code, said = explain(tmp_path, f"{export}/b/c.png")
        assert (code, said["id"], said["export"]["path"]) == (1, "e1", export)
        assert (said["sha256"], said["as_recorded"], said["manifest"]) == ("ef" * 32, False, f"{export}.json")
        assert explain(tmp_path, export)[1]["files"] == 2
        assert explain(tmp_path, f"{export}/b")[1]["files"] == 1
        assert (explain(tmp_path, "_exports")[1]["state"], explain(tmp_path, "_exports")[1]["files"]) == ("folder", 2)
        assert explain(tmp_path, f"{export}.json")[1]["state"] == "own"
        assert explain(tmp_path, f"{export}/not/in/it.png")[1]["state"] == "removed"
        assert explain(tmp_path, "e1")[1]["path"] == export


async def test_an_export_that_is_not_there_yet_is_waited_for(tmp_path):
    write_config(tmp_path)
    async with filled(tmp_path / "state" / "journal.db") as journal:
        journal._db.execute("UPDATE deliveries SET read = 1")
        await announce(journal, "d-other", EXPORT.__class__(**{**as_dict(EXPORT), "id": "e2"}))
        assert explain(tmp_path, "_exports/2026-09-21_e2/a.png")[1]["state"] == "pending"


def as_dict(asset):
    return {name: getattr(asset, name) for name in asset.__slots__}


def test_a_path_outside_the_tree_is_wrong_usage(tmp_path):
    write_config(tmp_path)
    for outside in ("/etc/passwd", "../x"):
        assert command("explain", outside, "--config", tmp_path / "config" / "sync.toml").code == 2
