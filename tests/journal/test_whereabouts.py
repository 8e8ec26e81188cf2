import os

import pytest

from syncd.journal import lock_path
from syncd.journal.sqlite import open_journal
from syncd.journal.whereabouts import WHEREABOUTS, Whereabouts, process, whereabouts

HERE = Whereabouts(str(os.getpid()), "127.0.0.1:8080", "unix:/run/admin.sock", "/mirror")


async def test_they_count_while_the_process_that_noted_them_has_the_journal(tmp_path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        assert whereabouts(path) is None
        await journal.note(WHEREABOUTS, str(HERE))
        assert whereabouts(path) == HERE
        assert process(path) == os.getpid()
        lock_path(path).write_text("1\n")  # another one, that has not noted any yet
        assert whereabouts(path) is None
    assert whereabouts(path) is None
    assert process(path) is None


@pytest.mark.parametrize("noted", ["", "{", "[]", '{"pid": "1"}'])
async def test_what_another_syncd_has_noted_is_passed_over(tmp_path, noted):
    async with open_journal(tmp_path / "journal.db") as journal:
        await journal.note(WHEREABOUTS, noted)
        assert whereabouts(tmp_path / "journal.db") is None


def test_there_are_none_without_a_journal(tmp_path):
    assert whereabouts(tmp_path / "journal.db") is None
