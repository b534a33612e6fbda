"""The options: one table for the command line and its ini twins, and their values, checked."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.base import memory
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report.formats import FORMATS

LEAST_MEMORY = 128 << 20  # a worker that has loaded nothing holds 100 MiB


@dataclass(frozen=True)
class Option:
    """`--ncnn-parity-NAME`, in the ini `ncnn_parity_NAME` with underscores. No metavar: a flag.

    `judges`: under another value a verdict may be another. The others say where reports go, what they
    are held against, or what is done once the verdicts stand.
    """

    name: str
    metavar: str | None
    default: str | None
    help: str
    judges: bool = False

    @property
    def key(self) -> str:
        """As a report names it."""
        return self.name.replace("-", "_")

    @property
    def ini(self) -> str:
        return f"ncnn_parity_{self.key}"

    @property
    def flag(self) -> str:
        return f"--ncnn-parity-{self.name}"


TABLE = {
    option.name: option
    for option in (
        *(Option(format_.name, "FILE", None, format_.help) for format_ in FORMATS.values()),
        Option("baseline", "FILE", None, "a saved JSON report: tell what is worse than in it"),
        Option(
            "baseline-factor",
            "FACTOR",
            "2",
            "how many times larger than in the baseline an error or a largest value must be to be told",
        ),
        Option("baseline-fail", None, None, "fail the run where anything is worse than in the baseline"),
        Option(
            "fix",
            "off|suggest|write",
            "suggest",
            "work out masks that repair a red model and prove them by a run; 'write' also puts the "
            "patched .param and a patch into --ncnn-parity-dir",
        ),
        Option("dir", "DIR", ".ncnn-parity", "where --ncnn-parity-fix=write writes"),
        Option("fix-runs", "N", "300", "how many runs of a network a search for masks may take"),
        Option("fix-seconds", "SECONDS", "300", "how long a search for masks may take"),
        Option(
            "repro",
            "DIR",
            None,
            "write each red layer to DIR as a network of its own, with its input and a script that "
            "shows the fault with ncnn alone",
        ),
        Option("timeout", "SECONDS", "120", "how long one step of a network may take", judges=True),
        Option(
            "memory",
            "SIZE",
            "75%",
            "how much memory a worker may hold: MiB, with a unit (8GiB), or of the machine's (75%)",
            judges=True,
        ),
        Option(
            "accumulated",
            None,
            None,
            "beside each layer's own error measure that of the same value in the candidate's own run, "
            "which shows where an output's error grows; runs every layer of a candidate once more",
        ),
        Option(
            "require-vulkan",
            None,
            None,
            "fail, not skip, the cases that need a Vulkan device where there is none",
            judges=True,
        ),
        Option(
            "allow-outside",
            None,
            None,
            "read specs, and the models and inputs they name, that lie outside of the rootdir: by an "
            "absolute path, by '..' or through a link",
            judges=True,
        ),
    )
}


@dataclass(frozen=True)
class Options:
    """What was asked for. Paths are absolute, memory is bytes; `fix` is off, suggest or write.

    `reports` holds the formats that are to be written, and where.
    """

    reports: Mapping[str, Path]
    baseline: Path | None
    baseline_factor: float
    baseline_fail: bool
    fix: str
    dir: Path
    fix_runs: int
    fix_seconds: float
    repro: Path | None
    timeout: float
    memory: int
    accumulated: bool
    require_vulkan: bool
    allow_outside: bool

    def shown(self, root: Path) -> dict[str, str | float | bool | None]:
        """As a report holds them: plain values by ini name, paths in `root` relative to it."""
        values = {**{name: self.reports.get(name) for name in FORMATS}, **vars(self)}
        del values["reports"]
        return {
            name: _relative(value, root) if isinstance(value, Path) else value
            for name, value in values.items()
        }


def add(parser: pytest.Parser, suffix: str) -> None:
    """Make the options known to pytest."""
    group = parser.getgroup("ncnn-parity", "ncnn-parity")
    group.addoption(
        "--ncnn-parity-init",
        metavar="MODEL.param",
        help=f"print a first spec for a model, to be saved as NAME{suffix}, and exit",
    )
    group.addoption(
        "--ncnn-parity-schema",
        choices=("spec", "report"),
        help="print the JSON Schema of specs, for editors, or of the JSON report, and exit",
    )
    what = f"collect *{suffix}: compare ncnn models layer by layer"
    group.addoption(
        "--ncnn-parity", action="store_true", default=None, help=f"{what} (ini: ncnn_parity)"
    )
    parser.addini("ncnn_parity", what, type="bool", default=False)
    for option in TABLE.values():
        told = f"{option.help} (ini: {option.ini}"
        if option.metavar is None:
            group.addoption(option.flag, action="store_true", default=None, help=f"{told})")
            parser.addini(option.ini, option.help, type="bool", default=False)
        else:
            shown = f"{told}, default: {option.default or 'none'})".replace("%", "%%")
            group.addoption(option.flag, default=None, metavar=option.metavar, help=shown)
            parser.addini(option.ini, option.help, type="string", default=option.default)


def given(config: pytest.Config, ini: str) -> Any:
    """The value of an option by its ini name: the command line's, or else the ini's."""
    value = config.getoption(ini)
    return config.getini(ini) if value is None else value


def read(config: pytest.Config) -> Options:
    """All options; UsageError names every one that is wrong."""
    reader = _Reader(config)
    options = Options(
        reports=reader.reports(),
        baseline=reader.path("baseline"),
        baseline_factor=reader.factor("baseline-factor"),
        baseline_fail=reader.flag("baseline-fail"),
        fix=reader.choice("fix"),
        dir=reader.folder("dir", used=given(config, "ncnn_parity_fix") == "write") or config.rootpath,
        fix_runs=math.ceil(reader.above_zero("fix-runs")),
        fix_seconds=reader.above_zero("fix-seconds"),
        repro=reader.folder("repro", used=True),
        timeout=reader.above_zero("timeout"),
        memory=reader.size("memory"),
        accumulated=reader.flag("accumulated"),
        require_vulkan=reader.flag("require-vulkan"),
        allow_outside=reader.flag("allow-outside"),
    )
    reader.lacking(options.reports)
    if reader.problems:
        raise pytest.UsageError("\n".join(reader.problems))
    return options


def versions() -> dict[str, str]:
    """The plugin's version and pytest's, as a report tells them."""
    try:
        plugin = metadata.version("pytest-ncnn-parity")
    except metadata.PackageNotFoundError:  # run from a source tree with -p
        plugin = "not installed"
    return {"plugin": plugin, "pytest": pytest.__version__}


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


class _Reader:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.problems: list[str] = []

    def flag(self, name: str) -> bool:
        return bool(given(self._config, TABLE[name].ini))

    def path(self, name: str) -> Path | None:
        """From the command line relative to where pytest was called; from the ini, to the rootdir."""
        option = TABLE[name]
        typed = self._config.getoption(option.ini)
        if typed is not None:
            if not str(typed).strip():
                self._refuse(option, typed, "expected a path")
                return None
            return self._config.invocation_params.dir / str(typed)
        ini = self._config.getini(option.ini)
        return self._config.rootpath / ini if ini else None

    def output(self, name: str) -> Path | None:
        """A path at which a file can be written, as far as can be told before."""
        path = self.path(name)
        if path is not None:
            self._try(TABLE[name], path, path.parent)
        return path

    def reports(self) -> dict[str, Path]:
        """Where each format is to be written that was asked for, and can be."""
        return {name: path for name in FORMATS if (path := self.output(name)) is not None}

    def lacking(self, asked: Iterable[str]) -> None:
        """Refuse formats that need packages which are not there."""
        for name in asked:
            option, needs = TABLE[name], FORMATS[name].needs
            if not all(map(find_spec, needs)):
                packages = " and ".join(map(str.capitalize, needs))
                extra = f"pip install 'pytest-ncnn-parity[{name}]'"
                self.problems.append(f"{option.flag} needs {packages}: {extra} (ini: {option.ini})")

    def folder(self, name: str, used: bool) -> Path | None:
        """A path at which a folder can be made, if it is `used`, as far as can be told before."""
        path = self.path(name)
        if path is not None and used:
            self._try(TABLE[name], path, path)
        return path

    def _try(self, option: Option, path: Path, folder: Path) -> None:
        """Write in `folder`, or where it will be made: a run may take an hour before it does."""
        try:
            if path != folder and path.exists() and not path.is_file():
                self._refuse(option, path, "expected a file to write, found something else there")
                return
            there = next(p for p in (folder, *folder.parents) if p.exists())
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            self._refuse(option, path, f"cannot be written: {error.strerror}")

    def _refuse(self, option: Option, value: object, expected: str) -> None:
        told = f"{option.flag}={printable(str(value))}: {expected} (ini: {option.ini})"
        self.problems.append(told)

    def choice(self, name: str) -> str:
        option = TABLE[name]
        assert option.metavar is not None
        *rest, last = option.metavar.split("|")
        return self._valid(option, lambda text: text in {*rest, last}, f"{', '.join(rest)} or {last}")

    def above_zero(self, name: str) -> float:
        option = TABLE[name]
        what = "a number of seconds above 0" if option.metavar == "SECONDS" else "a number above 0"
        text = self._valid(option, lambda text: 0.0 < _number(text) < 1e6, what)
        return _number(text)

    def size(self, name: str) -> int:
        expected = f"{memory.shown(LEAST_MEMORY)} or more, as MiB, 8GiB or 75%"
        text = self._valid(TABLE[name], lambda text: (memory.parse(text) or 0) >= LEAST_MEMORY, expected)
        return memory.parse(text) or LEAST_MEMORY

    def factor(self, name: str) -> float:
        option = TABLE[name]
        return _number(
            self._valid(option, lambda text: 1.0 < _number(text) < math.inf, "a number above 1")
        )

    def _valid(self, option: Option, accepts: Callable[[str], bool], expected: str) -> str:
        text = str(given(self._config, option.ini))
        if not accepts(text):
            self._refuse(option, text, f"expected {expected}")
            return str(option.default)
        return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
