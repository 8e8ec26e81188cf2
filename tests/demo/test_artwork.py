import io
import re
import struct
import zipfile
import zlib

import pytest

from syncd.demo.artwork import RECORDED, TYPES, archive, artwork, jpeg, pdf, png, recorded

SIGNATURES = {
    "avif": rb"....ftypavif",
    "gif": rb"GIF89a",
    "jpeg": rb"\xff\xd8\xff",
    "mp4": rb"....ftyp(isom|mp4)",
    "pdf": rb"%PDF-1\.",
    "png": rb"\x89PNG\r\n\x1a\n",
    "webp": rb"RIFF....WEBP",
    "zip": rb"PK\x03\x04",
}


@pytest.mark.parametrize("kind", TYPES)
def test_artwork_begins_as_its_type_does_and_is_the_same_each_time(kind):
    assert re.match(SIGNATURES[kind], artwork(kind), re.DOTALL)
    assert artwork(kind) == artwork(kind)
    assert (artwork(kind, 2) != artwork(kind, 1)) == (kind not in {"avif", "gif", "mp4", "webp"})


def test_a_png_holds_every_pixel_under_right_checksums():
    image = png(7, 5, (1, 2, 3))
    place, chunks = 8, {}
    while place < len(image):
        (length,) = struct.unpack_from(">I", image, place)
        name, data = image[place + 4 : place + 8], image[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", image, place + 8 + length)[0] == zlib.crc32(name + data)
        chunks[name] = data
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (7, 5)
    assert zlib.decompress(chunks[b"IDAT"]) == (b"\0" + b"\1\2\3" * 7) * 5


def test_a_jpeg_keeps_its_picture_behind_its_comment():
    image = jpeg("hello")
    assert image[:11] == b"\xff\xd8\xff\xfe\x00\x07hello"
    assert image[11:] == recorded("jpeg")[2:]


def test_a_pdf_points_at_each_of_its_objects():
    document = pdf("Hello")
    table = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", document)[1])
    assert document[table:].startswith(b"xref\n0 7\n")
    offsets = [int(offset) for offset in re.findall(rb"(\d{10}) 00000 n \n", document)]
    assert [document[offset:].split(b" ", 1)[0] for offset in offsets] == [b"%d" % n for n in range(1, 7)]


def test_an_archive_opens_and_is_the_same_each_time():
    members = {"a/b.txt": b"b" * 1000, "c.png": png(1, 1, (0, 0, 0))}
    with zipfile.ZipFile(io.BytesIO(archive(members))) as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == members
    assert archive(members) == archive(members)


@pytest.mark.parametrize("kind", RECORDED)
def test_recorded_files_are_small(kind):
    assert 500 < len(recorded(kind)) < 8000
