"""Questions to a running daemon over its admin listener; plain HTTP, one connection each."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

from syncd.cli.where import reachable
from syncd.config import Address
from syncd.errors import SyncdError

_TIMEOUT = 2.0  # seconds without a byte
_LONGEST_ANSWER = 32 << 20
_OK = 200


def ask(admin: Address, path: str) -> Any:
    """Return the JSON of an answer, or None where no daemon listens.

    Raises SyncdError where something does and there is no such answer.
    """
    connection = _UnixConnection(admin.path) if admin.path else HTTPConnection(reachable(admin), timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(_LONGEST_ANSWER)
        if response.status == _OK:
            return json.loads(body)
        reason = f"it answers {response.status}"
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
    except ValueError:
        reason = "what it answers is not JSON"
    finally:
        connection.close()
    raise SyncdError(f"no status from {admin}: {reason}", hint="is it syncd that listens there? its log says more")


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
