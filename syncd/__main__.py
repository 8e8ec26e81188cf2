"""`syncd` and `python -m syncd`: what begins before anything that takes its time to load."""

import os
import signal
import sys

_INTERRUPTED = 130


def travel_light() -> None:
    """Keep pydantic from loading what nobody here uses: at the start, before it is loaded itself."""
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # whatever else is installed has no part in reading a config


def bridge() -> None:
    """Hear what a service manager tells a daemon that is not there yet: to end, or to read what it will read anyway."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: None)  # not SIG_IGN, which children would inherit


def main() -> None:
    """Load the command line and run it; a ^C before it can listen to one ends as quietly as a later one."""
    travel_light()
    if sys.argv[1:2] == ["run"]:
        bridge()
    try:
        from syncd.cli import main as run  # noqa: PLC0415 - loading it is what may be interrupted
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
