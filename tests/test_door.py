from itertools import pairwise

import pytest

from syncd.door import LONGEST_WISH, Door, Pace, reset_after, retry_after

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


def test_a_pace_lets_no_minute_have_more_than_its_turns():
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    taken = []
    for _ in range(50):
        clock[0] += pace.wait(10)
        taken.append(clock[0])
    assert all(later - earlier > 60 for earlier, later in zip(taken, taken[10:], strict=False))
    assert taken[9] == 0.0


def test_those_put_off_are_told_different_times():
    pace = Pace(lambda: 0.0)
    assert [pace.wait(2, 1.0) for _ in range(2)] == [0.0, 0.0]
    put_off = [pace.wait(2, 1.0) for _ in range(4)]
    assert all(later - earlier > 30 for earlier, later in pairwise(put_off))


def test_a_pace_that_is_asked_to_rest_gives_no_turn_meanwhile():
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    pace.rest(30.0)
    assert pace.wait(10, 5.0) == 30.0
    clock[0] = 30.0
    assert pace.wait(10, 5.0) == 0.0


def test_a_door_goes_at_the_pace_that_it_shares():
    pace = Pace(lambda: 0.0)
    one, other = Door({}, 2, pace), Door({}, 2, pace)
    assert [one.wait(1.0), other.wait(1.0)] == [0.0, 0.0]
    assert one.wait(1.0) > 60.0


def test_a_rate_that_was_raised_counts_at_once():
    pace = Pace(lambda: 0.0)
    assert [pace.wait(1, 1.0), pace.wait(2, 1.0)] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), (" 0 ", 0.0), ("1700000007", 7.0), ("1699999990", 0.0)],
)
def test_a_reset_is_a_point_in_time_or_a_time_from_now(text, seconds):
    assert reset_after(text, 1_700_000_000.0) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "9" * 13, "1_0", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_no_number_says_nothing(text):
    assert reset_after(text, 0.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("999999999999999", LONGEST_WISH),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60),
        ("Mon, 21 Sep 2099 14:14:20 GMT", LONGEST_WISH),
        ("Mon, 21 Sep 2026 14:13:20 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),
        ("Mon, 31 Feb 2099 14:14:20 GMT", None),
        ("Mon, 21 Foo 2099 14:14:20 GMT", None),
        ("Mon, 21 Sep 0000 14:14:20 GMT", None),
        *((hostile, None) for hostile in ("", "-1", "+1", "1.5", "1e9", "1_0", "١٢", "9" * 400, "soon", "nan")),
    ],
)
def test_retry_after_is_read_strictly(value, seconds):
    assert retry_after(value, NOW) == seconds
