"""Where keys stand: checked by hand, and against the parser on generated texts."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from syncd.config.lines import Place, lines

TRICKY = '''\
top = 1  # [not.a.header]
"quoted \\u00e9" = "a # b"
'literal.dot' = 'c \\'
dotted . "key" . x = { inline = [1, { deep = "]}" }], "q" = 2 }

[a.b]   # comment
multi = """
[fake]
fake = 1 \\""" still
"""""
raw = \'\'\'
[fake]\'\'\'\'\'
list = [
  # [comment]
  "one", \'two\',

  [3, 4],
  { k = "v" },
]
when = 2026-11-21T10:00:00Z
[[hooks]]
url = "1"
[hooks.sub]
x = 1
[[hooks]]
url = "2"
[[hooks.inner]]
y = 1
[a]
last = -inf'''


def places(node: Any, above: Place = ()) -> set[Place]:
    """Every table, key and item that the parser saw."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return {above}.union(*(places(child, (*above, name)) for name, child in children))


def test_every_key_of_a_tricky_text_is_at_its_line():
    found = lines(TRICKY)
    assert found.keys() == places(tomllib.loads(TRICKY))
    expected = {
        ("top",): 1, ("quoted é",): 2, ("literal.dot",): 3, ("dotted", "key", "x", "inline", 1, "deep"): 4,
        ("dotted", "key", "x", "q"): 4, ("a",): 6, ("a", "b"): 6, ("a", "b", "multi"): 7, ("a", "b", "raw"): 11,
        ("a", "b", "list"): 13, ("a", "b", "list", 1): 15, ("a", "b", "list", 2, 1): 17, ("a", "b", "list", 3, "k"): 18,
        ("a", "b", "when"): 20, ("hooks",): 21, ("hooks", 0): 21, ("hooks", 0, "sub", "x"): 24, ("hooks", 1): 25,
        ("hooks", 1, "url"): 26, ("hooks", 1, "inner", 0, "y"): 28, ("a", "last"): 30,
    }  # fmt: skip
    assert {place: found[place] for place in expected} == expected


def test_windows_line_ends_count_once():
    assert lines("a = 1\r\n\r\n[b]\r\nc = 2\r\n")["b", "c"] == 4


def test_an_empty_text_has_a_first_line():
    assert lines("") == {(): 1}


scalars = st.one_of(st.integers(), st.booleans(), st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab.é# ", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def toml(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",  # ]\n".join(map(toml, value)) + "\n]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(child)}" for key, child in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(st.text("xyz. '", max_size=3), values, max_size=4))
def test_the_scanner_sees_exactly_what_the_parser_sees(document):
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items())
    found = lines(text)
    assert found.keys() == places(tomllib.loads(text)) == places(document)
    for key in document:
        assert text.splitlines()[found[key,] - 1].startswith(f"{json.dumps(key)} = ")
