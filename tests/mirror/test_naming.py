import re
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.mirror.naming import export_key, extensions, is_per_version, key_for, version_key, with_extension
from syncd.mirror.portable import PART, WHOLE, candidates, fold
from syncd.model import Asset, Format, Template

LAYOUT = "{template}/{format}/{filename}"
NOON = 1795262400.0  # 2026-11-21T12:00:00Z
DIGEST = "5fcec999" + "0" * 56

SPRING = Asset(
    source="abyssale",
    kind="file",
    id="3c9d2f10",
    url="https://x.amazonaws.com/acme/spring%20fr.png?X-Amz=1",
    type="png",
    sharing_id="a80f6c3e",
    version=2,
    filename="spring_fr.png",
    template=Template("d1e2", "Spring sale"),
    format=Format("medium-rectangle", 300, 250.5, "px"),
    project=Template("0f1e", "Retail"),
    branch=Template("71aa", "cart-icons"),
)


class Register:
    """The journal's promise about names, in memory."""

    def __init__(self):
        self.names, self.taken = {}, set()

    def __call__(self, scope, owner, wanted):
        if (scope, owner) not in self.names:
            name = next(name for name in wanted if (scope, fold(name)) not in self.taken)
            self.names[scope, owner] = name
            self.taken.add((scope, fold(name)))
        return self.names[scope, owner]

    def give(self, asset, layout=LAYOUT, style="portable"):
        wanted = key_for(asset, layout, style, NOON, self, sha256=DIGEST)
        return self("key", asset.identities[0], candidates(wanted, asset.identities[0]))


@pytest.fixture
def register():
    return Register()


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        (LAYOUT, "Spring sale/medium-rectangle/spring_fr.png"),
        ("{project}/{template_id}-{format_id}/{width}x{height}.{ext}", "Retail/d1e2-medium-rectangle/300x250.5.png"),
        ("{type}/{date}/{stem}-v{version}", "png/2026-11-21/spring_fr-v2.png"),
        ("{sharing_id}/{hash}/{id}.jpg", "a80f6c3e/5fcec999/3c9d2f10.jpg.png"),
        ("all/{filename}", "all/spring_fr.png"),
        ("{project}/{branch}/{file}/{layer}.{ext}", "Retail/cart-icons/Spring sale/spring_fr.png"),
    ],
)
def test_a_layout_is_rendered(register, layout, key):
    assert key_for(SPRING, layout, "portable", NOON, register, sha256=DIGEST) == key


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        (LAYOUT, "no-template/multipage/v.mp4"),
        (
            "{template_id}/{project}/{format_id}/{width}x{height}/{id}",
            "no-template/no-project/multipage/unknownxunknown/9.mp4",
        ),
        ("{branch}/{file}/{layer}", "no-branch/no-file/v.mp4"),
        ("{sharing_id}/{version}/{stem}", "9/0/v.mp4"),
    ],
)
def test_what_is_missing_has_a_word_for_it(register, layout, key):
    bare = Asset("abyssale", "file", "9", "https://h/v.mp4", "mp4")
    assert key_for(bare, layout, "portable", NOON, register) == key


def test_a_template_without_a_name_is_called_by_its_id(register):
    assert register.give(replace(SPRING, template=Template("d1e2"))).startswith("d1e2/")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"filename": ""}, "spring fr.png"),
        ({"filename": " ", "url": "https://h/a%2Fb%00.png#x/y"}, "a_b.png"),
        ({"filename": "", "url": "https://h/"}, "3c9d2f10.png"),
        ({"filename": "", "url": "https://h"}, "3c9d2f10.png"),
        ({"type": "jpeg", "filename": "a.JPG"}, "a.JPG"),
        ({"type": "jpg", "filename": "a.jpeg"}, "a.jpeg"),
        ({"type": "jpeg", "filename": "a.png"}, "a.png.jpeg"),
        ({"filename": "a.png\u200b "}, "a.png"),
        ({"filename": "../a/b.png"}, "a_b.png"),
        ({"filename": "nul"}, "nul_.png"),
        ({"filename": "manifest", "type": "json"}, "manifest_.json"),
        ({"type": "", "filename": "a"}, "a.bin"),
        ({"type": "../X+é" + "y" * 30, "filename": "a"}, "a.x" + "y" * 15),
    ],
)
def test_the_file_is_named_by_the_platform_and_keeps_its_types_extension(register, changes, name):
    assert register.give(replace(SPRING, **changes)).rpartition("/")[2] == name


