import asyncio
import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from syncd import barrier
from syncd.barrier import MANY
from syncd.errors import InUse, StoreUnavailable
from syncd.model import held_key
from syncd.store import Move, Store, local
from syncd.store.local import LocalTree


def tree_at(root, owner="journal-1", dir_mode=0o755):
    return LocalTree(root, owner, file_mode=0o644, dir_mode=dir_mode)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mirror"


@pytest.fixture
async def tree(root):
    tree = tree_at(root)
    await tree.attach(make=True)
    yield tree
    await tree.close()


# The contract of every store: a fixture per implementation, and `read` to look as a reader does.


@pytest.fixture
def store(tree) -> Store:
    return tree


@pytest.fixture
def read(root):
    return lambda key: (root / key).read_bytes()


def move(store, key, content=b"content", keep_as=None):
    temp = store.temp()
    temp.write_bytes(content)
    return Move(temp, key, keep_as)


async def publish(store, key, content=b"content", keep_as=None):
    (fault,) = await store.publish([move(store, key, content, keep_as)])
    return fault


def sha256(content):
    return hashlib.sha256(content).hexdigest()


async def test_folders_with_nothing_in_them_go_with_those_above_that_hold_nothing_else(store, root):
    await store.write([("a/b/one", b"1"), ("a/two", b"2"), ("c/d/three", b"3")])
    await store.clear(["a/b", "c/d"])
    assert (root / "a/b/one").exists()
    await store.remove(["a/b/one", "c/d/three"])
    await store.clear(["a/b", "c/d", "never/there"])
    assert sorted(path.name for path in root.iterdir() if path.name != ".syncd") == ["a"]
    assert [path.name for path in (root / "a").iterdir()] == ["two"]


async def test_a_published_file_is_there_under_its_key_and_its_temp_file_is_gone(store, read):
    wanted = move(store, "t/f/a.png")
    assert await store.publish([wanted]) == [None]
    assert read("t/f/a.png") == b"content"
    assert not wanted.temp.exists()


async def test_publishing_again_replaces(store, read):
    await publish(store, "t/f/a.png", b"old")
    await publish(store, "t/f/a.png", b"new")
    await publish(store, "t/f/a.png", b"new")
    assert read("t/f/a.png") == b"new"


async def test_many_are_published_in_their_order(store, read):
    moves = [move(store, f"t/{n % 3}/{n % 5}.png", str(n).encode()) for n in range(40)]
    assert await store.publish(moves) == [None] * 40
    assert read("t/0/4.png") == b"39"
    assert read("t/1/2.png") == b"37"


async def test_temp_paths_are_fresh(store):
    assert store.temp() != store.temp()


async def test_the_file_before_is_kept_under_another_name(store, read):
    await publish(store, "t/a.png", b"one")
    await publish(store, "t/a.png", b"two", keep_as="t/a.v1.png")
    assert (read("t/a.png"), read("t/a.v1.png")) == (b"two", b"one")


async def test_what_was_kept_before_a_crash_is_not_replaced_by_what_moved_since(store, read):
    await publish(store, "t/a.png", b"one")
    await publish(store, "t/a.png", b"two", keep_as="t/a.v1.png")
    await publish(store, "t/a.png", b"two", keep_as="t/a.v1.png")
    assert (read("t/a.png"), read("t/a.v1.png")) == (b"two", b"one")


async def test_what_somebody_else_has_put_where_the_file_before_is_to_be_kept_gives_way(store, read, root):
    await publish(store, "t/a.png", b"one")
    (root / "t/a.v1.png").write_bytes(b"mine")
    await publish(store, "t/a.png", b"two", keep_as="t/a.v1.png")
    assert (read("t/a.png"), read("t/a.v1.png")) == (b"two", b"one")


async def test_nothing_is_kept_where_nothing_was(store, read):
    assert await publish(store, "t/a.png", b"one", keep_as="t/a.v1.png") is None
    with pytest.raises(FileNotFoundError):
        read("t/a.v1.png")


