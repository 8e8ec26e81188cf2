import asyncio
import sqlite3
from contextlib import closing, suppress

import pytest
from journal.filled import EXPORT, NOW, RULES, accept, announce, banner, filled, publish, read_all

from syncd.errors import Ambiguous, JournalUnavailable
from syncd.journal import Decision, reading
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.mirror.manifest import entry, flat
from syncd.model import Template, rfc3339


@pytest.fixture
async def journal(tmp_path):
    async with filled(tmp_path / "journal.db") as open_journal:
        yield open_journal


@pytest.fixture
def reader(journal, tmp_path):
    with closing(SqliteReader(tmp_path / "journal.db")) as open_reader:
        yield open_reader


def test_a_journal_that_is_not_there_is_said_to_be_absent_and_is_not_made(tmp_path):
    with pytest.raises(JournalUnavailable, match="there is no journal"):
        SqliteReader(tmp_path / "journal.db")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_can_not_be_looked_for_is_said_to_be_so(tmp_path):
    with pytest.raises(JournalUnavailable, match="can't be looked at: File name too long"):
        SqliteReader(tmp_path / ("x" * 300))


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(JournalUnavailable):
        SqliteReader(path)


def test_a_damaged_journal_is_an_error_with_words(reader, journal, tmp_path):
    reader._db.close()
    with pytest.raises(JournalUnavailable, match="can't be read"):
        reader.counts()


def test_a_reader_can_not_write(reader):
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM deliveries")


async def test_a_journal_can_be_read_when_no_daemon_runs(tmp_path):
    async with filled(tmp_path / "journal.db"):
        pass
    with closing(SqliteReader(tmp_path / "journal.db")) as alone:
        assert alone.counts()["published"] == 2


def test_assets_are_counted_in_every_state(reader):
    assert reader.counts() == {"pending": 2, "published": 2, "superseded": 0, "failed": 1}


def test_the_queue_is_jobs_and_unread_deliveries_and_the_age_of_the_oldest(reader):
    assert reader.queue(NOW + 11) == (3, 10.0)


