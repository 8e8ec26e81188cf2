"""The supervisor's end of the notify protocol: a socket, and what was said to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Supervisor:
    """Hears what a process tells of itself, as systemd does. `address` is for $NOTIFY_SOCKET."""

    def __init__(self, ear: socket.socket, address: str) -> None:
        self.address = address
        self._ear = ear
        self._heard: list[dict[str, str]] = []

    def heard(self) -> list[dict[str, str]]:
        """Every message so far, as its assignments."""
        while True:
            try:
                message = self._ear.recv(4096).decode()
            except BlockingIOError:
                return list(self._heard)
            self._heard.append(dict(line.split("=", 1) for line in message.split("\n")))

    def said(self, name: str) -> list[str]:
        """Every value that was given to one name."""
        return [message[name] for message in self.heard() if name in message]

    def forget(self) -> None:
        """Begin anew."""
        self.heard()
        self._heard.clear()


@contextmanager
def supervisor(address: str) -> Iterator[Supervisor]:
    """Listen at a path, or with @ at an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0" + address[1:] if address.startswith("@") else address)
        ear.setblocking(False)
        yield Supervisor(ear, address)
