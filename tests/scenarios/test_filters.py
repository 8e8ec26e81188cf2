"""Which of what is announced is wanted: the source's filters, and what is said of the rest."""

from itertools import product

import pytest
from scene import watched

from syncd.demo import payloads
from syncd.demo.artwork import archive, artwork

TEMPLATES = ("Spring sale", "Spring draft", "Autumn")
FORMATS = ("medium-rectangle", "leaderboard")
TYPES = ("png", "jpeg", "pdf")


def everything(scene):
    """A banner of each template in each format and three types."""
    visual = 0
    for template in TEMPLATES:
        for format_ in FORMATS:
            for kind in TYPES:
                visual += 1
                url = scene.put(f"/{visual}.{kind}", artwork(kind, visual))
                yield payloads.new_banner(
                    url, visual=visual, template={"id": f"id of {template}", "name": template}, format={"id": format_}
                )


def kept(scene):
    """What there is, as (template, format, type)."""
    parts = [path.split("/") for path in scene.files()]
    return {(template, format_, name.rpartition(".")[2]) for template, format_, name in parts}


CASES = {
    'templates = ["Spring*", "!*draft"]': {"template": {"Spring sale"}},
    'templates = ["!Autumn"]': {"template": {"Spring sale", "Spring draft"}},
    'templates = ["id of Autumn"]': {"template": {"Autumn"}},
    'templates = ["spring SALE"]\nformats = ["leader*"]': {"template": {"Spring sale"}, "format": {"leaderboard"}},
    'types = ["!pdf"]\nformats = ["!leaderboard", "*"]': {"type": {"png", "jpeg"}, "format": {"medium-rectangle"}},
    'types = ["jpg"]': {"type": {"jpeg"}},
}
"""The filters, and what passes them; a word that is not named may be any."""


@pytest.mark.parametrize("filters", CASES)
async def test_only_what_passes_the_filters_is_fetched(tmp_path, filters):
    async with watched(tmp_path, abyssale=filters) as scene:
        passing = CASES[filters]
        wanted = set(
            product(passing.get("template", TEMPLATES), passing.get("format", FORMATS), passing.get("type", TYPES))
        )
        await scene.send(*everything(scene))
        await scene.settle()
        assert kept(scene) == wanted
        assert scene.stage.requests.total() == len(wanted)
        outcomes = [delivery["outcome"] for delivery in await scene.deliveries()]
        assert outcomes.count("processed") == len(wanted)
        assert outcomes.count("ignored") == 18 - len(wanted)
        assert all(entry["reason"] for entry in await scene.deliveries() if entry["outcome"] == "ignored")


async def test_a_batch_is_filtered_banner_by_banner(tmp_path):
    async with watched(tmp_path, abyssale='formats = ["leaderboard"]') as scene:
        await scene.send(payloads.batch(list(everything(scene))))
        await scene.settle()
        assert {format_ for _, format_, _ in kept(scene)} == {"leaderboard"}
        (delivery,) = await scene.deliveries()
        assert delivery["outcome"] == "processed"
        assert len(delivery["assets"]) == 9


async def test_events_that_are_not_wanted_or_not_known_are_stored_and_ignored(tmp_path):
    async with watched(tmp_path, abyssale='events = ["NEW_BANNER"]') as scene:
        export = scene.put("/e.zip", archive({"a.png": artwork("png")}))
        await scene.send(
            payloads.export(export),
            payloads.template_status("APPROVED"),
            payloads.batch([payloads.new_banner(scene.put("/b.png", artwork("png", 2)))]),
            {"event_type": "SOMETHING_NEW", "data": {"id": "x"}},
            {"hello": "world"},
            {},
        )
        await scene.settle()
        assert [entry["outcome"] for entry in await scene.deliveries()] == ["ignored"] * 6
        assert all(entry["reason"] for entry in await scene.deliveries())
        assert scene.files() == {}
        assert scene.stage.requests.total() == 0
        counted = (await scene.daemon.api("/api/status"))["deliveries"]
        assert counted == {
            "accepted": 6, "duplicate": 0, "processed": 0, "ignored": 6, "quarantined": 0, "rejected": 0,
        }  # fmt: skip
        ignored = await scene.daemon.api("/api/deliveries?outcome=ignored&limit=2")
        assert len(ignored["deliveries"]) == 2


BROKEN = {
    b"not json": "not JSON",
    b"[1, 2]": "object",
    b'{"a": NaN}': "not JSON",
    b"[" * 100_000: "not JSON",
    b'"text"': "object",
    b"\xff\xfe": "not JSON",
    b'{"export_id": "e", "archive_url": "ftp://x"}': "archive_url",
    b'{"file": {"type": "png", "url": "https://x.test/a.png"}}': "id",
    b'{"id": "b", "file": {"type": "png"}}': "url",
    b'{"id": "b", "version": "two", "file": {"type": "png", "url": "https://x.test/a.png"}}': "version",
    b'{"banners": [{"id": 1}]}': "banners[0]",
}


async def test_what_is_signed_but_makes_no_sense_is_set_aside_with_the_reason(tmp_path):
    async with watched(tmp_path) as scene:
        await scene.send(*BROKEN)
        await scene.settle()
        for body, delivery in zip(BROKEN, await scene.deliveries(), strict=True):
            assert delivery["outcome"] == "quarantined", body[:60]
            assert BROKEN[body] in delivery["reason"], body[:60]
            shown = await scene.daemon.api(f"/api/deliveries/{delivery['id']}")
            assert shown["payload"] == body.decode(errors="replace")
        assert scene.files() == {}
        # Nor does it hold up what comes after it.
        await scene.send(payloads.new_banner(scene.put("/a.png", artwork("png"))))
        await scene.settle()
        assert len(scene.files()) == 1


async def test_one_senseless_banner_does_not_hold_up_the_others_of_its_batch(tmp_path):
    async with watched(tmp_path) as scene:
        good = payloads.new_banner(scene.put("/a.png", artwork("png")))
        await scene.send(payloads.batch([{"id": "x"}, good, None, 7]))
        await scene.settle()
        assert len(scene.files()) == 1
        (delivery,) = await scene.deliveries()
        assert "banners[0]" in delivery["reason"]
