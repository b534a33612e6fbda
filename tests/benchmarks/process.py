"""Whole processes: how long one takes, and how much memory it holds at its peak."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

POLL_SECONDS = 0.01
_PR_SET_CHILD_SUBREAPER = 36  # from sys/prctl.h


class BenchmarkError(Exception):
    """A command that did not do what is to be measured."""


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock, and of processors: the latter suffer less from a busy machine."""

    clock: float
    processor: float


@dataclass(frozen=True)
class Command:
    """A process to measure, which ends with `status`.

    Its output must have `proof` in it: else it did something else.
    """

    args: Sequence[str]
    cwd: Path
    proof: str
    env: Mapping[str, str] | None = None
    status: int = 0

    def seconds(self) -> Taken:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        before, start = _processor(), time.perf_counter()
        done = subprocess.run(
            self.args, cwd=self.cwd, env=self.env, capture_output=True, text=True, check=False
        )
        clock = time.perf_counter() - start
        _await_orphans()
        self._check(done.returncode, done.stdout, done.stderr)
        return Taken(clock, _processor() - before)

    def peak(self) -> float:
        """The largest sum of PSS over the process and all below it, in MiB, sampled as it runs."""
        out, err = self.cwd / "stdout", self.cwd / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                self.args, cwd=self.cwd, env=self.env, stdout=stdout, stderr=stderr
            )
            peak = 0.0
            while process.poll() is None:
                peak = max(peak, sum(map(_pss, _family(process.pid))))
                time.sleep(POLL_SECONDS)
        self._check(process.returncode, out.read_text(), err.read_text())
        return peak / 1024

    def _check(self, code: int, out: str, err: str) -> None:
        if code != self.status or self.proof not in out:
            raise BenchmarkError(
                f"{' '.join(map(str, self.args))}: exit status {code}, expected {self.status} and "
                f"{self.proof!r} in its output:\n{out[-2000:]}\n{err[-2000:]}"
            )


@dataclass(frozen=True)
class Ratio:
    """One row: medians of both sides, and the ratios taken round by round."""

    what: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    aim: str

    def row(self) -> str:
        ratios = [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        sides = [f"{statistics.median(side):.3g} {self.unit}" for side in (self.ours, self.theirs)]
        median, low, high = statistics.median(ratios), min(ratios), max(ratios)
        cells = [self.what, *sides, f"{median:.2f}", f"{low:.2f}-{high:.2f}"]
        cells += [f"{min(self.ours) / min(self.theirs):.2f}", self.aim]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| what | ours | theirs | ratio | min-max | least/least | aim |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


T = TypeVar("T")


def alternate(ours: Callable[[], T], theirs: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """Both measured `rounds` times, each first in every second round."""
    ours_found: list[T] = []
    theirs_found: list[T] = []
    sides = [(ours, ours_found), (theirs, theirs_found)]
    for i in range(rounds):
        for measure, times in sides if i % 2 == 0 else reversed(sides):
            times.append(measure())
    return ours_found, theirs_found


def _await_orphans() -> None:
    """Wait for workers that are still ending: their processor time counts once they are waited for.

    Linux hands them to this process because it has asked for them.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _processor() -> float:
    """Seconds of processors that all children so far took, and theirs as far as waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pss(pid: int) -> int:
    """Proportional set size in KiB; 0 of a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _family(pid: int) -> Iterator[int]:
    """`pid` and all its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))
