import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from journal.press import arrival, banner, press_at

from syncd.errors import InUse, JournalUnavailable
from syncd.journal import Decision
from syncd.journal.sqlite import open_journal

ACCEPT_AND_WAIT = """
import asyncio, pathlib, sys
from syncd.journal.sqlite import open_journal
from syncd.model import Arrival

async def main():
    async with open_journal(pathlib.Path(sys.argv[1])) as journal:
        arrivals = [Arrival("abyssale", f"d-{n}", None, None, (), b"{}", 1.0) for n in range(20)]
        await asyncio.gather(*map(journal.accept, arrivals))
        print("accepted", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


def full(journal):
    """Leave the database no page to grow by, as a full disk does."""
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")


def roomy(journal):
    journal._db.execute(f"PRAGMA max_page_count={2**30}")


BIG = b'{"fills": "' + b"x" * 100_000 + b'"}'


async def test_a_commit_is_on_stable_storage_when_it_returns(path):
    async with open_journal(path) as journal:
        assert journal._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


async def test_the_names_of_all_folders_that_were_made_for_it_are_on_stable_storage_too(tmp_path, monkeypatch):
    fsync, synced = os.fsync, set()

    def seen_fsync(descriptor):
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    async with open_journal(tmp_path / "var" / "state" / "journal.db"):
        assert {tmp_path, tmp_path / "var", tmp_path / "var" / "state"} <= synced


async def test_concurrent_deliveries_share_commits(path):
    async with open_journal(path) as journal:
        commits = []
        journal._db.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
        receipts = await asyncio.gather(*(journal.accept(arrival(f"d-{n}")) for n in range(200)))
        assert not any(receipt.duplicate for receipt in receipts)
        assert len(await journal.inbox(1000)) == 200
        assert len(commits) <= 3  # the first ones, those that came meanwhile, and the question for the inbox


async def test_the_same_delivery_twice_in_one_commit_is_stored_once(path):
    async with open_journal(path) as journal:
        receipts = await asyncio.gather(*(journal.accept(arrival("d-1")) for _ in range(5)))
        assert sorted(receipt.duplicate for receipt in receipts) == [False, True, True, True, True]


async def test_deliveries_that_repeat_each_other_in_one_commit_are_told_apart(path):
    async with open_journal(path) as journal:
        before = await journal.accept(arrival("d-0", b"{}", signed_at="1"))
        asked = [
            ("d-1", b"1", "1"),
            ("d-0", b"2", "2"),  # an id from before
            ("d-2", b"1", "1"),  # what d-1 has signed
            ("d-3", b"{}", "1"),  # what was signed before, under an id that comes again
            ("d-3", b"3", "3"),
            ("d-3", b"4", "4"),
            *((f"e-{n}", str(n).encode(), "5") for n in range(100)),
            ("e-7", b"5", "5"),
        ]
        answers = await asyncio.gather(*(journal.accept(arrival(name, body, signed_at=at)) for name, body, at in asked))
        told = [(answer.delivery, answer.duplicate) for answer in answers]
        names = ["d-1", before.delivery, "d-1", before.delivery, "d-3", "d-3"]
        assert told[:6] == list(zip(names, [False, True, True, True, False, True], strict=True))
        assert told[6:] == [*((f"e-{n}", False) for n in range(100)), ("e-7", True)]
        stored = [delivery.id for delivery in await journal.inbox(1000)]
        assert stored == ["d-0", "d-1", "d-3", *(f"e-{n}" for n in range(100))]


async def test_a_full_disk_stores_nothing_of_a_batch_and_the_journal_works_again_afterwards(path):
    async with open_journal(path) as journal:
        full(journal)
        small, large = arrival("d-1"), arrival("d-2", BIG)
        answers = await asyncio.gather(journal.accept(small), journal.accept(large), return_exceptions=True)
        assert [type(answer) for answer in answers] == [JournalUnavailable] * 2
        assert not journal.arrived.is_set()
        assert await journal.inbox(10) == []
        roomy(journal)
        assert not (await journal.accept(large)).duplicate
        assert not (await journal.accept(small)).duplicate
        assert len(await journal.inbox(10)) == 2


async def test_a_failure_takes_back_everything_that_a_decision_says(path):
    async with press_at(path) as press:
        await press.journal.accept(arrival("d-1"))
        (delivery,) = await press.journal.inbox(1)
        many = tuple(banner(f"b{n}", f"s{n}", edit_url="https://x/" + "y" * 8000) for n in range(50))
        full(press.journal)
        with pytest.raises(JournalUnavailable):
            await press.journal.decide([Decision(delivery, "NEW_BANNER_BATCH", "accepted", "", many)], press.rules, 1.0)
        roomy(press.journal)
        for table in ("visuals", "identities", "names", "keys", "assets", "announced"):
            assert press.rows(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - names from above
        assert await press.journal.inbox(1) == [delivery]


async def test_someone_who_stops_waiting_does_not_disturb_the_others(path):
    async with open_journal(path) as journal:
        impatient = asyncio.ensure_future(journal.accept(arrival("d-1")))
        patient = asyncio.ensure_future(journal.accept(arrival("d-2")))
        await asyncio.sleep(0)
        impatient.cancel()
        assert not (await patient).duplicate
        assert [delivery.id for delivery in await journal.inbox(10)] == ["d-1", "d-2"]


async def test_closing_commits_what_was_asked_before(path):
    async with open_journal(path) as journal:
        asked = asyncio.ensure_future(journal.accept(arrival("d-1")))
        await asyncio.sleep(0)
    assert not (await asked).duplicate
    async with open_journal(path) as journal:
        assert [delivery.id for delivery in await journal.inbox(10)] == ["d-1"]


async def test_what_was_accepted_survives_a_kill(path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ACCEPT_AND_WAIT, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"accepted\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    async with open_journal(path) as journal:
        assert [delivery.id for delivery in await journal.inbox(100)] == [f"d-{n}" for n in range(20)]


async def test_a_second_owner_is_refused_and_told_who_has_it(path):
    async with open_journal(path):
        with pytest.raises(InUse, match=f"journal.*in use.*pid {os.getpid()}"):
            async with open_journal(path):
                pass
    async with open_journal(path):
        pass


async def test_an_error_of_the_one_who_uses_it_passes_through(path):
    with pytest.raises(OSError, match="address in use"):
        async with open_journal(path):
            raise OSError("address in use")


async def test_facts_are_kept(path):
    async with open_journal(path) as journal:
        assert await journal.recall("mirror root") is None
        await journal.note("mirror root", "/one")
        await journal.note("mirror root", "/two")
    async with open_journal(path) as journal:
        assert await journal.recall("mirror root") == "/two"


async def test_a_journal_of_a_newer_syncd_is_left_alone(path):
    async with open_journal(path) as journal:
        journal._db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalUnavailable, match="newer syncd"):
        async with open_journal(path):
            pass


async def test_a_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs(a)")
    other.close()
    with pytest.raises(JournalUnavailable, match="another program"):
        async with open_journal(path):
            pass


async def test_what_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 100)
    with pytest.raises(JournalUnavailable, match="can't be opened"):
        async with open_journal(path):
            pass
    assert path.read_text().startswith("dear diary")


async def test_a_place_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable, match="can't be opened"):
        async with open_journal(tmp_path / "file" / "journal.db"):
            pass
