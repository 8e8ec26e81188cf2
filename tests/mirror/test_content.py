import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.mirror.content import HEAD, identify, sniff
from syncd.mirror.setback import Lasting, Setback

SAMPLES = {
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "webp": b"RIFF\x1a\x00\x00\x00WEBPVP8 ",
    "avif": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
    "gif": b"GIF89a\x01\x00\x01\x00",
    "pdf": b"%PDF-1.7\n",
    "mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42",
    "zip": b"PK\x03\x04\x14\x00",
}
PAGES = [
    b"<!DOCTYPE html>",
    b"\n\n<HTML lang=en>",
    b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AccessDenied</Code>",
    b"<Error><Code>NoSuchKey</Code></Error>",
    b'{"message":"Forbidden"}',
    b"  [1]",
    b"<!-- maintenance --><html>",
]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_type_is_known_by_its_beginning(name):
    assert sniff(SAMPLES[name]) == name
    assert identify(SAMPLES[name], name, "file") == name
    assert identify(SAMPLES[name], name.upper(), "file") == name


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("declared", SAMPLES)
def test_a_visual_of_another_type_than_announced_is_refused(name, declared):
    if name == declared:
        return
    with pytest.raises(Setback, match=f"{name} instead of {declared}") as refused:
        identify(SAMPLES[name], declared, "file")
    assert refused.value.lasting is Lasting.PASSING


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"GIF87a", "gif"),
        (b"PK\x05\x06", "zip"),
        (b"\x00\x00\x00\x20ftypmif1\x00\x00\x00\x00mif1avifmiaf", "avif"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", None),
        (b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00avif", "mp4"),  # the brand lies behind the box
        (b"junk" * 255 + b"%PDF-1.4", "pdf"),
        (b"junk" * 257 + b"%PDF-1.4", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"", None),
        (b"plain text", None),
    ],
)
def test_rare_beginnings(head, name):
    assert sniff(head) == name


def test_jpg_is_jpeg():
    assert identify(SAMPLES["jpeg"], "jpg", "file") == "jpeg"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("declared", ["png", "pdf", "tiff", ""])
@pytest.mark.parametrize("kind", ["file", "export"])
def test_a_page_is_never_the_file(page, declared, kind):
    with pytest.raises(Setback, match=r"an HTML page|an XML page|a JSON answer"):
        identify(page + b" %PDF-1.7", declared, kind)


def test_an_unknown_type_is_taken_as_it_comes():
    assert identify(b"II*\x00", "tiff", "file") == "tiff"
    assert identify(b"II*\x00", "", "file") == ""
    assert identify(SAMPLES["png"], "", "file") == "png"
    assert identify(b"<?xml version='1.0'?><svg>", "svg", "file") == "svg"


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_may_be_any_known_file(name):
    assert identify(SAMPLES[name], "zip", "export") == name


def test_an_export_of_unknown_content_is_refused():
    with pytest.raises(Setback, match="unknown content instead of an archive"):
        identify(b"plain text", "zip", "export")


@given(st.binary(max_size=HEAD), st.sampled_from([*SAMPLES, "tiff", ""]), st.sampled_from(["file", "export"]))
def test_any_beginning_gets_an_answer(head, declared, kind):
    try:
        found = identify(head, declared, kind)
    except Setback:
        return
    assert found in {*SAMPLES, declared}
