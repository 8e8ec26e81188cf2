"""What a daemon that is started by systemd finds: a listening socket as descriptor 3, and the variables that say so.

For `nursery.born`: whose end of $PASSED_BY this is hands the socket over.
"""

from __future__ import annotations

import os
import socket

from syncd.cli import main as syncd

FIRST_PASSED = 3


def main() -> None:
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(os.environ["PASSED_BY"])
        _, (passed,), *_ = socket.recv_fds(way, 1, 1)
    os.dup2(passed, FIRST_PASSED)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    syncd()
