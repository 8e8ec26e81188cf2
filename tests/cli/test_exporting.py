import csv
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from cli.command import command, process, write_config
from journal.filled import announce, banner, filled, publish, read_all

from syncd.cli.exporting import COLUMNS, _write_csv
from syncd.journal.reading import SqliteReader
from syncd.journal.sqlite import open_journal
from syncd.model import Template

HOSTILE = 'a,"b"\n=1+1'


@pytest.fixture
async def config(tmp_path):
    hostile = banner(8, template=Template("t2", HOSTILE))
    async with filled(tmp_path / "state" / "journal.db") as journal:
        await read_all(journal)
        await announce(journal, "d-hostile", hostile)
        await publish(journal, hostile)
    return write_config(tmp_path)


def export(config, form, *more):
    ended = command("manifest", "export", "--config", config, "--format", form, *more)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def test_all_forms_say_the_same(config):
    document = json.loads(export(config, "json"))
    lines = [json.loads(line) for line in export(config, "jsonl").splitlines()]
    table = list(csv.DictReader(io.StringIO(export(config, "csv"))))
    assert document["version"] == 1
    assert document["assets"] == lines
    assert len(lines) == 4
    assert [row["path"] for row in table] == [row["path"] for row in lines]
    for row, line in zip(table, lines, strict=True):
        assert set(line) <= set(row) == set(COLUMNS)
        assert {name: text for name, text in row.items() if text} == {
            name: json.dumps(value) if isinstance(value, bool) else str(value)
            for name, value in line.items()
            if value is not None
        }


def test_text_from_outside_stays_in_its_cell(config):
    assert [row["template"] for row in csv.DictReader(io.StringIO(export(config, "csv")))].count(HOSTILE) == 1


def test_a_terminal_gets_no_control_characters(config):
    out = io.StringIO()
    out.isatty = lambda: True
    rows = [dict.fromkeys(COLUMNS) | {"template": "a\x1b[31m\u202eb", "bytes": 1, "superseded": False}]
    _write_csv(rows, out)
    assert next(csv.DictReader(io.StringIO(out.getvalue())))["template"] == r"a\x1b[31m\u202eb"


async def test_a_locale_without_the_letters_gets_them_escaped(config, tmp_path):
    async with open_journal(tmp_path / "state" / "journal.db") as journal:
        await announce(journal, "d-cyrillic", named := banner(9, template=Template("t3", "привет")))
        await publish(journal, named)
    ended = await process("manifest", "export", "--format", "csv", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.code, ended.err) == (0, "")
    assert r",\u043f\u0440\u0438\u0432\u0435\u0442," in ended.out


async def test_json_goes_to_stdout_and_nothing_else_does(config, tmp_path):
    ended = await process("manifest", "export", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert len(json.loads(ended.out)["assets"]) == 4


def test_a_file_is_replaced_once_all_is_written(config, tmp_path):
    output = tmp_path / "all.jsonl"
    output.write_text("of yesterday")
    assert export(config, "jsonl", "--output", output) == ""
    assert output.read_text() == export(config, "jsonl")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["all.jsonl"]


def test_a_file_stays_as_it_is_when_the_export_fails(config, tmp_path, monkeypatch):
    output = tmp_path / "all.jsonl"
    output.write_text("of yesterday")
    monkeypatch.setattr(SqliteReader, "exports", lambda self: iter(self._db.execute("SELECT 1 / 0 AS asset")))
    with pytest.raises((IndexError, AttributeError)):
        command("manifest", "export", "--config", config, "--output", output)
    assert output.read_text() == "of yesterday"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["all.jsonl"]


def test_a_fifo_is_written_to_and_stays_one(config, tmp_path):
    fifo = tmp_path / "all.jsonl"
    os.mkfifo(fifo)
    with ThreadPoolExecutor() as beside:
        read = beside.submit(fifo.read_text)
        export(config, "jsonl", "--output", fifo)
        assert read.result() == export(config, "jsonl")
    assert fifo.is_fifo()


@pytest.mark.parametrize("before", ["of yesterday", None])
def test_a_link_stays_one_and_what_it_names_is_replaced(config, tmp_path, before):
    named, link = tmp_path / "state" / "all.jsonl", tmp_path / "all.jsonl"
    link.symlink_to("state/all.jsonl")
    if before is not None:
        named.write_text(before)
    export(config, "jsonl", "--output", link)
    assert link.is_symlink()
    assert named.read_text() == export(config, "jsonl")


def test_a_folder_is_wrong_usage(config, tmp_path):
    for folder in (".", "..", tmp_path):
        ended = command("manifest", "export", "--config", config, "--output", folder)
        assert (ended.code, ended.out) == (2, "")


def test_a_place_that_can_not_be_written_is_a_failure(config, tmp_path):
    ended = command("manifest", "export", "--config", config, "--output", tmp_path / "none" / "all.json")
    assert ended.code == 1
    assert "can't write" in ended.err


async def test_a_tree_with_nothing_in_it_is_an_empty_list(tmp_path):
    async with open_journal(tmp_path / "state" / "journal.db"):
        pass
    config = write_config(tmp_path)
    assert json.loads(export(config, "json"))["assets"] == []
    assert export(config, "jsonl") == ""
    assert export(config, "csv") == ",".join(COLUMNS) + "\n"
