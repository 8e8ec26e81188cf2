import re

import pytest

from syncd.observe.page import render

STATUS = {
    "ready": True, "reasons": [], "version": "1.2.3", "started_at": "2026-11-21T09:12:01.000Z",
    "config": {"path": "/etc/sync.toml", "generation": 3, "loaded_at": "2026-11-22T01:00:00.000Z", "error": None},
    "assets": {"pending": 0, "published": 9, "superseded": 0, "failed": 0},
    "queue": {"depth": 0, "oldest_seconds": 0.0},
    "deliveries": {"accepted": 9, "quarantined": 0},
    "disk": {"mirror_free": 1 << 30, "journal_free": None},
    "last_delivery_at": None, "failures": [],
}  # fmt: skip
FAILURE = {
    "id": "b-1", "path": "a/b.png", "url": "", "reason": "HTTP 404", "attempts": 5,
    "since": "2026-11-22T03:19:42.563Z", "next_attempt_at": None,
}  # fmt: skip


def test_what_fails_comes_before_all_numbers():
    page = render({**STATUS, "failures": [FAILURE]}, [])
    assert page.index("HTTP 404") < page.index("<h2>Files</h2>")
    assert "given up" in page
    assert "2026-11-22 03:19:42" in page


def test_many_failures_leave_room_for_the_rest():
    page = render({**STATUS, "failures": [FAILURE] * 100}, [])
    assert "Failures (100, the newest 15)" in page
    assert page.count("HTTP 404") == 15


def test_nothing_is_marked_as_bad_where_nothing_is():
    assert 'class="bad"' not in render(STATUS, [])


@pytest.mark.parametrize(("group", "word"), [("assets", "failed"), ("deliveries", "quarantined")])
def test_a_number_that_should_be_zero_is_marked(group, word):
    page = render({**STATUS, group: {**STATUS[group], word: 3}}, [])
    assert re.search(rf'{word}</dt><dd class="bad">3<', page)
