"""The hooks, nothing else. Imports nothing heavy before --ncnn-parity is given."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ncnn_parity import interrupt, options

if TYPE_CHECKING:
    from pytest_ncnn_parity.baseline import Baseline
    from pytest_ncnn_parity.nodes import Session, SpecFile
    from pytest_ncnn_parity.report.records import Records

SUFFIX = ".parity.yaml"
HARMLESS = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser, SUFFIX)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print what was asked for, and nothing else, in place of a run."""
    model, kind = (config.getoption(f"ncnn_parity_{name}") for name in ("init", "schema"))
    if model is None and kind is None:
        return None
    if model is not None and kind is not None:
        raise pytest.UsageError("--ncnn-parity-init and --ncnn-parity-schema: ask for one of them")
    sys.stdout.buffer.write(_asked_for(config, model, kind).encode())
    sys.stdout.flush()
    return pytest.ExitCode.OK


def _asked_for(config: pytest.Config, model: str | None, kind: str | None) -> str:
    if model is None:
        from pytest_ncnn_parity import schemas

        return schemas.text(str(kind))
    from pytest_ncnn_parity import errors, starter

    try:
        return starter.starter(Path(model), config.invocation_params.dir)
    except errors.ParityError as error:
        raise pytest.UsageError(f"--ncnn-parity-init: {error}") from None


def pytest_configure(config: pytest.Config) -> None:
    if options.given(config, "ncnn_parity"):
        config.pluginmanager.register(_Gate(config), "ncnn_parity_gate")


class _Gate:
    """The hooks of a run with --ncnn-parity: in a process that runs cases, and in one that reports."""

    def __init__(self, config: pytest.Config) -> None:
        from pytest_ncnn_parity.nodes import SESSION
        from pytest_ncnn_parity.report.records import Records

        self._config = config
        self._worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._options = options.read(config)
        self._baseline = _baseline(self._options, self._worker)
        environment = {**options.versions(), "options": options.told(self._options, config.rootpath)}
        self._records: Records = Records(environment=environment)
        self._session: Session = _session(config, self._options, self._worker or {})
        self._problems: list[str] = []
        self._share: tempfile.TemporaryDirectory[str] | None = None
        config.stash[SESSION] = self._session
        config.add_cleanup(interrupt.on_sigterm())
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
        if self._worker is not None:
            return
        self._compare(session)
        for name in ("json_file", "html"):
            path = getattr(self._options, name.removesuffix("_file"))
            if path is None:
                continue
            report = import_module(f"pytest_ncnn_parity.report.{name}")
            try:
                report.write(self._records.document(), path)
            except OSError as error:
                flag = options.TABLE[name.removesuffix("_file")].flag
                self._problems.append(f"{flag}={path}: cannot be written: {error}")
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _compare(self, session: pytest.Session) -> None:
        """Hold the run against its baseline, before any report is written."""
        if self._baseline is None:
            return
        self._records.since = self._baseline.against(self._records.document(), self._config.rootpath)
        worse = self._records.since["regressions"]
        if worse and self._options.baseline_fail and session.exitstatus in HARMLESS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pytest_ncnn_parity.report import since, terminal

        lines = list(terminal.summary(self._records, self._config.option.verbose))
        if lines:
            terminalreporter.section("ncnn parity")
            for line in lines:
                terminalreporter.write_line(line)
        lines = list(since.lines(self._records.document(), self._config.option.verbose))
        if lines:
            terminalreporter.section("ncnn parity baseline")
            for line in lines:
                terminalreporter.write_line(line)
        for problem in self._problems:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)


def _baseline(asked: options.Options, worker: dict[str, Any] | None) -> Baseline | None:
    """Read before anything runs: a run may write its own report over the baseline."""
    if asked.baseline is None or worker is not None:
        return None
    from pytest_ncnn_parity import baseline

    try:
        return baseline.Baseline(asked.baseline, asked.baseline_factor)
    except baseline.BaselineError as error:
        raise pytest.UsageError(f"--ncnn-parity-baseline={asked.baseline}: {error}") from None


def _session(config: pytest.Config, asked: options.Options, worker: dict[str, Any]) -> Session:
    from pytest_ncnn_parity import nodes, runs
    from pytest_ncnn_parity.fixes import FixSettings

    settings = runs.Settings(
        timeout=asked.timeout,
        memory=asked.memory,
        threads=runs.threads(int(worker.get("workercount", 1))),
        accumulated=asked.accumulated,
        share=Path(worker["ncnn_parity_share"]) if "ncnn_parity_share" in worker else None,
    )
    fix = None
    if asked.fix != "off":
        fix = FixSettings(
            asked.fix == "write",
            asked.dir,
            config.rootpath,
            runs=asked.fix_runs,
            seconds=asked.fix_seconds,
        )
    root = None if asked.allow_outside else config.rootpath
    return nodes.Session(settings, fix, asked.require_vulkan, root, asked.repro)
