"""What the public listener answers, word by word.

Details are fixed texts: nothing that a client sent is said back to it, except a delivery's id,
whose characters are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from syncd.model import Receipt
from syncd.web import answers
from syncd.web.answers import Answer, Word

USUAL: dict[Word, str] = {
    "malformed": "this is not a valid HTTP request",
    "signature": "",  # one answer for all reasons, so that nobody learns from it
    "address": "deliveries from this address are not accepted here",
    "not_found": "nothing is received at this path",
    "method": "deliveries are sent with POST",
    "timeout": "the request did not arrive in time",
    "too_large": "the body is larger than what is accepted here",
    "content_type": "the body must be JSON, without a Content-Encoding",
    "flood": "too many requests from this address were refused",
    "internal": "an unexpected error, which is in the log",
    "unavailable": "this can't be stored safely now; send it again",
}
"""All that is said here for "no", and the detail that is usually told with it."""


def stored(receipt: Receipt) -> Answer:
    """Say that a delivery is safe, under which id, and if it was so before."""
    status = "duplicate" if receipt.duplicate else "accepted"
    return answers.said(200, orjson.dumps({"status": status, "delivery": receipt.delivery}))


def refusal(word: Word, *, detail: str = "", headers: Mapping[str, str] = answers.NONE) -> Answer:
    """Say no."""
    return answers.refusal(word, detail or USUAL[word], headers)
