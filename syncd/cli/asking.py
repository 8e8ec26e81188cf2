"""Questions to a running daemon over its admin listener; plain HTTP, one connection each."""

from __future__ import annotations

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from syncd.cli.where import Places, places, reachable
from syncd.config import Address
from syncd.errors import ConfigInvalid, Problem, SyncdError

_TIMEOUT = 2.0  # seconds without a byte
_LONGEST_ANSWER = 32 << 20
_OK = 200


def ask(admin: Address, path: str) -> Any:
    """Return the JSON of an answer, or None where no daemon listens.

    Raises SyncdError where something does and there is no such answer.
    """
    answer = exchange(admin, "GET", path)
    if answer is None:
        return None
    status, said = answer
    if status != _OK:
        raise _none_from(admin, f"it answers {status}")
    return said


def state(config: Path) -> Places:
    """Read the places of a config, for a command that needs the journal.

    Raises ConfigInvalid where it is not there because a running daemon has refused the edit that names it.
    """
    where = places(config)
    if not os.path.exists(where.journal) and (problem := _refused(where.admin)):  # noqa: PTH110 - see `reading`
        raise ConfigInvalid([problem])
    return where


def _refused(admin: Address) -> Problem | None:
    """What a running daemon has against the config on disk."""
    try:
        said = ask(admin, "/api/status")
    except SyncdError:
        return None
    return Problem(**said["config"]["error"]) if said and said["config"]["error"] else None


def exchange(admin: Address, method: str, path: str, timeout: float = _TIMEOUT) -> tuple[int, Any] | None:
    """Return the status and the JSON of an answer, or None where nobody listens.

    `timeout` is in seconds without a byte. Raises SyncdError where no such answer comes.
    """
    connection = _UnixConnection(admin.path) if admin.path else HTTPConnection(reachable(admin))
    connection.timeout = timeout
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read(_LONGEST_ANSWER)
        return response.status, json.loads(body)
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
    except ValueError:
        reason = f"it answers {response.status}, and what it says is not JSON"
    finally:
        connection.close()
    raise _none_from(admin, reason)


def _none_from(admin: Address, reason: str) -> SyncdError:
    return SyncdError(f"no status from {admin}: {reason}", hint="is it syncd that listens there? its log says more")


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
