import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.observe.text import printable, size, span, wrong


@given(st.text(st.characters()))
def test_what_is_printable_stays_and_the_rest_is_escaped(text):
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) is text.isprintable()


@pytest.mark.parametrize("char", ["\x1b", "\n", "\r", "\x9b", "\u202e", "\u200b", "\ufeff", "\u2028", "\udcff"])
def test_what_could_move_a_cursor_or_hide_is_escaped(char):
    assert printable(f"a{char}b").isprintable()


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "unknown"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 29, "2.5 GiB"), (3 << 50, "3072.0 TiB")],
)
def test_sizes_read_in_binary_units(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59.4, "59 s"), (90, "1.5 m"), (5400, "1.5 h"), (216000, "2.5 d")]
)
def test_spans_read_in_their_largest_unit(seconds, shown):
    assert span(seconds) == shown


def test_a_config_error_reads_like_a_compilers():
    assert wrong({"file": "a.toml", "line": 3, "key": "x.y", "message": "is wrong"}) == "a.toml:3: x.y: is wrong"
    assert wrong({"file": "a.toml", "line": None, "key": None, "message": "is wrong"}) == "a.toml: is wrong"
