"""How log records look on stderr: one JSON object a line, or one readable line for people.

Records are facts as `extra` fields, and their values come from outside as often as not:
whatever they hold, one record stays one line. What is logged, and where, is everybody's own
business.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

from syncd.model import rfc3339
from syncd.observe.text import printable

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]

_QUIET = {
    "aiohttp.access": logging.CRITICAL,  # every request is counted, the refused ones are logged by intake
    "asyncio": logging.WARNING,
    "watchfiles": logging.WARNING,
}
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
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_Console(colours=terminal and "NO_COLOR" not in os.environ) if console else _Json())
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Stderr)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


class _Stderr(logging.StreamHandler[Any]):
    """Ours, as told from handlers that others have put on the root logger."""


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
        return json.dumps(said, default=str)  # ASCII only: no control character and no lone surrogate is left


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
