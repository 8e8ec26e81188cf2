"""The watcher itself: it is only worth something if it notices."""

import hashlib
import json

import pytest
from truth import Truth

GOOD = b"whole"


def write(path, content, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(mode)


@pytest.fixture
def tree(tmp_path):
    """A mirror of one asset, in which everything is true."""
    entry = {"path": "t/f/a.png", "bytes": len(GOOD), "sha256": hashlib.sha256(GOOD).hexdigest()}
    line = {"path": "t/f", "assets": 1, "bytes": len(GOOD), "manifest": "t/f/manifest.json", "sequence": 3}
    totals = {"assets": 1, "bytes": len(GOOD), "folders": 1, "exports": 0}
    write(tmp_path / "t/f/a.png", GOOD)
    write(tmp_path / "t/f/manifest.json", {"sequence": 3, "assets": [entry]})
    write(tmp_path / "manifest.json", {"sequence": 9, "totals": totals, "folders": [line], "exports": []})
    (tmp_path / ".syncd/tmp").mkdir(parents=True)
    return tmp_path


def watcher(tree):
    truth = Truth(tree)
    truth.serves(GOOD)
    return truth


def test_a_true_tree_has_nothing_broken_and_nothing_untidy(tree):
    truth = watcher(tree)
    truth.look()
    assert truth.broken == []
    assert truth.untidy() == []


BREAKS = {
    "a half file": lambda tree: write(tree / "t/f/b.png", GOOD[:3]),
    "a file that is gone": lambda tree: (tree / "t/f/a.png").unlink(),
    "a mode": lambda tree: (tree / "t/f/a.png").chmod(0o600),
    "a half manifest": lambda tree: write(tree / "t/f/manifest.json", b'{"sequence": 4, "ass'),
    "a manifest that is gone": lambda tree: (tree / "t/f/manifest.json").unlink(),
    "a manifest that is older than the index": lambda tree: write(
        tree / "t/f/manifest.json", {"sequence": 2, "assets": []}
    ),
    "a count": lambda tree: write(tree / "t/f/manifest.json", {"sequence": 3, "assets": []}),
    "a change that has no sequence": lambda tree: write(
        tree / "t/f/manifest.json", {**json.loads((tree / "t/f/manifest.json").read_bytes()), "template": None}
    ),
    "a part of an export": lambda tree: write(tree / "_exports/e/x.png", GOOD),
    "an index that goes back": lambda tree: write(
        tree / "manifest.json", {"sequence": 8, "folders": [], "exports": []}
    ),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_broken_promise_is_noticed_at_the_next_look(tree, change):
    truth = watcher(tree)
    truth.exports([GOOD, b"another"])
    truth.look()
    BREAKS[change](tree)
    truth.look()
    assert truth.broken


UNTIDY = {
    "a file that nobody names": lambda tree: write(tree / "t/f/b.png", GOOD),
    "a temp file": lambda tree: write(tree / ".syncd/tmp/1-1", GOOD),
    "a manifest that nobody names": lambda tree: write(tree / "t/g/manifest.json", {"sequence": 1, "assets": [{}]}),
    "an empty folder": lambda tree: (tree / "t/empty").mkdir(),
    "an index that is behind": lambda tree: write(
        tree / "t/f/manifest.json", {**json.loads((tree / "t/f/manifest.json").read_bytes()), "sequence": 4}
    ),
}


@pytest.mark.parametrize("change", UNTIDY)
def test_what_is_left_over_is_noticed_when_all_is_done(tree, change):
    truth = watcher(tree)
    UNTIDY[change](tree)
    assert truth.untidy()


def test_a_newer_file_may_wait_for_its_manifest_but_not_for_ever(tree, monkeypatch):
    truth = watcher(tree)
    truth.serves(b"newer")
    write(tree / "t/f/a.png", b"newer")
    truth.look()
    assert truth.broken == []
    monkeypatch.setattr("truth.LATEST", 0.0)
    truth.look()
    assert truth.broken
