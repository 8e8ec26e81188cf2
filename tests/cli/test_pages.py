import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / ".ci" / "commands.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("commands_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "syncd.1"])
def test_the_page_of_all_commands_is_what_help_says(script, name):
    path = script.DOCS / name
    assert path.read_text() == script.pages()[path], "make docs"


def test_the_man_page_takes_nothing_for_a_request_of_roff(script):
    known = (".TH", ".SH", ".SS", ".TP", ".B", ".PP", ".EX", ".EE", ".ad")
    for line in script.man().splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.startswith(known)
    assert script.roff(".a 'b' -c ~ \\d") == r"\&.a \(aqb\(aq \-c \(ti \ed"
