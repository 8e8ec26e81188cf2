"""Real files of every type that the platform delivers: they open in the programs made for them.

What is easily drawn is drawn here, the same bytes for the same number; films and photographs
are a few kilobytes beside this file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from importlib.resources import files

RECORDED = ("avif", "gif", "jpeg", "mp4", "webp")
TYPES = (*RECORDED, "pdf", "png", "zip")

Colour = tuple[int, int, int]


def artwork(kind: str, n: int = 1) -> bytes:
    """Return a file of one of `TYPES`; another `n` gives other bytes, except for avif, gif, mp4 and webp."""
    match kind:
        case "png":
            return png(300, 250, (37 * n % 256, 91 * n % 256, 151 * n % 256))
        case "jpeg":
            return jpeg(f"number {n}")
        case "pdf":
            return pdf(f"Brochure {n}")
        case "zip":
            return archive({"index.html": f"<img src=banner.png alt='{n}'>".encode(), "banner.png": artwork("png", n)})
        case _:
            return recorded(kind)


def recorded(kind: str) -> bytes:
    """Read one of the `RECORDED` files."""
    return files("syncd.demo").joinpath("media", f"banner.{kind}").read_bytes()


def png(width: int, height: int, colour: Colour) -> bytes:
    """Draw a PNG of one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    row = b"\0" + bytes(colour) * width  # filter 0: as it is
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row * height, 9)), chunk(b"IEND", b""))
    )


def jpeg(comment: str) -> bytes:
    """Return the recorded JPEG with a comment of its own."""
    photograph, text = recorded("jpeg"), comment.encode()
    return photograph[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + photograph[2:]


def pdf(text: str) -> bytes:
    """Set a line of ASCII on one page of A4."""
    page = f"BT /F1 24 Tf 72 760 Td ({text}) Tj ET".encode("ascii")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources 6 0 R /Contents 4 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    )
    document, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return document + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(document))
    )


def archive(members: Mapping[str, bytes]) -> bytes:
    """Pack a ZIP, deflated, without the time of day."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
