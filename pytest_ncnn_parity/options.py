"""The table of options: command line, ini twins, defaults, help, and the type of the values.

Nothing heavy may be imported here, because every run of pytest reads the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.report.formats import FORMATS

MARKER = "ncnn_parity"  # every case has this marker, for -m


class Option(Frozen):
    """The option `--ncnn-parity-NAME`, or `ncnn_parity_NAME` (with underscores) in the ini.

    It is a flag if it has no metavar. `judges`: its value may change a verdict; the others say where
    reports go, what they are compared with, or what is done once the verdicts are known. `many`: it may
    be given several times; its name in the ini is the plural, with one value per line.
    """

    name: str
    metavar: str | None
    default: str | None
    help: str
    judges: bool = False
    many: bool = False

    @property
    def key(self) -> str:
        """The name that reports use."""
        return self.name.replace("-", "_") + ("s" if self.many else "")

    @property
    def ini(self) -> str:
        return f"ncnn_parity_{self.key}"

    @property
    def takes_number(self) -> bool:
        """Whether the value may be a number, which a TOML file writes without quotes."""
        return self.metavar in {"N", "FACTOR", "SECONDS", "SIZE"}

    @property
    def flag(self) -> str:
        return f"--ncnn-parity-{self.name}"


TABLE = {
    option.name: option
    for option in (
        *(Option(format_.name, "FILE", None, format_.help) for format_ in FORMATS.values()),
        Option(
            "cache",
            "DIR",
            None,
            "keep verdicts in DIR, and run again only what has changed",
        ),
        Option("baseline", "FILE", None, "a saved JSON report: report what is worse than in it"),
        Option(
            "baseline-factor",
            "FACTOR",
            "2",
            "how many times larger than in the baseline an error or a largest value must be to be "
            "reported as worse",
        ),
        Option("baseline-fail", None, None, "fail the run if anything is worse than in the baseline"),
        Option(
            "fix",
            "off|suggest|write",
            "suggest",
            "search for masks that fix a red model and prove them by running it; 'write' also writes "
            "the patched .param and a patch to --ncnn-parity-dir",
        ),
        Option("dir", "DIR", ".ncnn-parity", "the folder that --ncnn-parity-fix=write writes to"),
        Option("fix-runs", "N", "300", "how many runs of a network a search for masks may take"),
        Option("fix-seconds", "SECONDS", "300", "how long a search for masks may take"),
        Option(
            "repro",
            "DIR",
            None,
            "write each red layer to DIR as a network of its own, with its inputs, and a Python script "
            "and a C++ program that show the fault without this plugin",
        ),
        Option("timeout", "SECONDS", "120", "how long one step of a network may take", judges=True),
        Option(
            "memory",
            "SIZE",
            "75%",
            "how much memory a worker may use: in MiB, with a unit (8GiB), or as a share of the "
            "machine's (75%)",
            judges=True,
        ),
        Option(
            "accumulated",
            None,
            None,
            "also measure each value's error in the candidate's own run, which shows where the error of "
            "an output grows; runs every layer of a candidate once more",
        ),
        Option(
            "require-vulkan",
            None,
            None,
            "fail, instead of skipping, the cases that need a Vulkan device if there is none",
            judges=True,
        ),
        Option(
            "worker",
            "NAME:HOW",
            None,
            "declare a worker, which is another ncnn that specs may name, as NAME: and one of "
            "python=PYTHON, command='WORDS', ssh=HOST or adb=SERIAL; python=, threads=N and emulated "
            "may be added",
            judges=True,
            many=True,
        ),
        Option(
            "require-workers",
            None,
            None,
            "fail, instead of skipping, the cases of workers that are not declared",
            judges=True,
        ),
        Option(
            "allow-outside",
            None,
            None,
            "also read specs, models and inputs that lie outside of the rootdir: by an absolute path, "
            "by '..' or through a link",
            judges=True,
        ),
    )
}


class Options(Frozen):
    """The values of all options: paths are absolute, `fix` is off, suggest or write.

    `timeout` and `fix_seconds` are in seconds, `memory` is in bytes. `reports` maps the formats that are
    to be written to their paths.
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
    cache: Path | None
    timeout: float
    memory: int
    accumulated: bool
    require_vulkan: bool
    workers: Mapping[str, Worker]
    require_workers: bool
    allow_outside: bool

    @property
    def judging(self) -> dict[str, str]:
        """The values, by key, that may change a verdict or what is measured beside it.

        The memory is rounded to two digits, because a share of the machine's differs slightly after each
        start.
        """
        values = {option.key: vars(self)[option.key] for option in TABLE.values() if option.judges}
        values |= {"memory": f"{self.memory:.1e}", "accumulated": self.accumulated}
        return {name: str(value) for name, value in values.items()}

    def shown(self, root: Path) -> dict[str, str | float | bool | None]:
        """The values as a report holds them: plain, by key, paths within `root` relative to it."""
        values = {**{name: self.reports.get(name) for name in FORMATS}, **vars(self)}
        del values["reports"]
        values["workers"] = "; ".join(f"{w.name}: {w}" for w in self.workers.values()) or None
        return {
            name: _relative(value, root) if isinstance(value, Path) else value
            for name, value in values.items()
        }


class Source(Frozen):
    """Looks up values by their ini names; `typed` returns None for what is not on the command line.

    Paths on the command line are relative to `called_in`, paths in the ini to `rootdir`.
    """

    typed: Callable[[str], object]
    configured: Callable[[str], object]
    called_in: Path
    rootdir: Path

    @property
    def gate_typed(self) -> bool:
        """Whether the command line requests the gate, by its own option or by one of the table."""
        names = ("ncnn_parity", *(option.ini for option in TABLE.values()))
        return any(self.typed(name) is not None for name in names)

    @property
    def gate_wanted(self) -> bool:
        """Whether the gate is requested at all."""
        return self.gate_typed or bool(self.configured("ncnn_parity"))

    def value(self, ini: str) -> object:
        """The command line's value if there is one, otherwise the ini's."""
        typed = self.typed(ini)
        return self.configured(ini) if typed is None else typed


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
