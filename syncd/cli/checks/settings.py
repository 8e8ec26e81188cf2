"""The config as `check` sees it, and what can be said of its secrets without telling them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from syncd.cli.checks import Finding, Level
from syncd.config import Config, Loaded, load
from syncd.errors import ConfigInvalid, Problem

_PREFIX = "whsec_"
_SHORTEST = 32
_AS_THE_SERVICE = "give doctor the variables and credentials of the service, and run it as the service's user"


def config(path: Path) -> tuple[Loaded | None, list[Finding]]:
    """Load the config, and report on that. None where it can't be used."""
    try:
        loaded = load(path)
    except ConfigInvalid as invalid:
        return None, [_said("failure", problem) for problem in invalid.problems]
    return loaded, [Finding("ok", "config", str(path), "is valid"), *(_said("warning", one) for one in loaded.warnings)]


def _said(level: Level, problem: Problem) -> Finding:
    on = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
    elsewhere = "is not set" in problem.message or "credential" in problem.message
    message = f"{problem.key}: {problem.message}" if problem.key else problem.message
    return Finding(level, "config", on, message, _AS_THE_SERVICE if elsewhere else "")


def secrets(loaded: Loaded, path: Path) -> Iterator[Finding]:
    """Look at what the config at `path` calls secret, and at the files that comes from."""
    yield from _signing(loaded.config)
    yield from _of_abstract(loaded.config)
    tls = loaded.config.server.tls
    # Of the config itself `check` says so, where it holds a secret.
    not_secret = {Path(os.path.abspath(path)), *([tls.cert] if tls else [])}  # noqa: PTH100 - symlinks are kept
    for file in sorted(loaded.files - not_secret):
        mode = file.stat().st_mode
        if mode & stat.S_IROTH:
            message = f"can be read by everybody ({stat.filemode(mode)})"
            yield Finding("warning", "secrets", str(file), message, f"chmod o= {file}")


def _signing(config: Config) -> Iterator[Finding]:
    source = config.sources.abyssale
    if source is None:
        return
    on = "sources.abyssale"
    if not source.require_signature:
        yield Finding(
            "warning", "secrets", f"{on}.require_signature", "unsigned deliveries are believed",
            "ask the platform for a signing secret (GET /signing-secret turns signing on)",
        )  # fmt: skip
    odd = [one for one in source.secret if not one.text.startswith(_PREFIX) or len(one.text) < _SHORTEST]
    if odd:
        yield Finding(
            "warning", "secrets", f"{on}.secret", f"{len(odd)} of {len(source.secret)} do not look like the platform's",
            f"the whole text is the secret, with its {_PREFIX} at the beginning; it is not the API key",
        )  # fmt: skip
    elif source.secret:
        yield Finding("ok", "secrets", f"{on}.secret", f"{len(source.secret)} given, of the platform's form")
    if source.api_key is None:
        yield Finding("ok", "secrets", f"{on}.api_key", "none: import, webhooks and fresh URLs of old files are off")
    elif source.api_key in source.secret or source.api_key.text.startswith(_PREFIX):
        yield Finding("failure", "secrets", f"{on}.api_key", "is a signing secret", "give the key of the API")
    else:
        yield Finding("ok", "secrets", f"{on}.api_key", "is given")


def _of_abstract(config: Config) -> Iterator[Finding]:
    source, on = config.sources.abstract, "sources.abstract"
    if source is None:
        return
    if not source.require_signature:
        message = "unsigned deliveries are believed"
        yield Finding("warning", "secrets", f"{on}.require_signature", message, "give its webhook a signing key")
    if source.token is None:
        yield Finding("ok", "secrets", f"{on}.token", "none: events are recorded, previews are not mirrored")
    elif source.token in source.secret:
        yield Finding("failure", "secrets", f"{on}.token", "is a signing key", "give a token of the API")
    else:
        yield Finding("ok", "secrets", f"{on}.token", "is given")
