"""Apprise, in a process of its own: it has a hundred services, and weighs as much as all the rest of syncd.

Each process runs this file for one errand and ends: it tells which URLs Apprise knows, or sends one
message. URLs, which are secrets, go over pipes and are in no list of arguments; no log and no error text
leaves the process but in the answer. What is sent, and how a refusal reads, is decided by who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

_COMMAND = (sys.executable, "-P", __file__)  # -P: what lies beside this file is no library
_LONGEST_LOOK = 60.0  # seconds; usually it is one
_REMEMBERED = 1000

_known: dict[str, bool] = {}


def learn(urls: Iterable[str]) -> None:
    """Ask Apprise which of these URLs it knows, all at once. Blocks. Raises ValueError where it can't be asked."""
    unknown = [url for url in urls if url not in _known]
    if not unknown:
        return
    if len(_known) > _REMEMBERED:
        _known.clear()
    try:
        child = subprocess.run(  # noqa: S603 - this very file
            _COMMAND,
            input=json.dumps({"look": unknown}).encode(),
            capture_output=True,
            timeout=_LONGEST_LOOK,
            check=True,
        )
        _known.update(zip(unknown, json.loads(child.stdout), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError) as error:  # their texts may have the URLs
        raise ValueError(f"can't be looked at by Apprise ({type(error).__name__})") from None


def knows(url: str) -> bool:
    """Tell if Apprise knows such a URL; raises what `learn` does."""
    learn([url])
    return _known[url]


async def send(url: str, title: str, body: str, seconds: float) -> str | None:
    """Send a message in so many seconds; says what Apprise said against it. Raises OSError and TimeoutError."""
    errand = {"send": url, "title": title, "body": body, "timeout": seconds}
    child = await asyncio.create_subprocess_exec(
        *_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await child.communicate(json.dumps(errand).encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        answer: str | None = json.loads(said)
    except ValueError:
        return f"a bug on the way (exit code {child.returncode})"
    return answer


# ---- what runs in the other process ----


def _run(errand: dict[str, Any]) -> Any:
    import apprise  # noqa: PLC0415 - nobody but this process is to load it

    if "look" in errand:
        return [apprise.Apprise.instantiate(url) is not None for url in errand["look"]]
    asset = apprise.AppriseAsset(app_id="syncd", app_desc="syncd", async_mode=False)
    sender = apprise.Apprise(apprise.Apprise.instantiate(errand["send"], asset=asset), asset=asset)
    with sender.notify(
        body=errand["body"],
        title=errand["title"],
        body_format=apprise.NotifyFormat.TEXT,
        timeout=errand["timeout"],
        log_level=logging.WARNING,
    ) as result:
        said = [entry.message for entry in result.logs()]
        return None if result else said[0] if said else "not taken"


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # whatever a service prints is no answer
        answered = _run(json.load(sys.stdin))
    json.dump(answered, sys.stdout)
