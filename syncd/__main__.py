"""`syncd` and `python -m syncd`: what begins before anything that takes its time to load."""

import mimetypes
import os
import sys

_INTERRUPTED = 130


def travel_light() -> None:
    """Keep libraries from loading what nobody here uses, 2 MB of it: at the start, before they are loaded."""
    os.environ["FROZENLIST_NO_EXTENSIONS"] = "1"  # the runtime of C++, for lists of aiohttp's that stay empty
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # whatever else is installed has no part in reading a config
    mimetypes.knownfiles.clear()  # the machine's list of types, for files that aiohttp is not asked to serve


def main() -> None:
    """Load the command line and run it; a ^C before it can listen to one ends as quietly as a later one."""
    travel_light()
    try:
        from syncd.cli import main as run  # noqa: PLC0415 - loading it is what may be interrupted
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
