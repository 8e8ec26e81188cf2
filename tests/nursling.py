"""What the nursery's own tests let a child do."""

import gc
import json
import os
import signal
import sys


def tell() -> None:
    """Say on stderr, as JSON, what this process has."""
    descriptors = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")[:-1]]  # noqa: PTH115, PTH208 - plain text
    told = {
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109
        "sockets": [name for name in descriptors if name.startswith("socket:")],
    }
    sys.stderr.write(json.dumps(told))


def collect() -> None:
    """Open some files; a garbage collection must leave them open."""
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    gc.collect()
    for file in files:
        os.fstat(file)


def fail() -> None:
    """End with an error that nobody catches."""
    raise LookupError("as a script does")


def leave() -> None:
    """End with an exit code."""
    sys.exit(7)


def stay() -> None:
    """Live until a signal comes."""
    signal.pause()
