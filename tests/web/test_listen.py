import errno
import os
import select
import socket
import stat
import subprocess
import sys

import pytest

from syncd.config import Address
from syncd.web.listen import bind, inherited, let_nobody_new_in


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_tcp_socket_listens_and_does_not_block(host):
    with bind(Address(host, 0, "")) as bound:
        with socket.create_connection(bound.getsockname()[:2]):
            bound.accept()[0].close()
        with pytest.raises(BlockingIOError):
            bound.accept()


def test_all_of_ipv6_leaves_ipv4_alone():
    with bind(Address("::", 0, "")) as six, bind(Address("0.0.0.0", six.getsockname()[1], "")):  # noqa: S104 - on purpose
        pass


def test_an_address_in_use_is_named():
    with bind(Address("127.0.0.1", 0, "")) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: Address already in use") as error:
            bind(Address("127.0.0.1", port, ""))
    assert error.value.errno == errno.EADDRINUSE


def test_a_host_that_nobody_knows_is_named():
    with pytest.raises(OSError, match=r"can't listen on no-such-host\.invalid:80: "):
        bind(Address("no-such-host.invalid", 80, ""))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_came_before_nobody_new_is_let_in_is_served_and_who_comes_later_meets_a_closed_port(host):
    with bind(Address(host, 0, "")) as bound, socket.socket(bound.family) as late:
        address = bound.getsockname()[:2]
        with socket.create_connection(address) as early:
            let_nobody_new_in(bound)
            early.sendall(b"hello")
            late.setblocking(False)
            assert late.connect_ex(address) == errno.EINPROGRESS
            accepted, _ = bound.accept()
            with accepted:
                assert accepted.recv(5) == b"hello"
        with pytest.raises(BlockingIOError):
            bound.accept()
        bound.close()
        with select.epoll() as looks:
            looks.register(late, select.EPOLLOUT)
            assert looks.poll(10)
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_a_unix_socket_is_for_its_owner_and_group(tmp_path):
    path = tmp_path / "http.sock"
    with bind(Address("", 0, str(path))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_unix_socket_left_behind_is_replaced(tmp_path):
    address = Address("", 0, str(tmp_path / "http.sock"))
    bind(address).close()
    with bind(address), socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path)


def test_a_unix_socket_on_which_someone_answers_is_left_alone(tmp_path):
    address = Address("", 0, str(tmp_path / "http.sock"))
    with bind(address), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(OSError, match="another process answers there"):
            bind(address)
        client.connect(address.path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "http.sock"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="not a socket"):
        bind(Address("", 0, str(path)))
    assert path.read_text() == "precious"


_CHILD = """
import os, sys
from syncd.web.listen import inherited

names = dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.environ.update(names)
os.dup2(int(sys.argv[1]), 3)
taken = inherited()
print(taken.getsockname()[1], os.get_inheritable(3), taken.getblocking(), names.keys() & os.environ.keys())
print(inherited())
"""


def test_a_socket_passed_by_systemd_is_taken_once():
    with socket.create_server(("127.0.0.1", 0)) as passed:
        shown = subprocess.run(
            [sys.executable, "-c", _CHILD, str(passed.fileno())],
            pass_fds=[passed.fileno()], check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert shown.splitlines() == [f"{passed.getsockname()[1]} False False set()", "None"]


def test_more_than_one_passed_socket_is_refused(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    with pytest.raises(OSError, match="a single ListenStream="):
        inherited()


@pytest.mark.parametrize("pid", ["1", "", "x", None])
def test_a_socket_passed_to_another_process_is_not_taken(monkeypatch, pid):
    if pid is not None:
        monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited() is None
    assert "LISTEN_FDS" not in os.environ
