import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.sources.payload import LOST, parse

ESCAPES = st.lists(st.sampled_from([r"\ud83d", r"\uDE00", r"\\", r"\n", r"\"", r"\u0041", "ud800", "é", "x"]))


@given(ESCAPES)
def test_only_half_a_pair_is_replaced(parts):
    """Python's own reader keeps each half as it is, and knows an escaped backslash when it sees one."""
    text = '{"a":"' + "".join(parts) + '"}'
    whole = "".join(LOST if "\ud800" <= char <= "\udfff" else char for char in json.loads(text)["a"])
    assert parse(text.encode()) == {"a": whole}


def test_names_of_fields_may_hold_half_a_pair():
    assert parse(rb'{"\udfaa":{"\ud888\u1234":0}}') == {LOST: {f"{LOST}\u1234": 0}}


@pytest.mark.parametrize(
    "text",
    [
        rb'["\ud800"',
        rb'["\ud800\"]',
        rb'["\ud800\u"]',
        rb'["\ud800\u1x"]',
        rb'["\ud800",NaN]',
        rb'["\ud800",1e999]',
        b'["\xed\xa0\x80"]',
        b'["\\ud800","\xff"]',
        rb'["\ud800",' + b"[" * 5000,
    ],
)
def test_nothing_else_is_forgiven(text):
    with pytest.raises(orjson.JSONDecodeError):
        parse(text)


def test_the_place_of_an_error_is_that_in_the_body():
    body = rb'{"a":"\ud800","b":?}'
    with pytest.raises(orjson.JSONDecodeError) as caught:
        parse(body)
    assert caught.value.pos == body.index(b"?")