async def test_a_folder_is_published_whole(store, read):
    temp = store.temp()
    (temp / "sub").mkdir(parents=True)
    (temp / "sub" / "a.png").write_bytes(b"a")
    assert await store.publish([Move(temp, "_exports/e1", folder=True)]) == [None]
    assert read("_exports/e1/sub/a.png") == b"a"


async def test_a_folder_published_again_takes_the_place_of_the_one_before(store, read):
    for content in (b"old", b"new"):
        temp = store.temp()
        temp.mkdir()
        (temp / f"{content.decode()}.png").write_bytes(content)
        assert await store.publish([Move(temp, "_exports/e1", folder=True)]) == [None]
    assert read("_exports/e1/new.png") == b"new"
    with pytest.raises(FileNotFoundError):
        read("_exports/e1/old.png")


async def test_a_folder_that_gave_way_to_another_leaves_nothing_behind(tree, root):
    for _ in range(2):
        temp = tree.temp()
        temp.mkdir()
        (temp / "a.png").write_bytes(b"content")
        assert await tree.publish([Move(temp, "_exports/e1", folder=True)]) == [None]
    assert list((root / ".syncd" / "tmp").iterdir()) == []


async def test_small_files_are_written_and_replaced(store, read):
    await store.write([("manifest.json", b"{}"), ("t/f/manifest.json", b"[]")])
    await store.write([("manifest.json", b"{ }")])
    assert (read("manifest.json"), read("t/f/manifest.json")) == (b"{ }", b"[]")


async def test_removed_files_are_gone_and_those_that_are_not_there_are_removed_already(store, read):
    await publish(store, "t/a.png")
    await publish(store, "t/b.png")
    await store.remove(["t/a.png", "t/a.png", "never/there.png"])
    assert read("t/b.png") == b"content"
    with pytest.raises(FileNotFoundError):
        read("t/a.png")


async def test_a_store_holds_exactly_what_is_there(store):
    await publish(store, "t/a.png", b"content")
    assert await store.holds("t/a.png", 7, sha256(b"content"))
    assert not await store.holds("t/a.png", 7, sha256(b"another"))
    assert not await store.holds("t/a.png", 8, sha256(b"content"))
    assert not await store.holds("t/b.png", 7, sha256(b"content"))
    assert not await store.holds("u/a.png", 7, sha256(b"content"))
    assert not await store.holds("t/a.png/b.png", 7, sha256(b"content"))
    assert not await store.holds("t", 7, sha256(b"content"))


async def test_a_store_knows_how_much_room_is_left(store):
    assert await store.free() > 0


# The local tree alone


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_questions_and_removals_make_no_folders(tree, root):
    before = everything_below(root)
    await tree.holds("t/f/a.png", 1, "00")
    await tree.remove(["t/f/a.png"])
    assert everything_below(root) == before


async def test_files_and_folders_have_the_modes_of_the_config_whatever_the_umask(root):
    before = os.umask(0o077)
    try:
        tree = tree_at(root, dir_mode=0o751)
        await tree.attach(make=True)
        await publish(tree, "t/f/a.png")
        await tree.write([("t/f/manifest.json", b"{}")])
        await tree.close()
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("", "t", "t/f")}
    assert modes == {"": 0o751, "t": 0o751, "t/f": 0o751}
    assert [stat.S_IMODE(file.stat().st_mode) for file in (root / "t/f").iterdir()] == [0o644, 0o644]


async def test_a_set_group_id_bit_of_the_root_is_handed_down(tree, root):
    root.chmod(0o2755)
    await publish(tree, "t/f/a.png")
    assert stat.S_IMODE((root / "t/f").stat().st_mode) == 0o2755


async def test_a_new_root_keeps_the_set_group_id_bit_that_it_has_from_its_parent(tmp_path):
    tmp_path.chmod(0o2755)
    tree = tree_at(tmp_path / "mirror")
    await tree.attach(make=True)
    await tree.close()
    assert stat.S_IMODE((tmp_path / "mirror").stat().st_mode) == 0o2755


