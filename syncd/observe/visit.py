"""One request to the admin listener: its headers, and its query, read strictly.

A query that can't be answered is refused, and told what is allowed. What is answered is `views`'
business, whom it is refused `admin`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from syncd.web.answers import Refused
from syncd.web.request import Head

MOST_DELIVERIES = 1000
"""The most that one request lists."""

_USUAL_DELIVERIES = 100
_LIMIT = re.compile(r"[0-9]{1,4}")
_SOURCE = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(slots=True)
class Visit(Head):
    """A request whose headers are whole. `query` is as the client wrote it."""

    query: str


def read_query(visit: Visit, *known: str) -> dict[str, str]:
    """Return the values by their names; each is one of `known`, and there once. Raises Refused."""
    named = parse_qsl(visit.query, keep_blank_values=True)
    values = dict(named)
    if len(values) < len(named) or not values.keys() <= set(known):
        raise Refused("query", f"allowed, each once: {', '.join(known)}")
    return values


def limit_of(text: str | None) -> int:
    """Return how many deliveries are wanted. Raises Refused."""
    if text is None:
        return _USUAL_DELIVERIES
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MOST_DELIVERIES:
        raise Refused("query", f"limit must be a number from 1 to {MOST_DELIVERIES}")
    return int(text)


def source_of(text: str | None) -> str | None:
    """Return whose deliveries are wanted, None for everybody's. Raises Refused."""
    if text is not None and not _SOURCE.fullmatch(text):
        raise Refused("query", "source must be the name of one, such as abyssale")
    return text


def one_of(words: Any, name: Literal["outcome", "state"], text: str | None) -> Any:
    """Return which of the words is wanted, None for all of them. Raises Refused."""
    allowed = get_args(words)
    if text is not None and text not in allowed:
        raise Refused("query", f"{name} must be one of {', '.join(allowed)}")
    return text
