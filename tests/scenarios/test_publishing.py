"""What each event puts where: the tree as a reader finds it."""

import json
from itertools import permutations

from running import running
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import TYPES, archive, artwork
from syncd.demo.stage import Stage

FOLDER = "Spring sale/medium-rectangle"


def names(scene, folder=FOLDER):
    return sorted(path.removeprefix(f"{folder}/") for path in scene.files() if path.startswith(f"{folder}/"))


def called(url, filename, **fields):
    return payloads.file(url, filename=filename, **fields)


async def test_every_event_is_known_by_its_url_its_name_or_its_shape(tmp_path):
    async with watched(tmp_path) as scene:
        url = [scene.put(f"/{n}.png", artwork("png", n)) for n in range(6)]
        packed = scene.put("/e.zip", archive({"x.png": artwork("png", 9)}))
        scene.truth.exports([artwork("png", 9)])
        await scene.send(payloads.new_banner(url[0], visual=10), path="/new_banner")
        await scene.send(payloads.batch([payloads.new_banner(url[1], visual=11)]), path="/new_banner_batch")
        await scene.send(payloads.export(packed), path="/new_export")
        await scene.send(payloads.template_status("APPROVED"), path="/template_status")
        await scene.send(
            {**payloads.new_banner(url[2], visual=12), "event_type": "new_banner"},
            {"event": "NEW_BANNER", "data": payloads.new_banner(url[3], visual=13)},
            payloads.callback([payloads.new_banner(url[4], visual=14)], request=2),
            {"id": "only-what-is-required", "file": {"type": "png", "url": url[5]}},
        )
        await scene.settle()
        assert [entry["event"] for entry in await scene.deliveries()] == [
            "NEW_BANNER", "NEW_BANNER_BATCH", "NEW_EXPORT", "TEMPLATE_STATUS",
            "NEW_BANNER", "NEW_BANNER", "NEW_BANNER_BATCH", "NEW_BANNER",
        ]  # fmt: skip
        assert {entry["outcome"] for entry in await scene.deliveries()} == {"processed"}
        assert names(scene) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
        assert len(scene.files()) == 7


async def test_every_type_is_published_byte_for_byte(tmp_path):
    async with watched(tmp_path) as scene:
        for number, kind in enumerate(TYPES):
            await scene.send(payloads.new_banner(scene.put(f"/a.{kind}", artwork(kind)), visual=number))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/a.{kind}": artwork(kind) for kind in TYPES}
        assert {entry["type"] for entry in scene.entries().values()} == set(TYPES)


async def test_a_batch_publishes_what_it_has_and_notes_what_failed(tmp_path):
    async with watched(tmp_path) as scene:
        banners = [payloads.new_banner(scene.put(f"/{n}.png", artwork("png", n)), visual=n) for n in range(3)]
        errors = [{"template_format_name": "leaderboard", "reason": "headline does not fit its box"}]
        await scene.send(payloads.batch(banners, errors=errors), payloads.batch([], request=2, errors=errors))
        await scene.settle()
        assert names(scene) == ["0.png", "1.png", "2.png"]
        partial, total = await scene.deliveries()
        assert [asset["state"] for asset in partial["assets"]] == ["published"] * 3
        for delivery in (partial, total):
            assert delivery["outcome"] == "processed"
            assert "headline does not fit its box" in delivery["reason"]


async def test_a_banner_announced_by_subscription_and_callback_is_one_file(tmp_path):
    async with watched(tmp_path) as scene:
        for visual, order in enumerate(permutations(range(3))):
            banner = payloads.new_banner(scene.put(f"/{visual}.png", artwork("png", visual)), visual=visual)
            bare = {name: value for name, value in banner.items() if name not in ("version", "sharing_id")}
            said = [banner, payloads.callback([bare]), payloads.batch([bare])]
            await scene.send(*(said[turn] for turn in order))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/{visual}.png": artwork("png", visual) for visual in range(6)}
        assert {entry["outcome"] for entry in await scene.deliveries()} == {"processed"}


