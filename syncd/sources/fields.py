"""Reading a payload one field at a time, whatever its values are.

What an asset is and where it lies is read strictly: it is understood, or it is an
`UnclearError`. What only decorates an asset is read leniently: it is understood, or it counts
as absent. Which field is which is the business of each source; nothing here names one.
"""

from __future__ import annotations

import re
from typing import Any

from syncd.sources.payload import LOST

ID_LENGTH = 256
NAME_LENGTH = 1024
URL_LENGTH = 8192
GREATEST_VERSION = 2**53  # beyond it JSON's numbers are no longer exact everywhere
_GREATEST_SIDE = 1e9
_GREATEST_TIME = 253402300799  # the last second of the year 9999, which datetime can still print
_DIGITS = re.compile(r"[0-9]{1,16}")
_LINK = re.compile(r"https?://[^\ud800-\udfff]*", re.IGNORECASE)  # an API's client may leave surrogates

Fields = dict[str, Any]


class UnclearError(Exception):
    """A field that can't be understood; the message is its place in the payload and what is wrong."""


def identity(fields: Fields, key: str, where: str = "") -> str:
    """Read a text that tells one thing from another; whole numbers count as their text."""
    value = _text(fields.get(key))
    if value is None:
        raise UnclearError(f"{where}{key}: {_absence(fields, key)}")
    if not value.strip() or not value.isprintable():
        raise UnclearError(f"{where}{key}: empty, or has characters that can't be seen")
    if LOST in value:  # what else was like it would be taken for the same thing
        raise UnclearError(f"{where}{key}: has characters that got lost")
    if len(value) > ID_LENGTH:
        raise UnclearError(f"{where}{key}: longer than {ID_LENGTH} characters")
    return value


def url(fields: Fields, key: str, where: str = "") -> str:
    """Read an http(s) URL; whether it may be fetched is decided where it is."""
    value = link(fields, key)
    if not value:
        raise UnclearError(f"{where}{key}: {_absence(fields, key)}")
    return value


def version(fields: Fields, key: str, where: str = "") -> int | None:
    """Read a whole number from 0, also as text or as 2.0; None where there is none."""
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    number = _number(value, GREATEST_VERSION)
    if number is None or number != int(number):
        raise UnclearError(f"{where}{key}: not a whole number from 0 to {GREATEST_VERSION}")
    return int(number)


def link(fields: Fields, key: str) -> str:
    """Read an http(s) URL, empty where there is none."""
    value = fields.get(key)
    if not isinstance(value, str) or len(value) > URL_LENGTH:
        return ""
    return value if _LINK.fullmatch(value) else ""


def name(fields: Fields, key: str) -> str:
    """Read a text for people, cut where it is longer than any name, empty where there is none."""
    return (_text(fields.get(key)) or "")[:NAME_LENGTH]


def side(fields: Fields, key: str) -> float | None:
    """Read a width or height, in the format's own unit."""
    return _number(fields.get(key), _GREATEST_SIDE)


def time(fields: Fields, key: str) -> float | None:
    """Read a time in unix seconds that can be printed as a date."""
    return _number(fields.get(key), _GREATEST_TIME)


def table(fields: Fields, key: str) -> Fields:
    """Read an object, empty where there is none."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any, greatest: float) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= greatest:
        return value
    return None


def _absence(fields: Fields, key: str) -> str:
    return "missing" if fields.get(key) is None else "not usable"
