"""Newer wins: whatever the order, the newest version is what a reader finds, and no other visual's file is touched."""

from collections import Counter
from itertools import permutations
from random import Random

from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import artwork
from syncd.demo.stage import Fault

FOLDER = "Spring sale/medium-rectangle"


def version(scene, number, kind="png", visual=1, **fields):
    """One version of a visual, at a URL and with bytes of its own, under the same file name."""
    url = scene.put(f"/{visual}/{number}.{kind}", artwork(kind, number))
    return payloads.new_banner(
        url, visual=visual, version=number, file=payloads.file(url, filename=f"a.{kind}"), **fields
    )


ORDERS = [*permutations((1, 2, 3)), (2, 3, 1, 3, 2), (1, 3, 3, 2), (3, 1, 3, 1, 2)]


async def test_the_newest_version_stays_whatever_the_order(tmp_path):
    async with watched(tmp_path) as scene:
        for turn in range(max(map(len, ORDERS))):
            for visual, order in enumerate(ORDERS):
                if turn < len(order):
                    link = f"https://app.example.test/{turn}"
                    await scene.send(version(scene, order[turn], visual=visual, view_url=link))
        await scene.settle()
        assert list(scene.files().values()) == [artwork("png", 3)] * len(ORDERS)
        assert {entry["outcome"] for entry in await scene.deliveries()} == {"processed"}
        status = await scene.daemon.api("/api/status")
        assert status["assets"] == {
            "pending": 0, "published": len(ORDERS), "superseded": 2 * len(ORDERS), "failed": 0,
        }  # fmt: skip


async def test_a_late_older_version_changes_nothing_even_one_by_one(tmp_path):
    async with watched(tmp_path) as scene:
        newest = 0
        for number in (2, 1, 4, 3):
            await scene.send(version(scene, number))
            await scene.settle()
            newest = max(newest, number)
            assert scene.files() == {f"{FOLDER}/a.png": artwork("png", newest)}
        assert scene.stage.requests["/1/1.png"] == 0
        assert scene.stage.requests["/1/3.png"] == 0


async def test_an_older_version_that_downloads_slowly_does_not_replace_a_newer_one(tmp_path):
    async with watched(tmp_path) as scene:
        old, new = version(scene, 1), version(scene, 2)
        scene.stage.script("/1/1.png", Fault(delay=0.5))
        await scene.send(old)
        await scene.stage.asked("/1/1.png")
        await scene.send(new)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 2)}


async def test_without_a_version_the_later_receipt_wins_but_never_over_a_versioned_one(tmp_path):
    async with watched(tmp_path) as scene:
        for number in (1, 2):
            payload = version(scene, number)
            del payload["version"]
            await scene.send(payload)
            await scene.settle()
            assert scene.files() == {f"{FOLDER}/a.png": artwork("png", number)}
        await scene.send(version(scene, 3))
        await scene.settle()
        payload = version(scene, 4)
        del payload["version"]
        await scene.send(payload)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 3)}


async def test_the_same_visual_again_under_a_new_delivery_is_not_fetched_again(tmp_path):
    async with watched(tmp_path) as scene:
        payload = version(scene, 1)
        await scene.send(payload)
        await scene.settle()
        await scene.send({**payload, "view_url": "https://app.example.test/again"})
        await scene.settle()
        assert scene.stage.requests["/1/1.png"] == 1
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 1)}


async def test_two_published_visuals_that_turn_out_to_be_one_leave_the_newer(tmp_path):
    async with watched(tmp_path) as scene:
        shared, lone = version(scene, 1, visual=1), version(scene, 2, visual=2)
        del lone["sharing_id"]
        await scene.send(shared)
        await scene.settle()
        await scene.send(lone)
        await scene.settle()
        assert len(scene.files()) == 2
        learned = {**lone, "sharing_id": shared["sharing_id"]}
        await scene.send(learned)
        await scene.settle()
        assert list(scene.files().values()) == [artwork("png", 2)]
        status = await scene.daemon.api("/api/status")
        assert status["assets"]["superseded"] == 1
        await scene.send(version(scene, 3, visual=1))
        await scene.settle()
        assert list(scene.files().values()) == [artwork("png", 3)]


async def test_a_new_type_takes_a_new_extension_and_the_old_file_goes(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(version(scene, 1, "png"))
        await scene.settle()
        await scene.send(version(scene, 2, "jpeg"))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.jpeg": artwork("jpeg", 2)}
        await scene.send(version(scene, 3, "png"))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 3)}