async def test_a_folder_that_is_born_with_its_mode_is_left_alone(tree, root, monkeypatch):
    """A service that may not set the set-group-id bit can inherit it all the same."""
    asked = []
    root.chmod(0o2755)
    monkeypatch.setattr(os, "chmod", lambda _, mode: asked.append(mode))
    before = os.umask(0o022)
    try:
        await publish(tree, "t/a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "t").stat().st_mode) == 0o2755
    assert 0o2755 not in asked


async def test_a_file_system_that_refuses_modes_is_tolerated_and_said_once(tree, root, monkeypatch, caplog):
    def refuse(*_args, **_named):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    assert await publish(tree, "t/a.png") is None
    assert await publish(tree, "u/a.png") is None
    assert [record.message for record in caplog.records] == ["the mirror's file system refuses modes"]


async def test_the_names_of_a_new_root_and_of_the_folders_above_it_are_synced(tmp_path, monkeypatch):
    fsync, synced = os.fsync, set()

    def seen_fsync(descriptor):
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    tree = tree_at(tmp_path / "srv" / "mirror")
    await tree.attach(make=True)
    await tree.close()
    assert {tmp_path, tmp_path / "srv", tmp_path / "srv" / "mirror"} <= synced


async def test_everything_that_moves_is_synced_before_its_name_and_the_names_after(tree, root, monkeypatch):
    """The order of system calls is what power loss is about."""
    await publish(tree, "t/b.png")
    done = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor):
        done.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def seen_rename(source, target, **where):
        done.append(("rename", target))
        rename(source, target, **where)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    moves = [move(tree, "t/a.png"), move(tree, "t/new/c.png")]
    await tree.publish(moves)
    assert done[:4] == [
        *(("fsync", str(each.temp)) for each in moves),
        ("rename", "a.png"),
        ("rename", "c.png"),
    ]
    assert sorted(done[4:]) == [("fsync", str(root / "t")), ("fsync", str(root / "t/new"))]


@pytest.mark.parametrize("able", [True, False])
async def test_many_files_are_synced_in_one_step_before_their_names_where_that_can_be_relied_on(
    tree, root, monkeypatch, able
):
    done = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor):
        done.append("fsync")
        fsync(descriptor)

    def seen_rename(source, target, **where):
        done.append("rename")
        rename(source, target, **where)

    def seen_barrier_of(_):
        if able:
            return lambda: done.append("sync all")
        done.append("sync all")  # asked for in vain
        return None

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    for module in (local, barrier):
        monkeypatch.setattr(module, "barrier_of", seen_barrier_of)
    monkeypatch.setattr(local, "check_written", lambda _: done.append("checked"))
    assert await tree.publish([move(tree, f"{n}/a.png") for n in range(MANY)]) == [None] * MANY
    assert done[-1] == ("sync all" if able else "fsync")
    files, names = (["checked"] * MANY, []) if able else (["fsync"] * MANY, ["fsync"] * (MANY + 1))
    assert done == ["sync all", *files, *["rename"] * MANY, "sync all", *names]
    assert {(root / f"{n}/a.png").stat().st_mode & 0o777 for n in range(MANY)} == {tree.file_mode}


async def test_a_planted_link_among_many_files_is_not_followed(tree, root, tmp_path):
    bystander = tmp_path / "bystander"
    bystander.write_bytes(b"somebody's")
    bystander.chmod(0o600)
    moves = [move(tree, f"t/{n}.png") for n in range(MANY)]
    moves[3].temp.unlink()
    moves[3].temp.symlink_to(bystander)
    with pytest.raises(StoreUnavailable):
        await tree.publish(moves)
    assert bystander.stat().st_mode & 0o777 == 0o600
    assert not (root / "t").exists()


