import shlex

import pytest
import typer
from cli.command import command

from syncd.cli import app
from syncd.cli.examples import EXAMPLES, commands

TREE = typer.main.get_command(app)
COMMANDS = dict(commands(TREE))


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_taught_by_two_examples_of_its_own(words):
    examples = EXAMPLES.get(words, ())
    assert len(examples) >= 2
    assert all(" ".join(["syncd", *words.split()[:1]]) in example for example in examples)


def test_no_example_is_about_a_command_that_is_not_there():
    assert set(EXAMPLES) <= set(COMMANDS)


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_is_understood(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("event.json", "ids.txt"):
        (tmp_path / name).write_text("{}")
    words = shlex.shlex(example, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    words.commenters = "#"
    calls = parts_of(list(words))
    assert calls
    for call in calls:
        parses(TREE, call)


def parts_of(words):
    """The arguments of each `syncd` in a line of the shell."""
    calls, current = [], []
    for word in [*words, ";"]:
        if word in ("|", "&&", ";", ">", "<"):
            calls.append(current)
            current = []
        else:
            current.append(word)
    return [call[1:] for call in calls if call and call[0] == "syncd"]


def parses(group, args, parent=None, name="syncd"):
    with group.make_context(name, list(args), parent=parent) as context:
        if hasattr(group, "commands"):
            rest = [*context._protected_args, *context.args]
            if rest:
                name, found, rest = group.resolve_command(context, rest)
                parses(found, rest, context, name)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_the_examples_line_by_line(words):
    ended = command(*words.split(), "--help")
    assert ended.code == 0
    for example in EXAMPLES.get(words, ()):
        assert f"\n    {example}\n" in ended.out