async def test_an_empty_queue_has_no_age(tmp_path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        with closing(SqliteReader(path)) as empty:
            assert empty.queue(NOW) == (0, 0.0)
            assert empty.newest() is None
            await accept(journal, "unread")
            assert empty.queue(NOW + 5) == (1, 5.0)
            assert empty.queue(NOW - 5) == (1, 0.0)  # a clock that went back


def test_the_last_delivery_is_the_newest(reader):
    assert reader.newest() == NOW + 6


def test_what_fails_is_counted_apart_from_what_was_given_up(reader):
    listed = reader.failures()
    given_up = sum(one["next_attempt_at"] is None for one in listed)
    assert reader.failing() == (len(listed) - given_up, given_up) == (1, 1)


def test_deliveries_come_newest_first(reader):
    names = [one["id"] for one in reader.deliveries(limit=100)]
    assert names == ["d-unread", "d-odd", "d-export", "d-failed", "d-retrying", "d-waiting", "d-published"]
    assert [one["id"] for one in reader.deliveries(limit=2)] == names[:2]


def test_deliveries_are_chosen_by_source_and_outcome(reader):
    assert [one["id"] for one in reader.deliveries(limit=9, outcome="quarantined")] == ["d-odd"]
    assert len(reader.deliveries(limit=9, source="abyssale")) == 7
    assert reader.deliveries(limit=9, source="abstract") == []
    assert reader.deliveries(limit=9, source="abstract", outcome="quarantined") == []


def test_a_delivery_has_the_fields_of_the_contract(reader):
    (failed,) = [one for one in reader.deliveries(limit=9) if one["id"] == "d-failed"]
    assert failed == {
        "id": "d-failed",
        "source": "abyssale",
        "event": "NEW_BANNER",
        "received_at": rfc3339(NOW + 3),
        "outcome": "processed",
        "reason": "",
        "attempts": 3,
        "assets": [{"id": "b4", "state": "failed", "path": "Spring sale/square/4.png", "reason": "404 from host.test"}],
    }


async def test_attempts_are_those_of_all_its_assets(journal, reader):
    (unread,) = await journal.inbox(10)
    await journal.decide([Decision(unread, "NEW_BANNER_BATCH", "accepted", assets=(banner(3), banner(4)))], RULES, NOW)
    batch = reader.delivery("d-unread")
    assert batch["attempts"] == 5 + 3
    assert [asset["id"] for asset in batch["assets"]] == ["b3", "b4"]


def test_one_delivery_is_shown_with_headers_and_payload(reader):
    shown = reader.delivery("d-odd")
    assert shown["headers"] == {"Content-Type": "application/json", "X-Twice": "one, two", "X-Secret": "***"}
    assert shown["payload"] == "\ufffd\x00 not <JSON>"
    assert shown["outcome"] == "quarantined"
    assert shown["reason"] == "not JSON"


@pytest.mark.parametrize("prefix", ["d-pub", "d-published", "d-p"])
def test_an_id_may_be_shortened_to_a_unique_prefix(reader, prefix):
    assert reader.delivery(prefix)["id"] == "d-published"


def test_an_ambiguous_prefix_names_what_it_could_be(reader):
    with pytest.raises(Ambiguous, match=r"d-export, d-failed, d-odd, d-published, d-retrying, \.\.\."):
        reader.delivery("d-")


async def test_an_id_that_is_the_beginning_of_another_is_itself(journal, reader):
    await accept(journal, "d-odd.2")
    assert reader.delivery("d-odd")["id"] == "d-odd"
    with pytest.raises(Ambiguous, match=r"d-odd, d-odd\.2$"):
        reader.delivery("d-od")


@pytest.mark.parametrize("prefix", ["", "nothing", "d-odd%", "D-ODD", "d_odd", "\udcff", "x" * 1000, "d-odd\n", "é"])
def test_what_no_id_begins_with_finds_nothing(reader, prefix):
    assert reader.delivery(prefix) is None


def test_failures_are_those_that_wait_after_a_failed_go_and_those_given_up(reader):
    assert reader.failures() == [
        {
            "id": "b4",
            "path": "Spring sale/square/4.png",
            "url": "https://host.test/4.png",
            "attempts": 3,
            "reason": "404 from host.test",
            "since": rfc3339(NOW + 4),
            "next_attempt_at": None,
        },
        {
            "id": "b3",
            "path": "Spring sale/square/3.png",
            "url": "https://host.test/3.png",
            "attempts": 5,
            "reason": "503 from host.test",
            "since": rfc3339(NOW + 3),
            "next_attempt_at": rfc3339(NOW + 120),
        },
    ]
    assert len(reader.failures(1)) == 1


async def test_a_failure_that_was_mended_is_none_any_more(journal, reader):
    await publish(journal, banner(3))
    assert [failure["id"] for failure in reader.failures()] == ["b4"]


def test_assets_have_the_fields_of_failures_and_of_the_manifest(reader):
    (listed,) = next(reader.folders()).listed
    for asset in reader.assets():
        assert asset.keys() == {"state"} | reader.failures()[0].keys() | entry(listed).keys()
    (published, _) = reader.assets("published")
    assert entry(listed).items() <= published.items()


@pytest.mark.parametrize(
    ("state", "ids"), [(None, ["b1", "b2", "b3", "b4", "e1"]), ("failed", ["b4"]), ("superseded", [])]
)
@pytest.mark.parametrize("page", [1, 2, 500])
def test_assets_are_listed_by_state_however_they_are_paged(reader, monkeypatch, state, ids, page):
    monkeypatch.setattr(reading, "_PAGE", page)
    assert [asset["id"] for asset in reader.assets(state)] == ids


def test_what_is_published_comes_folder_by_folder_then_export_by_export(reader):
    with reader.snapshot():
        paths = [row["path"] for row in flat(reader.folders(), reader.exports())]
    folder = next(reader.exports()).key
    assert paths == ["Spring sale/square/1.png", f"{folder}/a.png", f"{folder}/b/c.png"]
    assert EXPORT.id in folder


async def test_a_snapshot_does_not_see_what_happens_meanwhile(journal, reader):
    with reader.snapshot():
        folders = reader.folders()
        first = next(folders)
        await publish(journal, banner(2))
        await read_all(journal)
        zebra = banner(9, template=Template("t2", "Zebra"))
        await announce(journal, "d-zebra", zebra)
        await publish(journal, zebra)
        assert [*folders] == []
        assert len(first.listed) == 1
    assert [folder.folder for folder in reader.folders()] == ["Spring sale/square", "Zebra/square"]


def test_a_snapshot_ends_with_its_block_whatever_happens_inside(reader):
    with suppress(KeyError), reader.snapshot():
        raise KeyError(next(reader.folders()))
    assert not reader._db.in_transaction


def test_no_question_reads_a_whole_table_but_to_page_through_it(reader):
    asked = set()
    reader._db.set_trace_callback(asked.add)
    reader.counts()
    reader.queue(NOW)
    reader.newest()
    reader.failing()
    reader.deliveries(limit=5)
    reader.delivery("d-p")
    reader.failures()
    list(reader.assets())
    list(reader.assets("failed"))
    reader._db.set_trace_callback(None)
    assert len(asked) >= 10
    for question in asked:
        for *_, step in reader._db.execute(f"EXPLAIN QUERY PLAN {question}"):
            walks_up_to_a_limit = step == "SCAN deliveries" and "LIMIT" in question
            assert step.startswith("SEARCH") or " INDEX " in step or walks_up_to_a_limit or step == "SCAN counts", (
                question,
                step,
            )


async def test_readers_and_the_writer_do_not_wait_for_each_other(journal, reader):
    with reader.snapshot():
        next(reader.folders())
        async with asyncio.timeout(5):
            await accept(journal, "meanwhile")
