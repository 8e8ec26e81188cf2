"""Listening sockets: bound to an address of the config, or passed by systemd.

A socket is open, non-blocking and listening when it leaves here; who takes it closes it.
Accepting connections is `server`'s business.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from syncd.config import Address

BACKLOG = 1024
_UNIX_MODE = 0o660
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_SO_ATTACH_FILTER = 26  # socket(7)
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # if it is SYN alone
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
)
"""A classic BPF program (operation, jump if true, jump if false, value) that drops the first packet of a connection."""


def bind(address: Address, *, beside: Sequence[socket.socket] = ()) -> socket.socket:
    """Listen on `address`; port 0 takes a free one.

    A port that one of `beside` has, which are this process's own, may be taken as well: on
    another address, or until the other one closes. A unix socket's file left behind by a
    process that is gone is replaced. Raises an OSError whose `strerror` is complete.
    """
    try:
        return _bind_unix(Path(address.path)) if address.path else _bind_tcp(address, beside)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"can't listen on {address}: {reason}") from error


def release(bound: socket.socket) -> None:
    """Close a socket that `bind` opened, and remove the file of a unix one."""
    name = bound.getsockname()
    bound.close()
    if isinstance(name, str):
        Path(name).unlink(missing_ok=True)


def let_nobody_new_in(bound: socket.socket) -> None:
    """Have the kernel pass over who knocks at a TCP port from now on; whoever is at the door still comes in.

    Between the last `accept` and the closing of a socket somebody could connect, be let in by the
    kernel, and be cut off. This way he meets a closed port when he knocks again.
    """
    if bound.family == socket.AF_UNIX:
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
    steps = struct.pack("@HP", len(_NO_SYN), ctypes.addressof(program))
    with suppress(OSError):  # a kernel without filters: all as before, but for that moment
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, steps)


def _bind_tcp(address: Address, beside: Sequence[socket.socket]) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, name = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ours = [other for other in beside if _port_of(other) == name[1]]
        with _shared(bound, *ours) if ours else nullcontext():
            bound.bind(name)
            return _listening(bound)
    except OSError:
        bound.close()
        raise


def _port_of(bound: socket.socket) -> int | None:
    return None if bound.family == socket.AF_UNIX else int(bound.getsockname()[1])


@contextmanager
def _shared(*sockets: socket.socket) -> Iterator[None]:
    """Let these have one port together, and only for the moment, so that no other process joins them."""
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(_UNIX_MODE)  # nobody can connect before listen()
        return _listening(bound)
    except OSError:
        bound.close()
        raise


def _remove_stale(path: Path) -> None:
    """Remove the socket file at `path` if nobody answers there; anything else is left alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another process answers there")
    path.unlink()


def inherited() -> socket.socket | None:
    """Take over the socket that systemd passed to this process, if any; see sd_listen_fds(3).

    The variables are cleared, and the socket is not passed on to children. Raises OSError where
    what was passed is not one listening stream socket.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        return None
    if int(count) > 1:  # on the others nobody would ever answer
        raise OSError(errno.EINVAL, f"systemd has passed {count} sockets, and syncd takes one: a single ListenStream=")
    os.set_inheritable(_FIRST_PASSED, False)
    taken = socket.socket(fileno=_FIRST_PASSED)
    if taken.type != socket.SOCK_STREAM or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        taken.detach()
        raise OSError(errno.EINVAL, "the socket passed by systemd is not a listening stream socket")
    taken.setblocking(False)
    return taken


def _listening(bound: socket.socket) -> socket.socket:
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound
