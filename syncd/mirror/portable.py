"""One safe path part from any text, and the unique variants of it.

What a name may be on ext4, NTFS, SMB and APFS is known here, and how two names are compared.
Which visual gets which name is `naming`'s business, who has a name already is the journal's. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import count
from typing import Literal
from unicodedata import category, combining, normalize

from syncd.model import OWN_NAMES, fold

Style = Literal["portable", "unicode"]
"""`portable` also avoids what NTFS and SMB refuse. Letters of every script stay in both."""

PART = 255
"""Bytes of UTF-8 in one name: ext4, APFS, and NTFS for all but astral characters."""
WHOLE = 1024
"""Bytes of UTF-8 in a whole path: PATH_MAX of macOS, the least of the systems we care for."""
SHORTEST = 32
"""The smallest limit that a name can be cut to: room for an extension and a word before it."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_IGNORED = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
"""What DerivedCoreProperties.txt calls Default_Ignorable and no category above already drops."""
_IGNORABLE = re.compile(f"[{_IGNORED}]")
_UNSURE = re.compile(rf"[^\w.~+-]|[{_IGNORED}]")
"""Characters to look at; the others are letters and digits of any script, or plain."""

_PLAIN = re.compile(r"[A-Za-z0-9][\w.~+-]*(?: [\w.~+-]+)*(?<!\.)", re.ASCII)
"""Names that are safe as they are: most."""

_EXTENSION = re.compile(r"(.+)(\.[A-Za-z0-9]{1,16})", re.DOTALL)
_UNPORTABLE = frozenset('<>:"|?*')
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}) | {
    f"{port}{digit}"
    for port in ("COM", "LPT")
    for digit in "0123456789\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}"
}


@lru_cache(maxsize=512)  # a burst has few templates and formats, and each name is asked for more than once
def clean(text: str, style: Style, *, limit: int = PART, exported: bool = False) -> str:
    """Make one safe path part of any text, at most `limit` bytes long. Never empty; stable under repetition.

    Names of syncd's own (`_` or `.` in front, `manifest.json`, `SHA256SUMS`) are avoided, for
    files inside an export (`exported`) only the dot in front is. Different texts may become one name.
    """
    if _PLAIN.fullmatch(text) and len(text) <= limit and not _is_taken(text, style, exported=exported):
        return text
    forbidden = {"/", "\\"} | (_UNPORTABLE if style == "portable" else frozenset())
    seen = _UNSURE.sub(lambda char: _shown(char[0], forbidden), normalize("NFC", text))
    name = normalize("NFC", " ".join(seen.split())).lstrip(". " if exported else "._ ")
    name = cut(_trimmed(name, style), limit) or "unnamed"
    if _is_taken(name, style, exported=exported):
        stem, dot, rest = cut(name, limit - 1).partition(".")
        name = f"{stem.rstrip()}_{dot}{rest}"
    return name


def _shown(char: str, forbidden: set[str]) -> str:
    if char.isspace():
        return " "
    if category(char) in _INVISIBLE or _IGNORABLE.match(char):
        return ""
    return "_" if char in forbidden else char


def _trimmed(name: str, style: Style) -> str:
    return name.rstrip(". " if style == "portable" else " ")


def _is_taken(name: str, style: Style, *, exported: bool) -> bool:
    """Tell if a name is a device of Windows, whatever follows its first dot, or a file of syncd's own."""
    device = style == "portable" and name.partition(".")[0].rstrip().upper() in _DEVICES
    return device or (not exported and fold(name) in OWN_NAMES)


def split_extension(name: str) -> tuple[str, str]:
    """Split `a.tar.gz` into `a.tar` and `.gz`. Only short plain words count as an extension."""
    match = _EXTENSION.fullmatch(name)
    return (match[1], match[2]) if match else (name, "")


def cut(name: str, limit: int) -> str:
    """Shorten a name to `limit` bytes (`SHORTEST` or more) of whole characters, keeping its extension."""
    if len(name.encode()) <= limit:
        return name
    stem, extension = split_extension(name)
    kept = stem.encode()[: limit - len(extension)].decode(errors="ignore")
    if combining(stem[len(kept)]):  # its base goes with it
        while kept and combining(kept[-1]):
            kept = kept[:-1]
        kept = kept[:-1]
    return (kept.rstrip(". ") or "unnamed") + extension


def suffixed(path: str, suffix: str, *, folder: bool = False) -> str:
    """Put an ASCII `suffix` behind the last part of a path: before its extension, but a folder has none."""
    parent, slash, name = path.rpartition("/")
    stem, extension = (name, "") if folder else split_extension(name)
    room = min(PART, WHOLE - len(f"{parent}{slash}".encode()))
    stem = cut(stem, max(SHORTEST, room - len(suffix) - len(extension)))
    return f"{parent}{slash}{stem}{suffix}{extension}"


def candidates(path: str, owner: str, *, folder: bool = False) -> Iterator[str]:
    """Yield the names an owner may get for its wish, the best first, without end.

    The wish itself, then with a short id of the owner (`name~5fcec999.jpeg`), then with longer
    ones, so that nobody can use up another's names. The same for the same owner at any time.
    """
    yield path
    for turn in count():
        digest = sha256((f"{owner}#{turn}" if turn else owner).encode(errors="backslashreplace")).hexdigest()
        for length in (8, 16, 64):
            yield suffixed(path, f"~{digest[:length]}", folder=folder)
