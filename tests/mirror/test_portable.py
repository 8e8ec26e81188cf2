import re
from itertools import islice
from unicodedata import category, is_normalized

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.mirror import portable
from syncd.mirror.portable import PART, SHORTEST, WHOLE, candidates, clean, cut, fold, split_extension, suffixed

texts = st.text(st.characters(), max_size=400)  # lone surrogates, controls, everything
styles = st.sampled_from(["portable", "unicode"])
DEVICES = {"con", "prn", "aux", "nul", "clock$", "conin$", "conout$", "com0", "com9", "lpt1", "com¹", "lpt³"}


@given(texts, styles, st.booleans(), st.integers(SHORTEST, PART))
@example("a" * 300 + ".jpeg", "portable", False, PART)
@example("e" + "\u0301" * 300, "portable", False, PART)
@example("nul." + "x" * 251, "portable", False, PART)
@example("CON", "portable", False, PART)
@example(" . _ ", "unicode", True, PART)
def test_any_text_becomes_one_safe_part(text, style, exported, limit):
    name = clean(text, style, limit=limit, exported=exported)
    assert 0 < len(name.encode()) <= limit
    assert not set(name) & set('/\\\0<>:"|?*' if style == "portable" else "/\\\0")
    assert not name.startswith("." if exported else (".", "_"))
    assert not any(category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in name)
    assert is_normalized("NFC", name)
    assert name == " ".join(name.split())
    if style == "portable":
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].rstrip().lower() not in DEVICES
    assert clean(name, style, limit=limit, exported=exported) == name


plain = st.text("aZ9_ .~+-" * 3 + "\u00e9e\u0301\u3164/:", max_size=12)
taken = st.sampled_from(["", "CON", "nul", "lpt1", "manifest", "SHA256SUMS"])


@given(st.one_of(texts, st.builds(str.__add__, taken, plain)), styles, st.booleans(), st.integers(SHORTEST, PART))
@example("manifest.json", "portable", False, PART)
@example("a" * SHORTEST, "portable", False, SHORTEST)
@example("a" * SHORTEST + "b", "portable", False, SHORTEST)
def test_a_plain_name_becomes_what_looking_at_each_character_makes_of_it(text, style, exported, limit):
    quickly = clean(text, style, limit=limit, exported=exported)
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(portable, "_PLAIN", re.compile("(?!)"))
        slow.setattr(portable, "_UNSURE", re.compile(".", re.DOTALL))
        assert clean.__wrapped__(text, style, limit=limit, exported=exported) == quickly


def test_letters_and_digits_of_every_script_stay_as_they_are():
    words = [chr(point) for point in range(0x110000) if re.match(r"\w", chr(point))]
    forbidden = {"/", "\\"}
    assert [
        word for word in words if not portable._IGNORABLE.match(word) and portable._shown(word, forbidden) != word
    ] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("spring_fr_300x250.png", "spring_fr_300x250.png"),
        ("Été 東京 весна.png", "Été 東京 весна.png"),
        ("E\u0301te\u0301", "Été"),
        ("a/b\\c", "a_b_c"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("../../etc/passwd", "etc_passwd"),
        ("__own", "own"),
        (".hidden", "hidden"),
        ("a \t\n b", "a b"),
        ("gnp\u202egpj.exe", "gnpgpj.exe"),
        ("a\u200b\u2060\ufeff\u00ad\u034f\u3164b", "ab"),
        ("manifest.json", "manifest_.json"),
        ("Manifest.JSON", "Manifest_.JSON"),
        ("SHA256SUMS", "SHA256SUMS_"),
    ],
)
@pytest.mark.parametrize("style", ["portable", "unicode"])
def test_names_are_made_safe_in_both_styles(style, text, name):
    assert clean(text, style) == name


@pytest.mark.parametrize(
    ("text", "portable", "unicode"),
    [
        ('a:b?"c', "a_b__c", 'a:b?"c'),
        ("nul.txt.jpg", "nul_.txt.jpg", "nul.txt.jpg"),
        ("COM¹", "COM¹_", "COM¹"),
        ("con .png", "con_.png", "con .png"),
        ("name. .", "name", "name. ."),
        ("console", "console", "console"),
    ],
)
def test_the_portable_style_avoids_what_windows_refuses(text, portable, unicode):
    assert (clean(text, "portable"), clean(text, "unicode")) == (portable, unicode)


@pytest.mark.parametrize(
    ("text", "name"), [("__MACOSX", "__MACOSX"), ("manifest.json", "manifest.json"), (".DS_Store", "DS_Store")]
)
def test_inside_an_export_only_the_leading_dot_is_ours(text, name):
    assert clean(text, "portable", exported=True) == name


def test_cutting_keeps_the_extension_and_whole_characters():
    assert cut("é" * 200 + ".jpeg", 100) == "é" * 47 + ".jpeg"
    assert cut("x" * 94 + "q\u0323\u0323.jpeg", 99) == "x" * 94 + ".jpeg"


@given(texts)
@example("ᾳ\u0345\u0301")
@example("\u0345\u0300ͅ")
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.JPG", "a.jpg"),
        ("straße", "STRASSE"),
        ("e\u0301", "É"),
        ("K", "k"),
        ("\N{LATIN SMALL LETTER LONG S}", "s"),
        ("İ", "i\u0307"),
        ("\N{LATIN SMALL LETTER DOTLESS I}", "I"),
    ],
)
def test_names_that_a_file_system_may_merge_are_one(one, other):
    assert fold(one) == fold(other)


def test_different_names_stay_different():
    assert len({fold(name) for name in ("a", "á", "a ", "b", "\N{CYRILLIC SMALL LETTER A}", "a/b")}) == 6


def test_a_name_that_is_taken_gets_a_short_id_then_longer_ones_without_end():
    names = list(islice(candidates("t/f/name.jpeg", "owner"), 7))
    digest = "4c1029697ee358715d3a14a2add817c4b01651440de808371f78165ac90dc581"  # sha256("owner")
    assert names[:4] == [
        "t/f/name.jpeg",
        f"t/f/name~{digest[:8]}.jpeg",
        f"t/f/name~{digest[:16]}.jpeg",
        f"t/f/name~{digest}.jpeg",
    ]
    assert len(set(names)) == 7


def test_a_folder_gets_its_id_at_the_end():
    assert list(islice(candidates("Sale 2.0", "owner", folder=True), 2)) == ["Sale 2.0", "Sale 2.0~4c102969"]


@given(texts, texts, styles)
def test_candidates_keep_the_limits_and_the_extension(text, owner, style):
    wanted = "/".join([clean("d" * 250, style)] * 3 + [clean(f"x{text}.jpeg", style)])
    for name in islice(candidates(wanted, owner), 1, 5):
        assert len(name.encode()) <= WHOLE
        assert len(name.rpartition("/")[2].encode()) <= PART
        assert name.endswith(".jpeg")
        assert "~" in name


def test_owners_get_different_names():
    first, second = (list(islice(candidates("x.png", owner), 1, 4)) for owner in ("one", "two"))
    assert not set(first) & set(second)


def test_a_suffix_goes_before_the_extension():
    assert suffixed("a.b/c.tar.gz", ".v3") == "a.b/c.tar.v3.gz"
    assert suffixed("a.b/c", ".v3") == "a.b/c.v3"
    assert split_extension("Sale 2. 0") == ("Sale 2. 0", "")
