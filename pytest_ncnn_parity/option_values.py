"""Validates all options, from the command line or the ini, and reports every wrong value."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from pytest_ncnn_parity.base import memory, read_files
from pytest_ncnn_parity.base.errors import ParityErrors
from pytest_ncnn_parity.base.printable import bytes_shown, printable
from pytest_ncnn_parity.base.write_files import may_be_written
from pytest_ncnn_parity.engine import workers
from pytest_ncnn_parity.options import TABLE, Option, Options, Source
from pytest_ncnn_parity.report.formats import FORMATS
from pytest_ncnn_parity.spec import SUFFIX

LEAST_MEMORY = 128 << 20  # a worker that has loaded no network uses 100 MiB

# Endings of files that specs name. A report of that name would replace such a file.
READ = (SUFFIX, ".param", ".bin", ".npy", ".npz", ".py")


class OptionsError(ParityErrors):
    """Options that cannot be followed, one per line."""


def read(source: Source, misnamed: Iterable[str] = ()) -> Options:
    """Return the values of all options. Raises OptionsError, which names every wrong one.

    `misnamed`: an error for each setting that is no option of ours, though its name begins as theirs do.
    """
    reader = _Reader(source, misnamed)
    options = Options(
        reports=reader.reports(),
        baseline=reader.path("baseline"),
        baseline_factor=reader.factor("baseline-factor"),
        baseline_fail=reader.flag("baseline-fail"),
        fix=reader.choice("fix"),
        dir=reader.folder("dir", used=source.value(TABLE["fix"].ini) == "write")
        or source.rootdir / str(TABLE["dir"].default),
        fix_runs=reader.whole("fix-runs"),
        fix_seconds=reader.seconds("fix-seconds"),
        repro=reader.folder("repro", used=True),
        cache=reader.folder("cache", used=True),
        timeout=reader.seconds("timeout"),
        memory=reader.size("memory"),
        accumulated=reader.flag("accumulated"),
        require_vulkan=reader.flag("require-vulkan"),
        workers=reader.workers(),
        require_workers=reader.flag("require-workers"),
        allow_outside=reader.flag("allow-outside"),
    )
    reader.lacking(options.reports)
    if options.baseline is None:
        reader.needs_baseline()
    if reader.problems:
        raise OptionsError(reader.problems)
    return options


class _Reader:
    """Reads options by name; a wrong value adds to `problems` and gives a substitute."""

    def __init__(self, source: Source, misnamed: Iterable[str]) -> None:
        self._source = source
        self.problems = list(misnamed)

    def flag(self, name: str) -> bool:
        return bool(self._source.value(TABLE[name].ini))

    def workers(self) -> dict[str, workers.Worker]:
        """Return the declared workers; the command line takes precedence over the ini."""
        option, source = TABLE["worker"], self._source

        def lines(given: object, folder: Path) -> workers.Lines:
            several = given if isinstance(given, list) else [given] if given else []
            return workers.Lines(tuple(map(str, several)), folder)

        try:
            return workers.declared(
                lines(source.configured(option.ini), source.rootdir),
                lines(source.typed(option.ini), source.called_in),
            )
        except workers.WorkerErrors as wrong:
            self.problems += [f"{option.flag}={line} (ini: {option.ini})" for line in wrong.errors]
            return {}

    def path(self, name: str) -> Path | None:
        option = TABLE[name]
        typed = self._source.typed(option.ini)
        if typed is not None:
            if not str(typed).strip():
                self._refuse(option, typed, "expected a path")
                return None
            return read_files.written(str(typed), self._source.called_in)
        configured = self._source.configured(option.ini)
        if not configured:
            return None
        if not isinstance(configured, str):
            self._refuse(option, configured, "expected a path")
            return None
        return read_files.written(configured, self._source.rootdir)

    def output(self, name: str) -> Path | None:
        """Return a path at which a file can be written, as far as this can be checked beforehand."""
        path = self.path(name)
        if path is not None:
            self._try(TABLE[name], path, path.parent)
        return path

    def reports(self) -> dict[str, Path]:
        """Return the path of each requested format whose report can be written."""
        reports = {name: path for name in FORMATS if (path := self.output(name)) is not None}
        by_file: dict[Path, str] = {}
        for name, path in reports.items():
            first = by_file.setdefault(path.resolve(), name)
            if first != name:
                expected = f"expected another file than that of {TABLE[first].flag}"
                self._refuse(TABLE[name], path, expected)
        return reports

    def needs_baseline(self) -> None:
        """Refuse what the command line says of a comparison with a baseline where there is none."""
        for option in (TABLE["baseline-factor"], TABLE["baseline-fail"]):
            is_wrong = any(problem.startswith(option.flag) for problem in self.problems)
            if self._source.typed(option.ini) and not is_wrong:
                self.problems.append(f"{option.flag} needs {TABLE['baseline'].flag}=FILE")

    def lacking(self, asked: Iterable[str]) -> None:
        """Refuse the formats that need packages which are not installed."""
        for name in asked:
            option, needs = TABLE[name], FORMATS[name].needs
            if not all(map(find_spec, needs)):
                packages = " and ".join(map(str.capitalize, needs))
                install = f"pip install {' '.join(needs)}"
                self.problems.append(f"{option.flag} needs {packages}: {install} (ini: {option.ini})")

    def folder(self, name: str, used: bool) -> Path | None:
        """Return a path at which a folder can be created.

        If it is `used`, this is checked as far as possible beforehand.
        """
        path = self.path(name)
        if path is not None and used:
            self._try(TABLE[name], path, path)
        return path

    def _try(self, option: Option, path: Path, folder: Path) -> None:
        """Write in `folder`, or where it will be created: a run may take an hour before it writes."""
        try:
            if path != folder and not may_be_written(path):
                self._refuse(option, path, "expected a file, and found something else under that name")
                return
            if path != folder and path.name.endswith(READ) and path.exists():
                self._refuse(option, path, "expected a report, and not a file that a gate reads")
                return
            there = next(p for p in (folder, *folder.parents) if p.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            self._refuse(option, path, f"cannot be written: {error.strerror}")

    def _refuse(self, option: Option, value: object, expected: str) -> None:
        self.problems.append(f"{option.flag}={printable(str(value))}: {expected} (ini: {option.ini})")

    def choice(self, name: str) -> str:
        option = TABLE[name]
        assert option.metavar is not None
        *rest, last = option.metavar.split("|")
        return self._valid(option, lambda text: text in {*rest, last}, f"{', '.join(rest)} or {last}")

    def seconds(self, name: str) -> float:
        what = "a number of seconds above 0 and below a million"
        return _number(self._valid(TABLE[name], lambda text: 0.0 < _number(text) < 1e6, what))

    def whole(self, name: str) -> int:
        def is_whole(text: str) -> bool:
            return text.isdecimal() and 0.0 < _number(text) < 1e6

        return int(self._valid(TABLE[name], is_whole, "a whole number above 0 and below a million"))

    def size(self, name: str) -> int:
        expected = f"{bytes_shown(LEAST_MEMORY)} or more, as MiB, 8GiB or 75%"
        given = str(self._source.value(TABLE[name].ini))
        share = memory.parse(given) if given.endswith("%") else None
        if share is not None:
            expected += f"; here {given} is {bytes_shown(share)}"
        text = self._valid(TABLE[name], lambda text: (memory.parse(text) or 0) >= LEAST_MEMORY, expected)
        return memory.parse(text) or LEAST_MEMORY

    def factor(self, name: str) -> float:
        option = TABLE[name]
        return _number(
            self._valid(option, lambda text: 1.0 < _number(text) < math.inf, "a number above 1")
        )

    def _valid(self, option: Option, accepts: Callable[[str], bool], expected: str) -> str:
        text = str(self._source.value(option.ini))
        if not accepts(text):
            self._refuse(option, text, f"expected {expected}")
            return str(option.default)
        return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
