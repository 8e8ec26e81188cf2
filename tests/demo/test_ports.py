import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from syncd.demo.ports import free_port

DRAWN_FROM = Path("/proc/sys/net/ipv4/ip_local_port_range")
BLOCK = 200
ANOTHER = """
import sys
from syncd.demo.ports import free_port
print(free_port(), free_port(), flush=True)
sys.stdin.read()
"""


def test_each_is_another_one_that_can_be_bound():
    drawn = [free_port() for _ in range(50)]
    assert len(set(drawn)) == len(drawn)
    with contextlib.ExitStack() as bound:
        for port in drawn:
            bound.enter_context(socket.socket()).bind(("127.0.0.1", port))


def test_none_is_one_that_the_system_draws_for_a_connection():
    lowest = int(DRAWN_FROM.read_text().split()[0])
    assert free_port() < lowest


def test_one_that_is_taken_is_passed_over():
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        assert port not in [free_port() for _ in range(BLOCK)]


def test_two_processes_draw_from_blocks_of_their_own():
    ours = {free_port() for _ in range(3)}
    with subprocess.Popen([sys.executable, "-c", ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        theirs = {int(port) for port in other.stdout.readline().split()}
        assert len(theirs) == 2
        block = {port // BLOCK for port in ours}
        assert {port // BLOCK for port in theirs}.isdisjoint(block)
        other.stdin.close()
