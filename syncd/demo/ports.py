"""Ports for programs that must know theirs before they start, and keep it when they start again.

A port that the system draws (`bind` to 0) is free only until the system draws it again, for any connection or
listener of this machine. So these come from below the range that systems draw from (Linux: 32768 on, see
ip_local_port_range), and each process hands out those of a block that it alone holds.
"""

import socket
from itertools import cycle, islice

from syncd.errors import SyncdError

_BLOCK = 200
_BLOCKS = range(20_000, 32_400, _BLOCK)


class _Block:
    """A block's first port is bound, never listens, and stands for the whole block while this process lives."""

    def __init__(self) -> None:
        self._held = socket.socket()
        for first in _BLOCKS:
            if _bind(self._held, first):
                self._ports = cycle(range(first + 1, first + _BLOCK))
                return
        self._held.close()
        raise SyncdError("no block of ports is left on 127.0.0.1", hint=_HINT)

    def next(self) -> int:
        for port in islice(self._ports, _BLOCK):
            with socket.socket() as probe:
                if _bind(probe, port):
                    return port
        raise SyncdError("all ports of a block on 127.0.0.1 are in use", hint=_HINT)


_HINT = f"end some of the programs that hold ports from {_BLOCKS.start} to {_BLOCKS.stop - 1}"
_block: _Block | None = None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that no other process is given while this one lives.

    Each call gives another one, until the block begins anew. Raises SyncdError when none is left.
    """
    global _block  # noqa: PLW0603 - one a process
    _block = _block or _Block()
    return _block.next()


def _bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
