"""Where each key of a TOML text stands, for problems that name a line.

The standard library's parser keeps no positions, and tomlkit, which rebuilds texts, shows none either.
This scanner reads only what `tomllib` has accepted, so that it need not detect a single error, and
runs only once there is a problem to place.
"""

from __future__ import annotations

import re
import tomllib

Place = tuple[str | int, ...]
"""A key's way from the top: names of tables and keys, indices of arrays."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'  # up to two quotes may stand before the closing three
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def lines(text: str) -> dict[Place, int]:
    """Map every table, key and array item of a valid TOML text to its 1-based line.

    A table that is opened more than once is where it first appears.
    """
    return _Scanner(text).document()


class _Scanner:
    """One pass over a text; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Place, int] = {(): 1}
        self.counts: dict[Place, int] = {}
        self.counted_to = 0
        self.line = 1

    def document(self) -> dict[Place, int]:
        table: Place = ()
        while self.skip(_BLANK) < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
        return self.found

    def header(self) -> Place:
        """Read `[a.b]` or `[[a.b]]`; below an array of tables, names belong to its last item."""
        array = self.text.startswith("[[", self.at)
        line = self.here()
        self.at += 2 if array else 1
        *above, name = self.key()
        self.at += 2 if array else 1
        place: Place = ()
        for part in above:
            place = self.latest(self.note((*place, part), line))
        place = self.note((*place, name), line)
        if array:
            self.counts[place] = self.counts.get(place, 0) + 1
        return self.note(self.latest(place), line)

    def latest(self, place: Place) -> Place:
        count = self.counts.get(place, 0)
        return (*place, count - 1) if count else place

    def pair(self, table: Place) -> None:
        line = self.here()
        for part in self.key():
            table = self.note((*table, part), line)
        self.at += 1  # the equals sign
        self.value(table)

    def key(self) -> list[str]:
        parts = []
        while True:
            self.skip(_SPACE)
            if bare := _BARE_KEY.match(self.text, self.at):
                parts.append(bare[0])
                self.at = bare.end()
            else:
                start = self.at
                parts.append(tomllib.loads(f"key = {self.text[start : self.skip(_STRING)]}")["key"])
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def value(self, place: Place) -> None:
        """Read one value. This recurses less deeply than `tomllib` did for the same text."""
        self.skip(_SPACE)
        opening = self.text[self.at]
        if opening in "\"'":
            self.skip(_STRING)
        elif opening not in "[{":
            self.skip(_SCALAR)
        else:
            self.at += 1
            index = 0
            while self.text[self.skip(_BLANK)] not in "]}":
                if opening == "{":
                    self.pair(place)
                else:
                    self.value(self.note((*place, index), self.here()))
                    index += 1
                if self.text[self.skip(_BLANK)] == ",":
                    self.at += 1
            self.at += 1

    def skip(self, pattern: re.Pattern[str]) -> int:
        """Move behind what the pattern matches here, if it does, and return where that is."""
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return self.at

    def here(self) -> int:
        """Count the line of the next character."""
        self.line += self.text.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        return self.line

    def note(self, place: Place, line: int) -> Place:
        self.found.setdefault(place, line)
        return place
