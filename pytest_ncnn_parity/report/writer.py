"""The report files: written when a run starts, when a spec is finished, and at the end.

So a run that is killed leaves a report of what it did, and no earlier report is mistaken for its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ncnn_parity.base import write_files
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.formats import FORMATS

# A report is written as a whole each time, so with many specs the writing would take longer than the
# run. All writes of a report may take this share of the run, and these seconds in addition, so that
# the page of a few specs is written after each of them.
SHARE = 0.03
GRACE_SECONDS = 10.0


@dataclass
class Target:
    """One report file: the option that asks for it, its path, its renderer, and the time spent on it."""

    flag: str
    path: Path
    render: Callable[[Report], str]
    spent: float = 0.0
    last: float = 0.0

    def write(self, document: Report) -> None:
        """Write the report. Raises OSError if that is not possible."""
        write_files.write(self.render(document), self.path, "backslashreplace")


def targets(paths: Mapping[str, Path]) -> list[Target]:
    """Return the reports that were asked for, given the path for each format."""
    return [Target(one.flag, paths[name], one.render) for name, one in FORMATS.items() if name in paths]


@dataclass
class ReportFiles:
    """All report files of a run."""

    targets: list[Target]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start = self.clock()

    def write(self, make: Callable[[], Report]) -> list[str]:
        """Write every report, at a run's start or end; return messages about those that failed."""
        problems = self._write(self.targets, make)
        for target in self.targets:  # what is done only once, such as imports, is not counted
            target.spent = target.last = 0.0
        return problems

    def checkpoint(self, make: Callable[[], Report]) -> None:
        """Write every report, except those whose writing has taken too large a share of the run.

        What cannot be written now is reported at the end, if it still cannot be written then.
        """
        allowed = GRACE_SECONDS + SHARE * (self.clock() - self._start)
        self._write([one for one in self.targets if one.spent + one.last <= allowed], make)

    def _write(self, targets: list[Target], make: Callable[[], Report]) -> list[str]:
        problems: list[str] = []
        if not targets:
            return problems
        document = make()
        for target in targets:
            begun = self.clock()
            try:
                target.write(document)
            except OSError as error:
                problems.append(f"{target.flag}={target.path}: cannot be written: {error}")
            target.last = self.clock() - begun
            target.spent += target.last
        return problems
