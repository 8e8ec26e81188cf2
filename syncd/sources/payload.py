"""From the bytes of a request to its JSON, as strictly as orjson reads it: UTF-8, bounded depth, no NaN.

One thing is forgiven: half of a surrogate pair, which is what programs that count in UTF-16
leave where they cut a name inside an emoji. What the JSON means is the business of each source.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

LOST = "\N{REPLACEMENT CHARACTER}"
"""Stands for half of a surrogate pair, which no file, database or manifest could hold."""

_ESCAPE = re.compile(
    rb"""
    \\(?: u d[89ab][0-9a-f]{2} \\u d[c-f][0-9a-f]{2}  # a whole pair
        | (?P<half> u d[89a-f][0-9a-f]{2} )
        | . )                                         # an escaped backslash among them: what follows it is text
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def parse(body: bytes) -> Any:
    """Read one JSON text; raises `orjson.JSONDecodeError` for anything else, at a place that is the body's."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # As long as what it replaces, so that the places of other errors stay true.
        return orjson.loads(_ESCAPE.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], body))
