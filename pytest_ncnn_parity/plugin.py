"""The hooks, nothing else. Imports nothing heavy before --ncnn-parity is given."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ncnn_parity import options
from pytest_ncnn_parity.base import sigterm

if TYPE_CHECKING:
    from pytest_ncnn_parity.baseline import Baseline
    from pytest_ncnn_parity.nodes import SpecFile
    from pytest_ncnn_parity.report.records import Carried
    from pytest_ncnn_parity.report.text.progress import Progress
    from pytest_ncnn_parity.session import Session

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
        from pytest_ncnn_parity.report import document
        from pytest_ncnn_parity.spec import schema

        return schema.text(document.schema() if kind == "report" else schema.schema())
    from pytest_ncnn_parity.base import errors
    from pytest_ncnn_parity.spec import starter

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
        from pytest_ncnn_parity.report import run_report, writer

        self._config = config
        self._worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._options = options.read(config)
        self._baseline = _baseline(self._options, self._worker)
        self._report = run_report.RunReport(
            run_report.environment(options.versions(), self._options.shown(config.rootpath))
        )
        self._files = writer.ReportFiles(writer.targets(self._options.reports))
        self._session: Session = _session(config, self._options, self._worker or {}, self._watch)
        self._problems: list[str] = []
        self._nothing = ""
        self._progress: Progress | None = None
        self._share: tempfile.TemporaryDirectory[str] | None = None
        config.stash[SESSION] = self._session
        config.add_cleanup(sigterm.on_sigterm())
        config.add_cleanup(self._session.close)

    def pytest_sessionstart(self) -> None:
        """Write reports that say nothing yet: no former run's are left, and the places are sound."""
        if self._worker is None:
            self._progress = _progress(self._config)
            problems = self._files.write(self._report.document)
            if problems:
                raise pytest.UsageError("\n".join(problems))

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

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        spec, _, _ = report.nodeid.partition("::")
        if report.failed and self._worker is None and spec.endswith(SUFFIX):
            self._report.error(spec, report.longreprtext)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from pytest_ncnn_parity import nodes

        nodes.select(self._session, session.items)
        self._report.state.select(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._report.state.select(ids)

    def _watch(self, text: str) -> None:
        if self._progress is not None:
            self._progress.say(text)

    def _unwatch(self) -> None:
        if self._progress is not None:
            self._progress.clear()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        self._unwatch()
        outcome = yield
        carried = getattr(item, "carried", None)
        if carried and call.when == "call":
            report = outcome.get_result()
            report.ncnn_parity, item.carried = carried, {}  # type: ignore[attr-defined]
            if report.skipped and isinstance(report.longrepr, tuple):
                # the place of a skip is the spec's, not the line of ours that raised it
                path, line, _ = item.reportinfo()
                report.longrepr = (str(path), (line or 0) + 1, carried["case"]["message"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        from pytest_ncnn_parity.report import records, run_state

        if self._worker is not None or run_state.spec_of(report.nodeid) is None:
            return
        carried: Carried = vars(report).pop("ncnn_parity", {})  # pytest keeps reports to the end
        case = carried.get("case")
        if report.outcome not in ("passed", "failed", "skipped"):
            return  # another plugin's word, such as "rerun": the verdict is still to come
        if case is None and report.passed:
            return  # a setup or a teardown
        if case is None:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            case = records.lost(report.nodeid, why)
        elif report.failed and case["outcome"] == "passed":  # known, but it passes: strict
            text = str(report.longrepr)
            case = {**case, "message": text, "headline": text.partition("\n")[0]}
        known = hasattr(report, "wasxfail")
        if self._report.take({**carried, "case": {**case, "outcome": report.outcome, "known": known}}):
            self._files.checkpoint(self._report.document)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._unwatch()
        # Ctrl-C has no text; pytest's own reasons, and xdist's, are its subclasses and have one
        self._report.state.stop(str(excinfo.value) or "interrupted")

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._unwatch()
        self._report.state.stop(f"internal error of pytest: {excinfo.exconly()}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from pytest_ncnn_parity.report import counts

        if self._worker is not None:
            return
        why = session.shouldfail or session.shouldstop
        if why:
            self._report.state.stop(str(why))
        self._report.state.end()
        self._compare(session)
        self._problems = self._files.write(self._report.document)
        if not self._config.option.collectonly:
            typed = bool(self._config.getoption("ncnn_parity"))
            self._nothing = counts.nothing_compared(self._report.document(), typed, self._config.args)
        if self._problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._nothing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _compare(self, session: pytest.Session) -> None:
        """Hold the run against its baseline, before any report is written."""
        if self._baseline is None:
            return
        self._report.since = self._baseline.against(self._report.document(), self._config.rootpath)
        worse = self._report.since["regressions"]
        if worse and self._options.baseline_fail and session.exitstatus in HARMLESS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pytest_ncnn_parity.report.text import github, terminal

        document = self._report.document()
        width = self._config.get_terminal_writer().fullwidth
        verbosity = self._config.option.verbose
        for title, told in (
            ("ncnn parity", terminal.summary(document, verbosity, width)),
            ("ncnn parity baseline", terminal.since_baseline(document, verbosity, width)),
        ):
            lines = list(told)
            if lines and verbosity >= 0:
                terminalreporter.section(title)
            for line, style in lines:
                terminalreporter.write_line(line, **({style: True} if style else {}))
        if self._nothing:
            terminalreporter.write_line(f"WARNING: {self._nothing}", yellow=True)
        for problem in self._problems:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)
        problem = github.write_summary(document, os.environ)
        if problem:
            terminalreporter.write_line(f"WARNING: {problem}", yellow=True)
        for line in github.annotated(document, os.environ, self._config.rootpath):
            terminalreporter.write_line(line)


def _baseline(asked: options.Options, worker: dict[str, Any] | None) -> Baseline | None:
    """Read before anything runs: a run may write its own report over the baseline."""
    if asked.baseline is None or worker is not None:
        return None
    from pytest_ncnn_parity import baseline

    try:
        return baseline.Baseline(asked.baseline, asked.baseline_factor)
    except baseline.BaselineError as error:
        raise pytest.UsageError(f"--ncnn-parity-baseline={asked.baseline}: {error}") from None


def _progress(config: pytest.Config) -> Progress | None:
    """None in a log, with -q, and where xdist's workers do the work."""
    from pytest_ncnn_parity.report.text import progress

    if config.option.verbose < 0 or not config.pluginmanager.has_plugin("terminalreporter"):
        return None
    terminal = config.get_terminal_writer()

    def room() -> int:
        return terminal.fullwidth - terminal.width_of_current_line % terminal.fullwidth - 1

    made = progress.on_terminal(room)
    if made is not None:
        config.add_cleanup(made.close)
    return made


def _session(
    config: pytest.Config,
    asked: options.Options,
    worker: dict[str, Any],
    watch: Callable[[str], None],
) -> Session:
    from pytest_ncnn_parity import session
    from pytest_ncnn_parity.engine import spec_run
    from pytest_ncnn_parity.repair.fix import FixSettings

    settings = spec_run.Settings(
        timeout=asked.timeout,
        memory=asked.memory,
        threads=spec_run.threads(int(worker.get("workercount", 1))),
        accumulated=asked.accumulated,
        watch=watch,
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
    return session.Session(settings, fix, asked.require_vulkan, root, asked.repro)
