"""What a benchmark is: contenders that do one job in turn, and goals that compare their figures.

Only figures of the same round are compared with each other: the machine is the same machine for some seconds at
best. A benchmark is a context manager that gives a `Contest`; all else, rounds, order, cold starts, is done here.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Figures = dict[str, float]
"""What one contender did in one round, by the names of `Contest.columns`."""
Contender = Callable[[Path], Figures]
"""Does the whole job in a new, empty folder, and gives its figures."""


class BenchmarkError(Exception):
    """Something that makes the figures worthless: a request lost, a file missing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What one run is about. `folder` is on the disk that is measured, and is emptied by who made it."""

    folder: Path
    quick: bool
    runs: int
    seed: int

    def size(self, full: int, quick: int) -> int:
        """Choose how much of something there is."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure of `who`, or on its ratio to that of `to` in the same round.

    `of` names the figure, `limit` is in its unit, or of none where it is a ratio. `inverted` is for figures of
    which less is better: the ratio is then how many times the other needs of what `who` does.
    """

    text: str
    of: str
    who: str
    is_: Literal["at least", "at most"]
    limit: float
    to: str = ""
    inverted: bool = False

    def values(self, rounds: Sequence[Mapping[str, Figures]]) -> list[float]:
        """The value in each round that has both figures."""
        found = []
        for figures in rounds:
            own, other = figures.get(self.who, {}).get(self.of), figures.get(self.to, {}).get(self.of)
            if own is None or (self.to and other is None):
                continue
            value = own if other is None else other / own if self.inverted else own / other
            found.append(value)
        return found

    def is_met(self, value: float) -> bool:
        """Tell if a median is good enough."""
        return value >= self.limit if self.is_ == "at least" else value <= self.limit


@dataclass(frozen=True, slots=True)
class Contest:
    """The contenders by name, the names and units of their figures, and what is expected of these.

    What they leave is kept to the end, unless it is too much to `keep`.
    """

    contenders: Mapping[str, Contender]
    columns: Mapping[str, str]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    keep: bool = True


class Benchmark(Protocol):
    """A module of this package that measures something."""

    ABOUT: str
    """One line: what against what."""
    PEERS: Sequence[str]
    """Programs that it runs, as `peers` knows them."""

    def stage(self, setting: Setting) -> AbstractContextManager[Contest]:
        """Make what the contenders share, a corpus and an origin say, and clear it away."""


@dataclass(slots=True)
class Result:
    """What came of one benchmark."""

    contest: Contest
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self, contender: str, column: str) -> float | None:
        """The median over the rounds, None where there is no such figure."""
        values = [figures[contender][column] for figures in self.rounds if column in figures.get(contender, {})]
        return statistics.median(values) if values else None


def play(contest: Contest, setting: Setting, say: Callable[[str], None]) -> Result:
    """Play all rounds; who begins changes from one to the next, so that nobody always comes first."""
    result = Result(contest)
    names = list(contest.contenders)
    for number in range(setting.runs):
        order = names[number % len(names) :] + names[: number % len(names)]
        figures: dict[str, Figures] = {}
        for turn, name in enumerate(order, start=1):
            began = time.monotonic()
            with _empty_folder(setting.folder / f"round-{number + 1}-{turn}", keep=contest.keep) as folder:
                try:
                    figures[name] = contest.contenders[name](folder)
                except (BenchmarkError, OSError) as failure:  # the others' figures are good all the same
                    result.failures.append(f"round {number + 1}, {name}: {failure}")
            say(f"  round {number + 1}/{setting.runs}  {name}  {time.monotonic() - began:.1f} s")
        result.rounds.append({name: figures[name] for name in names if name in figures})
    return result


@contextmanager
def _empty_folder(folder: Path, *, keep: bool) -> Iterator[Path]:
    """Make a folder for the duration, on a disk that has nothing left to write of what was before.

    What is in it is kept, or else whoever comes next pays for the removal: for minutes after thousands of files
    were removed, ext4 needs ten times as long for each new one.
    """
    folder.mkdir()
    os.sync()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def until(true: Callable[[], bool], what: str, *, within: float, every: float = 0.01) -> None:
    """Look every so many seconds until something holds. Raises BenchmarkError after `within` seconds."""
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            raise BenchmarkError(f"not within {within:.0f} s: {what}")
        time.sleep(every)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return statistics.median(values), min(values), max(values)
