"""What a problem says to the person who edits the config: plain words and what is allowed.

This is the one place that knows pydantic's error types. The notations word their own problems; what
is left is wrong types, missing keys and keys that nobody knows.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from syncd.config.lines import Place
from syncd.config.section import keys
from syncd.config.tree import Config


def dotted(place: Place) -> str:
    """Write a place as people do: `sources.abyssale.secret[0]`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f".{json.dumps(part)}"
    return text.removeprefix(".")


_WORDS = {
    "missing": "is missing",
    "bool_type": "must be true or false, without quotes",
    "tuple_type": "must be a list in brackets",
    "model_type": "must be a table",
}


def reword(error: ErrorDetails) -> str:
    """Say what is wrong and what is allowed; never with the value, which may be a secret."""
    context = error.get("ctx", {})
    match error["type"]:
        case "value_error":  # raised by a notation or a rule of the tree
            return str(context["error"])
        case "extra_forbidden":
            return _unknown(tuple(part for part in error["loc"] if isinstance(part, str)))
        case "literal_error":
            return f"must be {context['expected']}".replace("'", '"')
        case kind:
            return _WORDS.get(kind, error["msg"])


def _unknown(place: tuple[str, ...]) -> str:
    known = [key for key, _ in keys(Config)]
    siblings = {key[-1]: key for key in known if key[:-1] == place[:-1]}
    anywhere = {key[-1]: key for key in known}
    near = [
        candidates[name]
        for candidates, likeness in ((siblings, 0.6), (anywhere, 0.8), (siblings, 0.0))
        for name in get_close_matches(place[-1], candidates, n=1, cutoff=likeness)
    ]
    return f"is not a known key; the nearest is {dotted(near[0])}"