async def test_a_kept_file_is_copied_where_links_are_refused(tree, root, monkeypatch):
    def refuse(*_args, **_named):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await publish(tree, "t/a.png", b"one")
    before = os.umask(0o077)
    try:
        assert await publish(tree, "t/a.png", b"two", keep_as="t/a.v1.png") is None
    finally:
        os.umask(before)
    assert (root / "t/a.v1.png").read_bytes() == b"one"
    assert stat.S_IMODE((root / "t/a.v1.png").stat().st_mode) == 0o644
    assert list((root / ".syncd/tmp").iterdir()) == []


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_more_folders_than_a_process_may_open_fit_into_one_publication(tree, root):
    moves = [move(tree, f"{n}/{n}/a.png", str(n).encode()) for n in range(150)]
    before = open_files()
    assert await tree.publish(moves) == [None] * 150
    assert all((root / f"{n}/{n}/a.png").read_bytes() == str(n).encode() for n in range(150))
    assert open_files() == before


async def test_what_is_kept_in_another_folder_does_not_lead_a_file_astray(tree, root):
    await tree.publish([move(tree, f"old/{n}/a.png", b"old") for n in range(150)])
    moves = [
        Move(move(tree, "", b"new").temp, f"new/{n}/a.png", keep_as=f"old/{n}/a.v1.png", former=f"old/{n}/a.png")
        for n in range(150)
    ]
    assert await tree.publish(moves) == [None] * 150
    assert {len(list((root / f"new/{n}").iterdir())) for n in range(150)} == {1}
    assert {len(list((root / f"old/{n}").iterdir())) for n in range(150)} == {2}


# What is in the way


async def test_a_folder_in_the_way_is_that_files_fault_only(tree, root):
    (root / "t/a.png").mkdir(parents=True)
    (root / "t/file").write_text("mine")
    moves = [move(tree, key) for key in ("t/a.png", "t/file/b.png", "t/c.png")]
    first, second, third = await tree.publish(moves)
    assert first is not None
    assert first.startswith("t/a.png can't be written: ")
    assert second is not None
    assert third is None
    assert (root / "t/c.png").read_bytes() == b"content"


async def test_a_folder_where_a_file_is_to_be_removed_does_not_stop_the_others(tree, root):
    (root / "t/a.png").mkdir(parents=True)
    await publish(tree, "t/b.png")
    await tree.remove(["t/a.png", "t/b.png"])
    assert everything_below(root / "t") == ["a.png"]


async def test_a_folder_in_the_way_of_the_file_before_is_that_files_fault_and_leaves_it(tree, root):
    await publish(tree, "t/a.png", b"one")
    (root / "t/a.v1.png").mkdir()
    fault = await publish(tree, "t/a.png", b"two", keep_as="t/a.v1.png")
    assert fault is not None
    assert fault.startswith("t/a.png can't be written: ")
    assert (root / "t/a.png").read_bytes() == b"one"