def test_two_visuals_of_one_file_name_differ_by_a_short_id(register):
    other = replace(SPRING, sharing_id="other", filename="SPRING_fr.png")
    keys = [register.give(SPRING), register.give(other)]
    assert keys[0] == "Spring sale/medium-rectangle/spring_fr.png"
    assert keys[1].startswith("Spring sale/medium-rectangle/SPRING_fr~")
    assert keys[1].endswith(".png")


def test_two_templates_of_one_name_have_two_folders(register):
    first = register.give(SPRING)
    second = register.give(replace(SPRING, sharing_id="b", template=Template("other", "spring SALE")))
    assert first.partition("/")[0] == "Spring sale"
    assert second.startswith("spring SALE~")


def test_a_renamed_template_keeps_its_folder(register):
    register.give(SPRING)
    renamed = replace(SPRING, sharing_id="later", filename="later.png", template=Template("d1e2", "Summer"))
    assert register.give(renamed) == "Spring sale/medium-rectangle/later.png"


def test_a_template_called_like_our_word_for_none_does_not_share_its_folder(register):
    none = register.give(replace(SPRING, template=Template()))
    called = register.give(replace(SPRING, sharing_id="b", template=Template("t", "no-template")))
    assert none.partition("/")[0] != called.partition("/")[0]


def test_formats_that_differ_in_case_have_two_folders(register):
    first = register.give(SPRING)
    second = register.give(replace(SPRING, sharing_id="b", format=Format("Medium-Rectangle")))
    assert fold(first.split("/")[1]) != fold(second.split("/")[1])


def test_folders_never_take_a_name_of_ours(register):
    names = {register.give(replace(SPRING, sharing_id=n, template=Template(n, n))).partition("/")[0]
             for n in ("_exports", ".syncd", "manifest.json", "SHA256sums")}  # fmt: skip
    assert names == {"exports", "syncd", "manifest_.json", "SHA256sums_"}


def test_only_the_folders_of_the_layout_are_reserved(register):
    register.give(SPRING, "{format}/{filename}")
    assert {scope for scope, _ in register.names} == {"format", "key"}


def test_a_key_with_the_hash_waits_for_the_content(register):
    assert key_for(SPRING, "a/{stem}-{hash}", "portable", NOON, register) is None
    assert not register.names
    assert key_for(SPRING, "a/{stem}-{hash}", "portable", NOON, register, sha256=DIGEST) == "a/spring_fr-5fcec999.png"


def test_a_fallback_image_lies_beside_its_zip(register):
    html5 = replace(SPRING, kind="html5", type="zip", filename="anim.zip")
    image = replace(html5, kind="fallback", type="jpeg")
    assert register.give(html5) == "Spring sale/medium-rectangle/anim.zip"
    assert register.give(image) == "Spring sale/medium-rectangle/anim.jpeg"


words = st.text(st.characters(), max_size=300)


@given(words, words, words, st.sampled_from(["portable", "unicode"]))
@example("../..", "..\\..", "\0", "portable")
@example("x" * 300, "é" * 300, "東" * 300, "portable")
def test_any_three_texts_give_a_key_that_is_safe_unique_and_stable(template, form, filename, style):
    asset = replace(
        SPRING, template=Template("t", template), format=Format(form), filename=filename, id="a", sharing_id=""
    )
    other = replace(asset, id="b")
    register, again = Register(), Register()
    keys = [register.give(asset, style=style), register.give(other, style=style)]
    assert keys == [again.give(asset, style=style), again.give(other, style=style)]
    assert fold(keys[0]) != fold(keys[1])
    for key in keys:
        parts = key.split("/")
        assert len(parts) == 3
        assert not any(part.startswith((".", "_")) for part in parts)
        assert all(len(part.encode()) <= PART for part in parts)
        assert len(version_key(key, "9007199254740992").encode()) <= WHOLE
        assert key.lower().endswith(".png")


