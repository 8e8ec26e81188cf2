"""`syncd` and `python -m syncd`: what begins before anything that takes its time to load."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Load the command line and run it; a ^C before it can listen to one ends as quietly as a later one."""
    try:
        from syncd.cli import main as run  # noqa: PLC0415 - loading it is what may be interrupted
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