async def test_a_planted_link_to_a_folder_is_not_followed(tree, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (root / "t").symlink_to(outside)
    assert await publish(tree, "t/a.png") is not None
    await tree.remove(["t/precious"])
    assert not await tree.holds("t/precious", 8, sha256(b"precious"))
    assert await tree.write([("t/manifest.json", b"{}")]) != [None]
    assert everything_below(outside) == ["precious"]


async def test_a_planted_link_to_a_file_is_replaced_and_not_written_through(tree, root, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (root / "t").mkdir()
    (root / "t/a.png").symlink_to(precious)
    assert await publish(tree, "t/a.png", keep_as="t/a.v1.png") is None
    assert not (root / "t/a.png").is_symlink()
    assert precious.read_text() == "precious"
    assert precious.stat().st_nlink == 1


async def test_a_planted_link_in_the_way_of_the_file_before_is_replaced(tree, root, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    await publish(tree, "t/a.png", b"one")
    (root / "t/a.v1.png").symlink_to(precious)
    assert await publish(tree, "t/a.png", b"two", keep_as="t/a.v1.png") is None
    assert not (root / "t/a.v1.png").is_symlink()
    assert (root / "t/a.v1.png").read_bytes() == b"one"
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", [".syncd", ".syncd/tmp"])
async def test_a_planted_link_in_place_of_syncds_own_folder_ends_everything(root, tmp_path, name):
    tree = tree_at(root)
    await tree.attach(make=True)
    await tree.close()
    outside = tmp_path / "outside"
    (root / name).rename(outside)
    (root / name).symlink_to(outside)
    before = everything_below(outside)
    tree = tree_at(root)
    with pytest.raises(StoreUnavailable):
        await tree.attach(make=False)
    await tree.close()
    assert everything_below(outside) == before


@pytest.fixture
def elsewhere(tmp_path):
    """A file on another file system than the tree's."""
    file = Path(f"/dev/shm/syncd-{os.getpid()}")  # noqa: S108 - memory is a file system of its own
    file.write_bytes(b"content")
    if file.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    yield file
    file.unlink()


async def test_what_lies_on_another_file_system_is_refused_and_not_copied(tree, root, elsewhere):
    fault, none = await tree.publish([Move(elsewhere, "t/a.png"), move(tree, "t/b.png")])
    assert "t/a.png" in fault
    assert none is None
    assert everything_below(root / "t") == ["b.png"]


# The marker


async def all_refuse(tree, hint):
    """Every operation ends with StoreUnavailable."""
    for work in (
        tree.publish([Move(tree.temp(), "t/a.png")]),
        tree.write([("manifest.json", b"{}")]),
        tree.remove(["t/a.png"]),
        tree.holds("t/a.png", 7, sha256(b"content")),
        tree.free(),
    ):
        with pytest.raises(StoreUnavailable, match=hint):
            await work


async def test_an_absent_root_stops_everything_and_is_not_made(tree, root):
    aside = root.with_name("aside")
    root.rename(aside)
    await all_refuse(tree, "is not there")
    with pytest.raises(StoreUnavailable, match="is not there"):
        await tree.attach(make=False)
    assert not root.exists()


async def test_an_empty_mount_point_stops_everything_and_stays_empty(tree, root):
    aside = root.with_name("aside")
    root.rename(aside)
    root.mkdir()
    await all_refuse(tree, "lost its marker")
    with pytest.raises(StoreUnavailable, match="lost its marker"):
        await tree.attach(make=False)
    assert everything_below(root) == []

    root.rmdir()
    aside.rename(root)
    await tree.attach(make=False)
    assert await publish(tree, "t/a.png") is None


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "[" * 4096, json.dumps({"journal": "another"})])
async def test_a_root_of_another_journal_stops_everything_and_is_not_touched(tree, root, content):
    await publish(tree, "t/a.png")
    (root / ".syncd/root.json").write_text(content)
    before = everything_below(root)
    await all_refuse(tree, "belongs to another journal")
    with pytest.raises(StoreUnavailable, match="belongs to another journal"):
        await tree.attach(make=True)
    assert everything_below(root) == before
    assert (root / ".syncd/root.json").read_text() == content


async def test_a_root_that_is_a_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "mirror").symlink_to(tmp_path / "disk")
    tree = tree_at(tmp_path / "mirror")
    await tree.attach(make=True)
    assert await publish(tree, "t/a.png") is None
    await tree.close()
    assert (tmp_path / "disk/t/a.png").exists()


async def test_what_is_in_the_root_at_its_first_use_stays(root):
    root.mkdir()
    (root / "index.html").write_text("mine")
    tree = tree_at(root)
    await tree.attach(make=True)
    await tree.close()
    assert (root / "index.html").read_text() == "mine"


async def test_a_second_owner_is_refused_and_told_who_has_it_until_that_one_is_gone(root):
    first, second = tree_at(root), tree_at(root)
    await first.attach(make=True)
    with pytest.raises(InUse, match=f"mirror.*in use.*pid {os.getpid()}"):
        await second.attach(make=False)
    await first.close()
    await second.attach(make=False)
    await second.close()


