"""What a body is, told by its first bytes: the file that was announced, or an error page.

Pure: bytes in, a word out. Whether a whole archive or image is sound is not judged here.
Signatures: RFC 2083 (PNG), ITU T.81 (JPEG), GIF89a, RFC 9649 (WebP), ISO 14496-12 (`ftyp`),
AVIF 1.1 (brands), ISO 32000 annex H (PDF), APPNOTE 4.3 (ZIP).
"""

from __future__ import annotations

import re

from syncd.mirror.setback import Setback
from syncd.model import Kind

HEAD = 1024
"""How many first bytes `identify` wants: a PDF may begin that late."""

_ALIASES = {"jpg": "jpeg"}
_KNOWN = {"jpeg", "png", "webp", "avif", "gif", "pdf", "mp4", "zip"}
_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # without entries
)
_AVIF_BRANDS = {b"avif", b"avis"}
# Pictures, sounds and films of other families in the same container.
_OTHER_BRANDS = {b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"crx ", b"qt  "}
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:(?P<html><(?:!doctype\s+html|html|head|body)\b)|(?P<xml><[?!A-Za-z])|(?P<json>[{\[]))",
    re.IGNORECASE,
)


def sniff(head: bytes) -> str | None:
    """Name the type that `head` begins, None for one we don't know. Wants HEAD bytes, if there are."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _film_or_picture(head)
    return "pdf" if b"%PDF-" in head[: HEAD + 4] else None


def identify(head: bytes, declared: str, kind: Kind) -> str:
    """Say what a body that begins with `head` is, once it is what was announced.

    Raises a passing Setback for anything else. The archive of an export may as well be any
    one plain file of a known type; a visual is of its declared type, where that is known.
    """
    page = _page(head)
    found = None if page else sniff(head)
    expected = _ALIASES.get(declared.lower(), declared.lower())
    if kind == "export":
        if found is not None:
            return found
        raise Setback(f"{page or 'unknown content'} instead of an archive")
    if expected in _KNOWN:
        if found == expected:
            return found
        raise Setback(f"{page or found or 'unknown content'} instead of {expected}")
    if page:
        raise Setback(f"{page} instead of {expected or 'a file'}")
    return found or expected


def _film_or_picture(head: bytes) -> str | None:
    """Tell AVIF from MP4 by the brands of the `ftyp` box: the major one, then the compatible ones."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    if _AVIF_BRANDS.intersection(brands):
        return "avif"
    return None if brands[0] in _OTHER_BRANDS else "mp4"


def _page(head: bytes) -> str | None:
    """Name the kind of page that a server sends instead of a file: they begin like text formats."""
    match = _PAGE.match(head)
    if match is None:
        return None
    if match["xml"] and b"<svg" in head:
        return None
    return {"html": "an HTML page", "xml": "an XML page", "json": "a JSON answer"}[str(match.lastgroup)]
