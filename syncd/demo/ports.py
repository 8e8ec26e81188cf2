"""Ports for programs that must know theirs before they start, and keep it when they start again.

A port that the system draws (`bind` to 0) is free only until the system draws it again, for any connection or
listener of this machine. So these come from below the range that systems draw from (Linux: 32768 on, see
ip_local_port_range), and each process hands out those of a block that it alone holds.
"""

import socket
from collections.abc import Iterator

from syncd.errors import SyncdError

_BLOCK = 400
_BLOCKS = range(20_000, 32_400, _BLOCK)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that no other process is given while this one lives.

    Each call gives another one, until the block of 399 begins anew. Raises SyncdError when every block is held.
    """
    return next(_ports)


def _drawn() -> Iterator[int]:
    held, first = _held_block()
    with held:
        while True:
            yield from (port for port in range(first + 1, first + _BLOCK) if _is_free(port))


def _held_block() -> tuple[socket.socket, int]:
    """A block's first port, bound and never listening, stands for the whole block."""
    for first in _BLOCKS:
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", first))
        except OSError:
            held.close()
        else:
            return held, first
    raise SyncdError(
        f"no ports are left on 127.0.0.1 between {_BLOCKS.start} and {_BLOCKS.stop}",
        hint="end some of the programs that hold them",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ports = _drawn()
