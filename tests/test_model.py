from datetime import UTC, datetime
from unicodedata import normalize

from hypothesis import example, given
from hypothesis import strategies as st

from syncd.model import fold, rfc3339

TIMES = st.one_of(st.floats(0, 253_402_300_799), st.integers(0, 253_402_300_799), st.floats(1.7e9, 1.9e9))


@given(TIMES)
@example(0)
@example(1_790_000_000.25)
@example(1_790_000_000.9999998)
@example(1_790_000_000.0009998)
def test_a_time_is_printed_as_the_calendar_has_it(seconds):
    told = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    assert rfc3339(seconds) == told.replace("+00:00", "Z")


def test_no_time_is_no_text():
    assert rfc3339(None) is None


@given(st.text(st.characters(), max_size=40))
@example("Stra\u00dfe \u0131I")
def test_names_are_folded_alike_whatever_they_are_made_of(name):
    decomposed = normalize("NFD", name)
    assert fold(name) == normalize("NFC", decomposed.upper().casefold())
    assert fold(fold(name)) == fold(name) or not name.isascii()
