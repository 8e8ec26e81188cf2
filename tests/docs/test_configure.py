import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / ".ci" / "configure.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("configure_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_config_is_what_its_schema_says(script):
    assert script.PAGE.read_text() == script.page(), "make docs"


def test_every_key_is_told_with_what_it_takes(script):
    rows = [line for line in script.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    for row in rows:
        cells = [cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")]
        assert len(cells) == 4
        assert all(cells), row


def test_a_duration_or_a_size_is_told_with_its_bounds(script):
    page = script.page()
    assert '| `first` | `"1s"` | duration, 0s to 1h |' in page
    assert '| `max_body` | `"1MiB"` | size, 1 to 64MiB |' in page
