"""`python -m benchmarks.unpack ARCHIVE FOLDER`: unpack as the daemon does, and print the seconds that took.

All checks, hashes and syncs are those of `syncd.mirror.archive.extract`; what it costs to start Python and to
import it is left out, because a daemon does that once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from syncd.mirror.archive import extract


def main() -> None:
    """Unpack one archive."""
    archive, into = map(Path, sys.argv[1:])
    began = time.perf_counter()
    extract(
        archive,
        into,
        max_files=20_000,
        max_expanded=8 << 30,
        min_free=1 << 30,
        style="portable",
        file_mode=0o644,
        dir_mode=0o755,
        cancelled=lambda: False,
    )
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