async def test_older_versions_stay_beside_the_newest_as_many_as_wanted(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 3") as scene:
        for number in (1, 3, 5, 2, 4):
            await scene.send(version(scene, number))
            await scene.settle()
        assert scene.files() == {
            f"{FOLDER}/a.png": artwork("png", 5),
            f"{FOLDER}/a.v4.png": artwork("png", 4),
            f"{FOLDER}/a.v3.png": artwork("png", 3),
        }
        entries = scene.entries()
        assert {path: entry.get("superseded", False) for path, entry in entries.items()} == {
            f"{FOLDER}/a.png": False, f"{FOLDER}/a.v4.png": True, f"{FOLDER}/a.v3.png": True,
        }  # fmt: skip
        assert scene.daemon.index()["totals"]["assets"] == 1


async def test_older_versions_that_arrive_late_are_kept_too(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 3") as scene:
        for number in (5, 4, 3, 2):
            await scene.send(version(scene, number))
            await scene.settle()
        assert set(scene.files()) == {f"{FOLDER}/a.png", f"{FOLDER}/a.v4.png", f"{FOLDER}/a.v3.png"}


async def test_all_versions_at_once_leave_the_newest_three(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 3") as scene:
        await scene.send(payloads.batch([version(scene, number) for number in (2, 5, 1, 4, 3)]))
        await scene.settle()
        assert scene.files() == {
            f"{FOLDER}/a.png": artwork("png", 5),
            f"{FOLDER}/a.v4.png": artwork("png", 4),
            f"{FOLDER}/a.v3.png": artwork("png", 3),
        }


async def test_a_kept_version_of_another_type_bears_its_version_too(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 2") as scene:
        for number, kind in enumerate(("png", "jpeg", "png", "png"), start=1):
            await scene.send(version(scene, number, kind))
            await scene.settle()
            if number == 2:
                assert scene.files() == {
                    f"{FOLDER}/a.jpeg": artwork("jpeg", 2), f"{FOLDER}/a.v1.png": artwork("png", 1),
                }  # fmt: skip
            if number == 3:
                assert scene.files() == {
                    f"{FOLDER}/a.png": artwork("png", 3), f"{FOLDER}/a.v2.jpeg": artwork("jpeg", 2),
                }  # fmt: skip
        assert scene.files() == {
            f"{FOLDER}/a.png": artwork("png", 4),
            f"{FOLDER}/a.v3.png": artwork("png", 3),
        }


async def test_a_layout_with_the_hash_gives_each_content_its_own_path(tmp_path):
    async with watched(tmp_path, mirror='layout = "{template}/{stem}.{hash}.{ext}"') as scene:
        await scene.send(version(scene, 1))
        await scene.settle()
        (first,) = scene.files()
        await scene.send(version(scene, 2))
        await scene.settle()
        (second,) = scene.files()
        assert first != second
        assert scene.entries()[second]["sha256"][:8] in second
        assert not (scene.daemon.root / first).exists()


async def test_a_layout_with_the_version_moves_on_with_it(tmp_path):
    async with watched(tmp_path, mirror='layout = "{template}/v{version}/{filename}"') as scene:
        for number in (1, 3, 2):
            await scene.send(version(scene, number))
            await scene.settle()
        assert scene.files() == {"Spring sale/v3/a.png": artwork("png", 3)}
        assert [line["path"] for line in scene.daemon.index()["folders"]] == ["Spring sale/v3"]


async def test_a_newer_version_that_can_never_be_had_leaves_the_older_one_in_place(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(version(scene, 1))
        await scene.settle()
        missing = version(scene, 2)
        scene.stage.remove("/1/2.png")
        await scene.send(missing)
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 1)}
        (failure,) = await scene.failures()
        assert failure["id"] == missing["id"]


async def test_an_older_version_passed_over_is_fetched_when_the_newer_one_fails(tmp_path):
    async with watched(tmp_path) as scene:
        newer = version(scene, 2)
        scene.stage.remove("/1/2.png")
        await scene.send(payloads.batch([newer, version(scene, 1)]))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.png": artwork("png", 1)}


async def test_a_reader_never_meets_anything_broken_while_versions_come_in_every_order_and_type(tmp_path):
    async with watched(tmp_path, mirror="keep_versions = 2") as scene:
        chosen = Random(7)
        kinds = {number: chosen.choice(("png", "jpeg", "pdf")) for number in range(1, 13)}
        announced = [(visual, number) for visual in range(3) for number in kinds]
        chosen.shuffle(announced)
        for turn, (visual, number) in enumerate(announced):
            await scene.send(version(scene, number, kinds[number], visual=visual))
            if turn % 3 == 0:  # let it be published before the next one replaces it
                await scene.daemon.idle()
        await scene.settle()
        shown = Counter(entry["version"] for entry in scene.entries().values() if not entry.get("superseded"))
        kept = Counter(entry["version"] for entry in scene.entries().values() if entry.get("superseded"))
        assert (shown, kept) == (Counter({12: 3}), Counter({11: 3}))
