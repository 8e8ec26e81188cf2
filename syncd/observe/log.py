"""How log records look on stderr: one JSON object a line, or one readable line for people.

Records are facts as `extra` fields, and their values come from outside as often as not:
whatever they hold, one record stays one line. What is logged, and where, is everybody's own
business; docs/logs.md lists the lines that say how something ended.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from syncd.model import rfc3339
from syncd.observe.text import printable

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]

_QUIET = {
    "aiohttp.access": logging.CRITICAL,  # every request is counted, the refused ones are logged by intake
    "asyncio": logging.WARNING,
    "requests_oauthlib": logging.CRITICAL,  # this and the next say whole URLs, which in notifications are secrets
    "urllib3": logging.CRITICAL,
    "watchfiles": logging.WARNING,
}
# As syslog counts; journald takes it from the beginning of a line (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_SELDOM = 60.0  # seconds
_REMEMBERED = 100
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "36",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


def configure(level: Level, style: Style = "auto") -> None:
    """Send all records of at least `level` to stderr. May be called again, at a reload.

    "auto" is console on a terminal and JSON otherwise.
    """
    terminal = sys.stderr.isatty()
    console = style == "console" or (style == "auto" and terminal)
    handler = _Stderr(sys.stderr, prioritised=_is_journald())
    handler.setFormatter(_Console(colours=terminal and "NO_COLOR" not in os.environ) if console else _Json())
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Stderr)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    # No line says where in the code, in which thread or process it was written: half of what a record costs.
    logging._srcfile = None  # noqa: SLF001 - the way that the library documents
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined] # since Python 3.12


_escape = json.JSONEncoder(default=str).encode
_told_at: dict[tuple[str, str, str], float] = {}


def seldom(log: logging.Logger, message: str, trouble: Exception) -> None:
    """Warn of a trouble that many meet again and again for as long as it lasts: once a minute."""
    told, now = (log.name, message, str(trouble)), time.monotonic()
    if now - _told_at.get(told, -_SELDOM) < _SELDOM:
        return
    if len(_told_at) >= _REMEMBERED:
        _told_at.clear()
    _told_at[told] = now
    log.warning(message, extra={"reason": str(trouble)})


def _is_journald() -> bool:
    """Tell if systemd has connected stderr with the journal, as it says in $JOURNAL_STREAM."""
    try:
        there = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # ValueError: no file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


class _Stderr(logging.StreamHandler[Any]):
    """Ours, as told from handlers that others have put on the root logger.

    Where it is `prioritised`, each line begins with how bad it is.
    """

    def __init__(self, stream: Any, *, prioritised: bool) -> None:
        super().__init__(stream)
        self._prioritised = prioritised

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._prioritised:
            return text
        mark = f"<{_PRIORITIES.get(record.levelno, _PRIORITIES[logging.INFO])}>"
        return mark + text.replace("\n", f"\n{mark}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: value for name, value in _facts(record).items() if name not in said}
        if trace := _trace(self, record):
            said["exception"] = trace
        return _encode(said)


def _encode(said: dict[str, Any]) -> str:
    """Write JSON in ASCII only: no control character and no lone surrogate is left."""
    try:
        line = orjson.dumps(said, default=str)
    except orjson.JSONEncodeError:  # a lone surrogate, say
        return _escape(said)
    return line.decode() if line.isascii() else _escape(said)


class _Console(logging.Formatter):
    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = record.levelname.lower().ljust(8)
        if self._colours:
            level = f"\x1b[{_COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        facts = " ".join(f"{printable(name)}={_value(value)}" for name, value in _facts(record).items())
        line = f"{at} {level} {printable(f'{record.name}: {record.getMessage()}')}"
        # Indented, so that no text of an exception can pass for a record of its own.
        trace = "".join(f"\n    {printable(part)}" for part in _trace(self, record).split("\n") if part)
        return f"{line}  {facts}{trace}" if facts else f"{line}{trace}"


def _value(value: object) -> str:
    text = printable(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def _facts(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the `extra` fields of a record."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)
