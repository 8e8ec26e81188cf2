import json
from dataclasses import replace
from operator import attrgetter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.mirror import index as under_test
from syncd.mirror.index import Index
from syncd.model import FolderLine, Template

SPRING = FolderLine("Spring sale/square", Template("d1e2", "Spring sale"), "square", 1, 7, 1)
OTHER = FolderLine("Other/x", Template("", "Other"), "", 3, 100, 9)
EXPORT = {"export_id": "0b7e", "path": "_exports/0b7e", "files": 2, "manifest": "_exports/0b7e.json"}

FOLDERS = ["a", "a/b", "b", "c", "d", "ä", "\N{FULLWIDTH TILDE}", "\N{GRINNING FACE}", 'a"\n']

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
lines = st.builds(
    FolderLine,
    st.sampled_from(FOLDERS),
    st.builds(Template, texts, texts),
    texts,
    *[st.integers(0, 2**40)] * 3,
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "_IN_A_PIECE", 2)
        yield


def said(index, sequence=12):
    return json.loads(index.printed(sequence=sequence, generated_at=1_790_000_000.1239))


def test_the_index_names_folders_and_exports_and_counts_folders_only():
    assert said(Index([OTHER, SPRING], [EXPORT])) == {
        "version": 1,
        "sequence": 12,
        "generated_at": "2026-09-21T14:13:20.123Z",
        "totals": {"assets": 4, "bytes": 107, "folders": 2, "exports": 1},
        "folders": [
            {
                "path": "Other/x",
                "template": "Other",
                "format": None,
                "assets": 3,
                "bytes": 100,
                "manifest": "Other/x/manifest.json",
                "sequence": 9,
            },
            {
                "path": "Spring sale/square",
                "template": "Spring sale",
                "format": "square",
                "assets": 1,
                "bytes": 7,
                "manifest": "Spring sale/square/manifest.json",
                "sequence": 1,
            },
        ],
        "exports": [EXPORT],
    }


@given(
    st.lists(lines, max_size=9, unique_by=attrgetter("folder")),
    st.lists(st.one_of(lines, st.sampled_from(FOLDERS)), max_size=20),
)
def test_whatever_changed_before_the_index_is_that_of_what_is_left(first, steps):
    first.sort(key=attrgetter("folder"))
    index, left = Index(first), {line.folder: line for line in first}
    for step in steps:
        if isinstance(step, FolderLine):
            index.name(step)
            left[step.folder] = step
        else:
            index.drop(step)
            left.pop(step, None)
        assert said(index) == said(Index(left[path] for path in sorted(left)))
    assert [line["path"] for line in said(index)["folders"]] == sorted(left)


@given(st.lists(lines, max_size=5, unique_by=attrgetter("folder")))
def test_the_index_is_printed_as_if_it_were_in_one_piece(folders):
    printed = Index(sorted(folders, key=attrgetter("folder")), [EXPORT]).printed(sequence=1, generated_at=0.0)
    assert printed == orjson.dumps(orjson.loads(printed), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def test_an_index_of_many_folders_is_the_same_before_and_after_a_change():
    index = Index([replace(SPRING, folder=f"Template {number:05}/square") for number in range(5000)])
    before = said(index)
    index.name(OTHER)
    index.drop(OTHER.folder)
    assert said(index) == before
    assert len(before["folders"]) == 5000


def test_an_index_of_nothing_ends_with_a_newline():
    assert Index().printed(sequence=1, generated_at=0.0).endswith(b'"folders": [],\n  "exports": []\n}\n')


def test_an_export_that_is_printed_anew_keeps_its_place():
    index = Index([], [EXPORT, {**EXPORT, "manifest": "_exports/2.json"}])
    index.name_export({**EXPORT, "files": 3})
    assert [line["files"] for line in said(index)["exports"]] == [3, 2]
