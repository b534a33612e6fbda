"""The report files: written when a run starts, when a spec is finished, and at the end.

So a run that is killed leaves what it had found, and no file of an earlier run is taken for its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_ncnn_parity.options import TABLE, Options

Document = dict[str, Any]

# A report is written whole each time, so with many specs the writing would outgrow the run. In all
# each may take this share of it; and this many seconds, so that a page of a few specs misses none.
SHARE = 0.03
GRACE_SECONDS = 10.0


@dataclass
class Target:
    """One report: the option that asked for it, its place, what writes it there, and what that cost."""

    flag: str
    path: Path
    write: Callable[[Document, Path], None]
    spent: float = 0.0
    last: float = 0.0


def targets(asked: Options) -> list[Target]:
    """The reports that were asked for."""
    found = []
    for name, path, room in (("json", asked.json, "json_file"), ("html", asked.html, "html")):
        if path is not None:
            write = import_module(f"pytest_ncnn_parity.report.{room}").write
            found.append(Target(TABLE[name].flag, path, write))
    return found


@dataclass
class Files:
    """All reports of a run."""

    targets: list[Target]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start = self.clock()

    def write(self, make: Callable[[], Document]) -> list[str]:
        """Write every report, at a run's start or end; what could not be written, in words."""
        problems = self._write(self.targets, make)
        for target in self.targets:  # what is done once, as importing what writes it, is no part of it
            target.spent = target.last = 0.0
        return problems

    def checkpoint(self, make: Callable[[], Document]) -> None:
        """Write every report, but those of which all this writing has come to cost too much.

        What cannot be written now is told at the end, should it still be so.
        """
        allowed = GRACE_SECONDS + SHARE * (self.clock() - self._start)
        self._write([one for one in self.targets if one.spent + one.last <= allowed], make)

    def _write(self, targets: list[Target], make: Callable[[], Document]) -> list[str]:
        problems = []
        document = make() if targets else {}
        for target in targets:
            begun = self.clock()
            try:
                target.write(document, target.path)
            except OSError as error:
                problems.append(f"{target.flag}={target.path}: cannot be written: {error}")
            target.last = self.clock() - begun
            target.spent += target.last
        return problems