async def test_an_html5_visual_is_a_zip_with_its_fallback_image_beside(tmp_path):
    async with watched(tmp_path) as scene:
        fallback = scene.put("/f.jpeg", artwork("jpeg"))
        zipped = payloads.file(scene.put("/anim.zip", artwork("zip")), fallback_image_url=fallback)
        await scene.send(payloads.new_banner(zipped["url"], file=zipped))
        await scene.settle()
        assert scene.files() == {f"{FOLDER}/anim.zip": artwork("zip"), f"{FOLDER}/anim.jpeg": artwork("jpeg")}
        entries = scene.entries()
        assert entries[f"{FOLDER}/anim.zip"]["kind"] == "html5"
        assert entries[f"{FOLDER}/anim.jpeg"]["kind"] != "html5"
        assert entries[f"{FOLDER}/anim.jpeg"]["type"] == "jpeg"


async def test_what_a_payload_leaves_out_has_a_place_too(tmp_path):
    async with watched(tmp_path) as scene:
        url = [scene.put(f"/{n}.pdf", artwork("pdf", n)) for n in range(3)]
        multipage = payloads.new_banner(url[0], visual=1, format={"unit": "mm", "width": 210.0, "height": 297.0})
        unnamed = payloads.new_banner(url[1], visual=2, file={"type": "pdf", "url": url[1] + "?X-Amz-Signature=s3cret"})
        bare = {"id": "b", "file": {"type": "pdf", "url": url[2]}}
        await scene.send(multipage, unnamed, bare)
        await scene.settle()
        assert {"Spring sale/multipage/0.pdf", f"{FOLDER}/1.pdf"} < set(scene.files())
        (elsewhere,) = set(scene.files()) - {"Spring sale/multipage/0.pdf", f"{FOLDER}/1.pdf"}
        assert elsewhere.endswith("/multipage/2.pdf")
        format_ = scene.manifest("Spring sale/multipage")["format"]
        assert format_ == {"id": None, "width": 210.0, "height": 297.0, "unit": "mm"}
        assert "s3cret" not in json.dumps(scene.entries())
        assert scene.entries()[f"{FOLDER}/1.pdf"]["source_url"] == url[1]


HOSTILE = [
    "../../../../etc/passwd", "..", ".", "/etc/passwd", "C:\\Windows\\x.png", "a/../../b.png", "a\0b.png",
    "a\nb\x1b[31m.png", "\u202egnp.exe", "ze\u200bro\u2060\ufeff.png", "CON.png", "nul.txt.png", "LPT1", "x.png. . .",
    "n" * 300 + ".png", "é" * 200 + ".png", "🦄" * 100 + ".png", "manifest.json", "MANIFEST.JSON", "SHA256SUMS",
    "_exports", "_x.png", ".syncd", ".x.png", 'a<b>c:d"e|f?g*h.png', "   ", "x.exe", "~", "-rf.png",
]  # fmt: skip


async def test_no_name_leads_out_of_its_place_or_breaks_a_reader(tmp_path):
    async with watched(tmp_path) as scene:
        for number, name in enumerate(HOSTILE):
            url = scene.put(f"/{number}.png", artwork("png", number))
            await scene.send(payloads.new_banner(url, visual=number, file=called(url, name)))
        hostile = {"template": {"id": "t", "name": "../../up"}, "format": {"id": "..\\..\\_exports"}}
        url = scene.put("/t.png", artwork("png", 99))
        await scene.send(payloads.new_banner(url, visual=99, file=called(url, "ok.png"), **hostile))
        await scene.settle()
        assert sorted(scene.files().values()) == sorted(artwork("png", n) for n in [*range(len(HOSTILE)), 99])
        for path in scene.files():
            assert path.count("/") == 2
            for part in path.split("/"):
                assert part == part.strip(" .")
                assert part.isprintable()
                assert not part.startswith(("_", "."))
                assert not set(part) & set('<>:"|?*\\')
                assert len(part.encode()) <= 255
                assert part.partition(".")[0].upper() not in {"CON", "NUL", "LPT1"}
            assert path.endswith(".png")
            assert not path.upper().endswith("/MANIFEST.JSON")
        assert {path.name for path in tmp_path.iterdir()} == {"config", "log", "mirror", "state"}
        assert len({path.casefold() for path in scene.files()}) == len(scene.files())


