"""Hooks and options, nothing else. Imports nothing heavy before --ncnn-parity is given."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_ncnn_parity.nodes import Session, SpecFile
    from pytest_ncnn_parity.report.records import Records

SUFFIX = ".parity.yaml"

# option (ini: the same with underscores) -> type of the ini value, default, metavar, help
_VALUES: dict[str, tuple[str, Any, str, str]] = {
    "json": ("string", None, "FILE", "write the results to FILE as JSON"),
    "fix": (
        "string",
        "suggest",
        "off|suggest|write",
        "work out masks that repair a red model and prove them by a run; 'write' also puts the "
        "patched .param and a patch into --ncnn-parity-dir",
    ),
    "dir": ("string", ".ncnn-parity", "DIR", "where --ncnn-parity-fix=write writes"),
    "fix-runs": ("string", "300", "N", "how many runs of a network a search for masks may take"),
    "fix-seconds": ("string", "300", "SECONDS", "how long a search for masks may take"),
    "timeout": ("string", "120", "SECONDS", "how long one step of a network may take"),
}
_FLAGS = {
    "require-vulkan": "fail, not skip, the cases that need a Vulkan device where there is none",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ncnn-parity", "ncnn-parity")
    group.addoption(
        "--ncnn-parity",
        action="store_true",
        default=None,
        help=f"collect *{SUFFIX}: compare ncnn models layer by layer (ini: ncnn_parity)",
    )
    parser.addini("ncnn_parity", f"collect *{SUFFIX}", type="bool", default=False)
    for name, (kind, default, metavar, text) in _VALUES.items():
        ini = "ncnn_parity_" + name.replace("-", "_")
        shown = f"{text} (ini: {ini}, default: {default or 'none'})"
        group.addoption(f"--ncnn-parity-{name}", default=None, metavar=metavar, help=shown)
        parser.addini(ini, text, type=kind, default=default)  # type: ignore[arg-type]
    for name, text in _FLAGS.items():
        ini = "ncnn_parity_" + name.replace("-", "_")
        shown = f"{text} (ini: {ini})"
        group.addoption(f"--ncnn-parity-{name}", action="store_true", default=None, help=shown)
        parser.addini(ini, text, type="bool", default=False)


def _option(config: pytest.Config, name: str) -> Any:
    given = config.getoption(name)
    return config.getini(name) if given is None else given


def pytest_configure(config: pytest.Config) -> None:
    if _option(config, "ncnn_parity"):
        config.pluginmanager.register(_Gate(config), "ncnn_parity_gate")


class _Gate:
    """The hooks of a run with --ncnn-parity: in a process that runs cases, and in one that reports."""

    def __init__(self, config: pytest.Config) -> None:
        from pytest_ncnn_parity.nodes import SESSION
        from pytest_ncnn_parity.report.records import Records

        self._config = config
        self._worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._records: Records = Records()
        self._session: Session = _session(config, self._worker or {})
        self._json = _path(config, "ncnn_parity_json")
        self._problem = ""
        self._share: tempfile.TemporaryDirectory[str] | None = None
        config.stash[SESSION] = self._session
        config.add_cleanup(self._session.close)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give every xdist worker one folder in which they tell each other results."""
        if self._share is None:
            self._share = tempfile.TemporaryDirectory(prefix="ncnn-parity-")
            self._config.add_cleanup(self._share.cleanup)
        node.workerinput["ncnn_parity_share"] = self._share.name

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        if not file_path.name.endswith(SUFFIX):
            return None
        from pytest_ncnn_parity.nodes import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._session.select(session.items)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        outcome = yield
        told = getattr(item, "told", None)
        if told and call.when == "call":
            report = outcome.get_result()
            report.ncnn_parity = told
            if report.skipped and isinstance(report.longrepr, tuple):
                # the place of a skip is the spec's, not the line of ours that raised it
                path, line, _ = item.reportinfo()
                report.longrepr = (str(path), (line or 0) + 1, told["case"]["message"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = getattr(report, "ncnn_parity", None)
        if told is not None and self._worker is None:
            case = {"nodeid": report.nodeid, **told["case"], "known": hasattr(report, "wasxfail")}
            if report.failed and case["outcome"] == "passed":  # known, but it passes: strict
                case["message"] = str(report.longrepr)
            self._records.add({**told, "case": {**case, "outcome": report.outcome}})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._worker is not None or self._json is None:
            return
        from pytest_ncnn_parity.report import json_file

        try:
            json_file.write(self._records.document(), self._json)
        except OSError as error:
            self._problem = f"--ncnn-parity-json={self._json}: cannot be written: {error}"
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pytest_ncnn_parity.report import terminal

        lines = list(terminal.summary(self._records, self._config.option.verbose))
        if lines:
            terminalreporter.section("ncnn parity")
            for line in lines:
                terminalreporter.write_line(line)
        if self._problem:
            terminalreporter.write_line(f"ERROR: {self._problem}", red=True)


def _session(config: pytest.Config, worker: dict[str, Any]) -> Session:
    from pytest_ncnn_parity import nodes, runs
    from pytest_ncnn_parity.fixes import FixSettings

    fix = _option(config, "ncnn_parity_fix")
    if fix not in ("off", "suggest", "write"):
        raise pytest.UsageError(
            f"--ncnn-parity-fix={fix}: expected off, suggest or write (ini: ncnn_parity_fix)"
        )
    settings = runs.Settings(
        timeout=_above_zero(config, "timeout"),
        threads=runs.threads(int(worker.get("workercount", 1))),
        share=Path(worker["ncnn_parity_share"]) if "ncnn_parity_share" in worker else None,
    )
    folder = _path(config, "ncnn_parity_dir")
    assert folder is not None
    return nodes.Session(
        settings,
        None
        if fix == "off"
        else FixSettings(
            fix == "write",
            folder,
            config.rootpath,
            runs=math.ceil(_above_zero(config, "fix-runs")),
            seconds=_above_zero(config, "fix-seconds"),
        ),
        bool(_option(config, "ncnn_parity_require_vulkan")),
    )


def _path(config: pytest.Config, name: str) -> Path | None:
    """A path from the command line, relative to where pytest was called; from the ini, to rootdir."""
    given = config.getoption(name)
    if given is not None:
        return config.invocation_params.dir / str(given)
    ini = config.getini(name)
    return config.rootpath / ini if ini else None


def _above_zero(config: pytest.Config, name: str) -> float:
    ini = "ncnn_parity_" + name.replace("-", "_")
    given = str(_option(config, ini))
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e6:
        what = "a number of seconds above 0" if _VALUES[name][2] == "SECONDS" else "a number above 0"
        raise pytest.UsageError(f"--ncnn-parity-{name}={given}: expected {what} (ini: {ini})")
    return number
