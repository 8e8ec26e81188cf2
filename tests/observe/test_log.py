import json
import logging
import os
import sys

import pytest

from syncd.observe import log

HOSTILE = "a\n12:00:00 error    forged\x1b[31m\u202e"  # no lone surrogate: pytest can't report one


@pytest.fixture(autouse=True)
def as_it_was():
    """Give the logging of this process back as it was."""
    loggers = [logging.getLogger(name) for name in (None, *log._QUIET)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.level, logger.handlers = level, handlers


@pytest.fixture
def stderr(capsys):
    """What was written to stderr since it was last asked for."""
    return lambda: capsys.readouterr().err


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_json_is_one_object_a_line_with_the_facts_as_fields(stderr):
    log.configure("info", "json")
    logging.getLogger("syncd.test").info("published", extra={"key": "a/b.png", "bytes": 3})
    said = json.loads(stderr())
    assert said.pop("time").endswith("Z")
    assert said == {"level": "info", "logger": "syncd.test", "message": "published", "key": "a/b.png", "bytes": 3}


def test_facts_can_not_replace_what_a_line_is(stderr):
    log.configure("info", "json")
    logging.getLogger("syncd.test").info("published", extra={"level": "debug", "time": 0, "logger": "x"})
    said = json.loads(stderr())
    assert (said["level"], said["logger"]) == ("info", "syncd.test")
    assert said["time"] != 0


@pytest.mark.parametrize("style", ["json", "console"])
def test_hostile_values_stay_on_the_line_of_their_record(stderr, style):
    log.configure("info", style)
    logging.getLogger(HOSTILE).warning(HOSTILE, extra={"value": HOSTILE})
    line, rest = stderr().split("\n", 1)
    assert rest == ""
    assert line.isprintable()


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exceptions_text_can_not_pass_for_a_record(stderr, style):
    log.configure("info", style)
    logging.getLogger("syncd.test").error("failed", exc_info=ValueError(HOSTILE))
    written = stderr()
    first, *rest = written.splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "forged" in written
    assert "\x1b" not in written


def test_values_that_are_not_json_are_written_as_text(stderr, tmp_path):
    log.configure("info", "json")
    logging.getLogger("syncd.test").info("published", extra={"path": tmp_path})
    assert json.loads(stderr())["path"] == str(tmp_path)


def test_auto_is_json_where_there_is_no_terminal(stderr):
    log.configure("info")
    logging.getLogger("syncd.test").info("ready")
    assert json.loads(stderr())["message"] == "ready"


def test_auto_is_coloured_console_on_a_terminal(stderr, monkeypatch):
    on_a_terminal(monkeypatch)
    log.configure("info")
    logging.getLogger("syncd.test").info("ready", extra={"listen": "127.0.0.1:80", "note": "two words"})
    line = stderr()
    assert "\x1b[36minfo" in line
    assert line.endswith('syncd.test: ready  listen=127.0.0.1:80 note="two words"\n')


@pytest.mark.parametrize("style", ["json", "console"])
def test_each_line_tells_journald_how_bad_it_is(monkeypatch, tmp_path, style):
    with (tmp_path / "journal").open("w+") as stream:
        there = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
        log.configure("info", style)
        logging.getLogger("syncd.test").info("fine")
        logging.getLogger("syncd.test").error("failed", exc_info=ValueError("wrong"))
        stream.flush()
        stream.seek(0)
        first, *others = stream.read().splitlines()
    assert first.startswith("<6>")
    assert others
    assert all(line.startswith("<3>") for line in others)


def test_nobody_else_is_told_so(stderr, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")  # inherited from a parent whose stderr it was
    log.configure("info", "json")
    logging.getLogger("syncd.test").info("fine")
    assert json.loads(stderr())["message"] == "fine"


def test_a_trouble_that_goes_on_is_told_once_a_minute(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    monkeypatch.setattr(log, "_told_at", {})
    tester = logging.getLogger("syncd.test")
    for _ in range(10):
        log.seldom(tester, "jobs wait", OSError("full"))
    log.seldom(tester, "jobs wait", OSError("read-only"))
    assert [record.reason for record in caplog.records] == ["full", "read-only"]
    now += 61
    log.seldom(tester, "jobs wait", OSError("full"))
    assert [record.reason for record in caplog.records] == ["full", "read-only", "full"]


def test_what_is_remembered_of_troubles_is_bounded(monkeypatch):
    monkeypatch.setattr(log, "_told_at", {})
    for number in range(1000):
        log.seldom(logging.getLogger("syncd.test"), "jobs wait", OSError(str(number)))
    assert len(log._told_at) <= 100


def test_no_color_is_respected(stderr, monkeypatch):
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure("info", "console")
    logging.getLogger("syncd.test").info("ready")
    assert "\x1b" not in stderr()


def test_a_second_call_replaces_the_first(stderr):
    log.configure("info", "console")
    log.configure("error", "json")
    logging.getLogger("syncd.test").warning("not said")
    logging.getLogger("syncd.test").error("said once")
    assert json.loads(stderr())["message"] == "said once"


def test_the_libraries_are_quiet_even_when_we_debug(stderr):
    log.configure("debug", "json")
    logging.getLogger("aiohttp.access").error("GET /")
    logging.getLogger("watchfiles.main").info("1 change detected")
    logging.getLogger("asyncio").debug("Using selector")
    assert stderr() == ""