async def test_two_visuals_of_one_file_name_are_kept_apart_by_a_short_id(tmp_path):
    async with watched(tmp_path) as scene:
        url = [scene.put(f"/{n}.jpeg", artwork("jpeg", n)) for n in range(3)]
        spelled = ["name.jpeg", "name.jpeg", "NAME.jpeg"]
        for n in range(3):
            await scene.send(payloads.new_banner(url[n], visual=n, file=called(url[n], spelled[n])))
        await scene.settle()
        paths = {content: path for path, content in scene.files().items()}
        first, second, third = (paths[artwork("jpeg", n)].removeprefix(f"{FOLDER}/") for n in range(3))
        assert first == "name.jpeg"
        assert second.startswith("name~")
        assert second.endswith(".jpeg")
        assert third.startswith("NAME~")
        # Each keeps its path when it has a new version.
        again = scene.put("/1b.jpeg", artwork("jpeg", 7))
        await scene.send(payloads.new_banner(again, visual=1, version=2, file=called(again, "name.jpeg")))
        await scene.settle()
        assert scene.files()[f"{FOLDER}/{second}"] == artwork("jpeg", 7)
        assert len(scene.files()) == 3


async def test_names_that_unicode_spells_in_two_ways_are_one_name(tmp_path):
    async with watched(tmp_path) as scene:
        for n, name in enumerate(["caf\u00e9.png", "cafe\u0301.png"]):
            url = scene.put(f"/{n}.png", artwork("png", n))
            await scene.send(payloads.new_banner(url, visual=n, file=called(url, name)))
        await scene.settle()
        assert f"{FOLDER}/caf\u00e9.png" in scene.files()
        assert len(scene.files()) == 2
        assert all("\u0301" not in path for path in scene.files())


async def test_templates_of_one_name_have_folders_of_their_own_and_keep_them_when_renamed(tmp_path):
    def template(number, name):
        return {"template": {"id": f"template-{number}", "name": name}}

    async with watched(tmp_path) as scene:
        url = [scene.put(f"/{n}.png", artwork("png", n)) for n in range(4)]
        await scene.send(
            payloads.new_banner(url[0], visual=0, **template(0, "Autumn")),
            payloads.new_banner(url[1], visual=1, **template(1, "Autumn")),
            payloads.new_banner(url[2], visual=2, **template(2, "AUTUMN")),
            payloads.new_banner(url[3], visual=3, **template(0, "Winter")),
        )
        await scene.settle()
        folders = {path.split("/")[0] for path in scene.files()}
        assert set(scene.files()) >= {"Autumn/medium-rectangle/0.png", "Autumn/medium-rectangle/3.png"}
        assert len(folders) == 3
        assert sum(name.startswith("Autumn~") for name in folders) == 1
        assert sum(name.startswith("AUTUMN~") for name in folders) == 1
        assert scene.manifest("Autumn/medium-rectangle")["template"]["name"] == "Winter"


async def test_a_burst_is_published_whole_and_indexed_once_in_a_while(tmp_path):
    async with watched(tmp_path) as scene:
        content = artwork("png")
        banners = [payloads.new_banner(scene.put(f"/{n}.png", content), visual=n) for n in range(500)]
        for start in range(0, 500, 50):
            await scene.send(payloads.batch(banners[start : start + 50], request=start))
        await scene.settle()
        index = scene.daemon.index()
        assert index["totals"]["assets"] == len(scene.files()) == 500
        assert index["sequence"] < 100


async def test_jobs_that_end_while_a_slow_journal_is_asked_for_the_next_hold_up_no_others(tmp_path):
    async with Stage() as stage, running(tmp_path, entry="bug:slow") as daemon:
        url = stage.put("/a.png", artwork("png"))
        await daemon.send(payloads.batch([payloads.new_banner(url, visual=n) for n in range(8)], request=1))
        await daemon.until(lambda: len(daemon.files()) == 8, "all banners")