async def test_leftovers_of_an_earlier_process_go_and_those_of_this_one_stay(root):
    tree = tree_at(root)
    await tree.attach(make=True)
    leftover = root / ".syncd/tmp/123-4"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    await tree.close()

    tree = tree_at(root)
    await tree.attach(make=False)
    assert not leftover.exists()
    mine = move(tree, "t/a.png")
    await tree.attach(make=False)
    assert await tree.publish([mine]) == [None]
    await tree.close()


async def test_a_failed_write_leaves_no_temp_files(tree, root):
    (root / "t/manifest.json").mkdir(parents=True)
    obstructed, fine = await tree.write([("t/manifest.json", b"{}"), ("u/manifest.json", b"{}")])
    assert "can't be written" in obstructed
    assert fine is None
    assert list((root / ".syncd/tmp").iterdir()) == []


async def test_operations_happen_in_the_order_in_which_they_were_asked_for(tree, root):
    works = [tree.write([("manifest.json", str(n).encode())]) for n in range(20)]
    await asyncio.gather(*works)
    assert (root / "manifest.json").read_bytes() == b"19"


# Held files


def held_move(store, row, key, size):
    return Move(store.held(row), key, bytes=size)


async def test_a_held_file_is_out_of_sight_and_counted(store, root):
    assert await publish(store, held_key(7), b"draft") is None
    assert await store.all_held() == {7: 5}
    assert store.held(7).read_bytes() == b"draft"
    assert stat.S_IMODE((root / ".syncd" / "held").stat().st_mode) == 0o700


async def test_a_held_file_goes_to_its_key_and_is_held_no_more(store, read):
    await publish(store, held_key(7), b"draft")
    assert await store.publish([held_move(store, 7, "a/x.png", 5)]) == [None]
    assert read("a/x.png") == b"draft"
    assert await store.all_held() == {}


@pytest.mark.parametrize("left", [None, b"dr", "folder", "link"])
async def test_a_held_file_that_is_not_whole_stops_no_other(store, read, root, left):
    await publish(store, held_key(7), b"draft")
    store.held(7).unlink()
    if left == "folder":
        store.held(7).mkdir()
    elif left == "link":
        store.held(7).symlink_to(root / "elsewhere")
    elif left is not None:
        store.held(7).write_bytes(left)
    fault, well = await store.publish([held_move(store, 7, "a/x.png", 5), move(store, "a/y.png")])
    assert fault.startswith("the file that was held is")
    assert well is None
    assert read("a/y.png") == b"content"
    assert not (root / "a" / "x.png").exists()


async def test_visible_files_are_set_aside_and_missing_ones_passed_over(store, root):
    await publish(store, "a/x.png", b"one")
    await publish(store, "a/b/y.png", b"three")
    files = [("a/x.png", 1), ("a/gone.png", 2), ("a/b/y.png", 3), ("nowhere/z.png", 4)]
    for _ in range(2):
        await store.set_aside(files)
        assert await store.all_held() == {1: 3, 3: 5}
    assert not (root / "a" / "x.png").exists()


async def test_what_is_set_aside_follows_no_link_out_of_the_tree(store, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(b"theirs")
    (root / "a").symlink_to(outside)
    await store.set_aside([("a/x.png", 1)])
    assert (outside / "x.png").exists()
    assert await store.all_held() == {}


async def test_a_held_folder_that_is_gone_is_made_again(store, root):
    (root / ".syncd" / "held").rmdir()
    assert await store.all_held() == {}
    await publish(store, "a/x.png")
    await store.set_aside([("a/x.png", 1)])
    assert await store.all_held() == {1: 7}


async def test_held_files_survive_the_clearing_of_temp_files(root):
    tree = tree_at(root)
    await tree.attach(make=True)
    await publish(tree, held_key(7))
    await tree.close()
    again = tree_at(root)
    await again.attach(make=False)
    assert await again.all_held() == {7: 7}
    await again.close()