@given(st.lists(words, min_size=8, max_size=8))
@example(["x" * 300] * 8)
def test_deep_layouts_stay_within_the_limit_with_room_for_ids(texts):
    asset = replace(
        SPRING, template=Template(texts[0], texts[1]), project=Template(texts[2], texts[3]),
        format=Format(texts[4]), filename=texts[5], id="i" + texts[6], sharing_id=texts[7],
    )  # fmt: skip
    layout = "{template}/{project}/{format}/{template_id}/{sharing_id}/{id}/{type}/{filename}"
    key = key_for(asset, layout, "portable", NOON, Register())
    assert key is not None
    longest = list(islice(candidates(key, "owner"), 4))[-1]
    assert len(version_key(longest, "9007199254740992").encode()) <= WHOLE
    assert len(longest) == len(key) + 65


def test_two_templates_of_one_name_stay_apart_where_a_path_is_cut(register):
    name, layout = "\u00e9" * 200, "{template}/{format}/{stem}/{stem}/{stem}/{stem}/{filename}"
    asset = replace(SPRING, template=Template("t1", name), format=Format("f" * 250), filename="x" * 300)
    other = replace(asset, template=Template("t2", name))
    keys = [key_for(one, layout, "portable", NOON, register) for one in (asset, other)]
    first, second = (key.partition("/")[0] for key in keys)
    assert first.startswith(second.partition("~")[0])
    assert re.fullmatch("\u00e9+~[0-9a-f]{8}", second)
    assert len(keys[1].encode()) < WHOLE


@pytest.mark.parametrize(
    ("layout", "answer"),
    [
        (LAYOUT, False),
        ("{date}/{stem}", True),
        ("a/{hash}", True),
        ("a/{id}", True),
        ("a/{sharing_id}-{version}", True),
    ],
)
def test_a_layout_tells_if_versions_have_keys_of_their_own(layout, answer):
    assert is_per_version(layout) is answer


def test_a_changed_type_changes_the_extension_alone():
    assert with_extension("t/f/a.b.png", "jpeg") == "t/f/a.b.jpeg"
    assert with_extension("t/f/a.JPG", "jpeg") == "t/f/a.JPG"
    assert with_extension("t/f/what?.png", "gif") == "t/f/what?.gif"
    assert with_extension("t/f/manifest.png", "json") == "t/f/manifest_.json"


def test_an_older_version_stays_beside_the_newer():
    assert version_key("t/f/a.png", "3") == "t/f/a.v3.png"


@pytest.mark.parametrize(
    ("export_id", "layout", "key"),
    [
        ("0b7e2c61-6c0e", "_exports/{date}_{export_id}", "_exports/2026-11-21_0b7e2c61-6c0e"),
        ("../../x", "_exports/{export_id}", "_exports/x"),
        ("_x", "_exports/_{export_id}", "_exports/_x"),
        ("a.json", "_exports/{export_id}", "_exports/a_json"),
        ("con", "_exports/{date}/{export_id}", "_exports/2026-11-21/con_"),
    ],
)
def test_an_export_has_a_safe_folder(export_id, layout, key):
    asset = Asset("abyssale", "export", export_id, "https://h/x.zip")
    assert export_key(asset, layout, "portable", NOON) == key


@given(words)
def test_an_export_id_never_makes_a_new_part(export_id):
    parts = export_key(Asset("a", "export", export_id, ""), "_exports/{date}_{export_id}", "portable", NOON).split("/")
    assert len(parts) == 2
    assert parts[0] == "_exports"
    assert parts[1].startswith("2026-11-21")


def test_jpg_and_jpeg_are_one_type():
    assert extensions("JPG") == extensions("jpeg") == ("jpeg", "jpg")


def test_projects_may_have_branches_and_files_of_one_name_each(register):
    layout = "{project}/{branch}/{file}/{layer}.{ext}"
    other = replace(
        SPRING, id="4", sharing_id="other", project=Template("p2", "Website"), template=Template("f2", "Spring sale")
    )
    assert register.give(SPRING, layout) == "Retail/cart-icons/Spring sale/spring_fr.png"
    assert register.give(other, layout) == "Website/cart-icons/Spring sale/spring_fr.png"
    twin = replace(SPRING, id="5", sharing_id="twin", branch=Template("72bb", "Cart-Icons"))
    assert register.give(twin, layout).startswith("Retail/Cart-Icons~")
