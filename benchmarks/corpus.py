"""What is mirrored, made from a seed: banners of usual sizes, films, archives.

Contents begin as their types do, and are random after that, so that nothing along the way can save work by
compressing or by leaving holes.
"""

from __future__ import annotations

import math
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = 20
FORMATS = (
    "medium-rectangle",
    "leaderboard",
    "skyscraper",
    "half-page",
    "billboard",
    "facebook-post",
    "instagram-story",
    "mobile-banner",
)
_TYPES = ("jpeg", "png", "webp", "gif")
_SHARES = (55, 30, 10, 5)
_HEADS = {
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "gif": b"GIF89a",
    "mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42",
}
_MEDIAN = 40 << 10
_SIGMA = 0.815
"""Of the logarithm of a size: with it the mean is 1.39 times the median, 5,000 banners are some 285 MB."""
_BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class Banner:
    """One file at the origin; `path` is both where it lies there and where it belongs in the tree."""

    number: int
    template: int
    format: str
    type: str
    size: int

    @property
    def template_name(self) -> str:
        """The design's name."""
        return f"Campaign {self.template:02}"

    @property
    def filename(self) -> str:
        """The file's name."""
        return f"visual_{self.number:06}.{self.type}"

    @property
    def path(self) -> str:
        """Its place below the origin's root."""
        return f"campaign-{self.template:02}/{self.format}/{self.filename}"


def banners(number: int, seed: int, *, first: int = 1, median: int = _MEDIAN) -> list[Banner]:
    """Describe so many banners, spread over templates and formats. Sizes in bytes, log-normal around `median`."""
    chance = random.Random(seed)  # noqa: S311 - the same corpus for everybody
    return [
        Banner(
            one,
            chance.randrange(TEMPLATES),
            chance.choice(FORMATS),
            chance.choices(_TYPES, _SHARES)[0],
            max(64, round(median * math.exp(chance.gauss(0, _SIGMA)))),
        )
        for one in range(first, first + number)
    ]


def make_banners(folder: Path, wanted: list[Banner], seed: int) -> None:
    """Write the files below `folder`."""
    chance = random.Random(seed)  # noqa: S311 - same
    for banner in wanted:
        path = folder / banner.path
        path.parent.mkdir(parents=True, exist_ok=True)
        head = _HEADS[banner.type]
        path.write_bytes(head + chance.randbytes(max(0, banner.size - len(head))))


def make_film(path: Path, size: int, seed: int) -> None:
    """Write an mp4 of `size` bytes."""
    chance = random.Random(seed)  # noqa: S311 - same
    path.parent.mkdir(parents=True, exist_ok=True)
    head = _HEADS["mp4"]
    with path.open("wb") as file:
        file.write(head)
        left = size - len(head)
        while left:
            left -= file.write(chance.randbytes(min(left, _BLOCK)))


def make_archive(path: Path, files: int, seed: int, *, deflated: bool) -> None:
    """Write a ZIP of pictures of about 55 KB each, of which deflating saves a third to a half."""
    chance = random.Random(seed)  # noqa: S311 - same
    path.parent.mkdir(parents=True, exist_ok=True)
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=6) as archive:
        for banner in banners(files, seed):
            archive.writestr(banner.path, _half_compressible(banner, chance))


def _half_compressible(banner: Banner, chance: random.Random) -> bytes:
    """Runs of noise between runs of a few colours, in rows, as a picture without compression of its own has."""
    pieces, length = [_HEADS[banner.type]], 0
    while length < banner.size:
        noise, flat = chance.randbytes(1024), chance.randbytes(16) * 64
        pieces += (noise, flat)
        length += len(noise) + len(flat)
    return b"".join(pieces)[: banner.size]
