"""From a config file and an environment to a `Config`, or to every problem there is.

`load` is the one way in: `check`, the start of the daemon and each reload are this function. It
reads and validates and changes nothing; comparing with the config in force is the caller's business.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from syncd import courier
from syncd.config.environment import override
from syncd.config.lines import Place, lines
from syncd.config.references import Secret, Surroundings, read_file
from syncd.config.section import Section
from syncd.config.tree import COMES_AGAIN, Config, misplaced
from syncd.config.units import show_duration
from syncd.config.wording import dotted, reword
from syncd.errors import ConfigInvalid, Problem

_CONFIG_BYTES = 1 << 20
_READABLE_BY_OTHERS = 0o044


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid config, every file it was made from (as named, symlinks kept), and what to be warned of.

    `problem` words what is found wrong with a value only once it is used, at the line where it stands.
    """

    config: Config
    files: frozenset[Path]
    warnings: tuple[Problem, ...]
    problem: Callable[[Place, str], Problem] = field(repr=False)  # it knows the text, secrets and all


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read, override, validate. Blocks for the time of a few small reads.

    Raises ConfigInvalid with all problems, sorted by line, and with the files whose change may mend them.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symlinks
    around = Surroundings(absolute.parent, environ, {absolute})
    source = _read(path, around)
    _learn_urls(source.data, around)
    problems = list[Problem]()
    try:
        config = Config.model_validate(source.data, context=around)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False)
        problems += [source.problem(error["loc"], reword(error)) for error in errors]
    problems += [source.problem(("mirror", "root"), why) for why in misplaced(around)]
    if problems:
        raise ConfigInvalid(sorted(problems, key=_order), files=around.files)
    warnings = [
        source.problem(place, "a secret in clear, in a file that others can read: chmod 600, or name a variable")
        for place, secret in _secrets(config)
        if secret.plain and source.exposed and not source.variable(place)
    ]
    if config.journal.retention < COMES_AGAIN:
        forgetful = f"what comes again later than that counts as new: give {show_duration(COMES_AGAIN)} or more"
        warnings.append(source.problem(("journal", "retention"), forgetful))
    return Loaded(config, frozenset(around.files), tuple(sorted(warnings, key=_order)), source.problem)


def _learn_urls(data: dict[str, Any], around: Surroundings) -> None:
    """Have Apprise, which takes a second to get ready, asked once about all URLs that validation will ask about."""
    urls = set[str]()

    def take(url: str) -> bool:
        urls.add(url)
        return True

    if "notify" in data:
        with suppress(ValidationError):  # this was not yet the validation
            Config.model_validate(data, context=replace(around, knows=take))
        with suppress(ValueError):  # it will be met again
            courier.learn(urls)


@dataclass(frozen=True)
class _Source:
    """What was read: the file's text, the data of file and environment, and which variable set what."""

    name: str
    text: str
    data: dict[str, Any]
    variables: Mapping[Place, str]
    exposed: bool

    @cached_property
    def lines(self) -> Mapping[Place, int]:
        """Where each key of the file stands."""
        return lines(self.text)

    def variable(self, place: Place) -> str | None:
        """Name the variable that set the value at this place, or a part of it."""
        for at, name in self.variables.items():
            shared = min(len(at), len(place))
            if at[:shared] == place[:shared]:
                return name
        return None

    def problem(self, place: Place, message: str) -> Problem:
        """Say where the person has to look: at a line, or at a variable."""
        place = self._as_written(place)
        if variable := self.variable(place):
            return Problem("environment", None, dotted(place), f"{message} (from {variable})")
        above = (place[:end] for end in range(len(place), -1, -1))
        line = next(self.lines[known] for known in above if known in self.lines)
        return Problem(self.name, line, dotted(place), message)

    def _as_written(self, place: Place) -> Place:
        """Leave out the index of a value that stands alone where a list may."""
        node: Any = self.data
        for end, part in enumerate(place):
            if isinstance(part, int) and not isinstance(node, list):
                return place[:end]
            if isinstance(node, dict):
                node = node.get(str(part))
            elif isinstance(node, list):
                node = node[int(part)]
        return place


def _read(path: Path, around: Surroundings) -> _Source:
    line, content = None, b""
    try:
        content, permissions = read_file(path, limit=_CONFIG_BYTES)
        text = content.decode("utf-8-sig")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line, message = content.count(b"\n", 0, error.start) + 1, "must be UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        line, message = _syntax(str(error), text)
    except RecursionError:
        message = "is nested too deeply"
    except ValueError as error:
        message = str(error)
    else:
        exposed = bool(permissions & _READABLE_BY_OTHERS)
        return _Source(str(path), text, data, override(data, around.environ), exposed)
    raise ConfigInvalid([Problem(str(path), line, "", message)], files=around.files)


def _syntax(message: str, text: str) -> tuple[int, str]:
    """Take the position out of the parser's message, which is the only place that has it before Python 3.14."""
    reason, _, position = message.rpartition(" (at ")
    line = re.match(r"line ([0-9]+)", position)
    return int(line[1]) if line else text.rstrip().count("\n") + 1, f"is not TOML: {reason}"


def _order(problem: Problem) -> tuple[bool, int, str]:
    return problem.line is None, problem.line or 0, problem.key


def _secrets(value: object, place: Place = ()) -> Iterator[tuple[Place, Secret]]:
    if isinstance(value, Secret):
        yield place, value
    elif isinstance(value, Section):
        for name, child in value:
            yield from _secrets(child, (*place, name))
    elif isinstance(value, tuple):
        for index, child in enumerate(value):
            yield from _secrets(child, (*place, index))
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _secrets(child, (*place, name))
