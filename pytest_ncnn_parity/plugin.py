"""The hooks, nothing else. Imports nothing heavy before --ncnn-parity is given."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ncnn_parity import options
from pytest_ncnn_parity.base import sigterm

if TYPE_CHECKING:
    from pytest_ncnn_parity.nodes import SpecFile
    from pytest_ncnn_parity.report.text.progress import Progress

SUFFIX = ".parity.yaml"
HARMLESS = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ncnn-parity", "ncnn-parity")
    group.addoption(
        "--ncnn-parity-init",
        metavar="MODEL.param",
        help=f"print a first spec for a model, to be saved as NAME{SUFFIX}, and exit",
    )
    group.addoption(
        "--ncnn-parity-schema",
        choices=("spec", "report"),
        help="print the JSON Schema of specs, for editors, or of the JSON report, and exit",
    )
    collect = f"collect *{SUFFIX}: compare ncnn models layer by layer"
    group.addoption(
        "--ncnn-parity", action="store_true", default=None, help=f"{collect} (ini: ncnn_parity)"
    )
    parser.addini("ncnn_parity", collect, type="bool", default=False)
    for option in options.TABLE.values():
        if option.metavar is None:
            text = f"{option.help} (ini: {option.ini})"
            group.addoption(option.flag, action="store_true", default=None, help=text)
            parser.addini(option.ini, option.help, type="bool", default=False)
        else:
            text = f"{option.help} (ini: {option.ini}, default: {option.default or 'none'})"
            text = text.replace("%", "%%")
            group.addoption(option.flag, default=None, metavar=option.metavar, help=text)
            parser.addini(option.ini, option.help, type="string", default=option.default)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print what was asked for, and nothing else, in place of a run."""
    model, schema = (config.getoption(f"ncnn_parity_{name}") for name in ("init", "schema"))
    if model is None and schema is None:
        return None
    if model is not None and schema is not None:
        raise pytest.UsageError("--ncnn-parity-init and --ncnn-parity-schema: ask for one of them")
    text = _schema(schema) if model is None else _first_spec(config, Path(model))
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
    return pytest.ExitCode.OK


def _schema(of: str) -> str:
    from pytest_ncnn_parity.report import document
    from pytest_ncnn_parity.spec import spec

    schema = {"spec": spec.schema, "report": document.schema}[of]()
    return json.dumps(schema, indent=2) + "\n"


def _first_spec(config: pytest.Config, model: Path) -> str:
    from pytest_ncnn_parity.base import errors
    from pytest_ncnn_parity.spec import starter

    try:
        return starter.starter(model, config.invocation_params.dir)
    except errors.ParityError as error:
        raise pytest.UsageError(f"--ncnn-parity-init: {error}") from None


def pytest_configure(config: pytest.Config) -> None:
    source = options.Source(
        config.getoption, config.getini, config.invocation_params.dir, config.rootpath
    )
    if not source.value("ncnn_parity"):
        return
    from pytest_ncnn_parity.option_values import OptionsError, read

    try:
        asked = read(source)
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(ReportingHooks(config, asked), "ncnn_parity_reporting")
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(RunningHooks(config, asked), "ncnn_parity_running")


class RunningHooks:
    """The hooks of every process that collects and runs cases."""

    def __init__(self, config: pytest.Config, asked: options.Options) -> None:
        from pytest_ncnn_parity.nodes import SESSION
        from pytest_ncnn_parity.session import session

        self._config = config
        self._progress: Progress | None = None
        xdist: dict[str, Any] = getattr(config, "workerinput", {})
        share = xdist.get("ncnn_parity_share")
        processes = int(xdist.get("workercount", 1))
        self._session = session(
            asked, config.rootpath, self._show, processes, None if share is None else Path(share)
        )
        config.stash[SESSION] = self._session
        config.add_cleanup(sigterm.on_sigterm())
        config.add_cleanup(self._session.close)

    def pytest_sessionstart(self) -> None:
        self._progress = _progress(self._config)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        if not file_path.name.endswith(SUFFIX):
            return None
        from pytest_ncnn_parity.nodes import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, None]:
        from pytest_ncnn_parity import nodes

        outcome = yield
        nodes.carry_fault(collector, outcome.get_result())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from pytest_ncnn_parity import nodes

        nodes.select(self._session, session.items)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        from pytest_ncnn_parity import nodes

        self._show_nothing()
        outcome = yield
        if call.when == "call":
            nodes.carry(item, outcome.get_result())

    def pytest_keyboard_interrupt(self) -> None:
        self._show_nothing()

    def pytest_internalerror(self) -> None:
        self._show_nothing()

    def _show(self, work: str) -> None:
        if self._progress is not None:
            self._progress.say(work)

    def _show_nothing(self) -> None:
        if self._progress is not None:
            self._progress.clear()


def _progress(config: pytest.Config) -> Progress | None:
    """None in a log, with -q, and in xdist's workers."""
    from pytest_ncnn_parity.report.text import progress

    if config.option.verbose < 0 or not config.pluginmanager.has_plugin("terminalreporter"):
        return None
    terminal = config.get_terminal_writer()

    def room() -> int:
        return terminal.fullwidth - terminal.width_of_current_line % terminal.fullwidth - 1

    line = progress.on_terminal(room)
    if line is not None:
        config.add_cleanup(line.close)
    return line


class ReportingHooks:
    """The hooks of the process that reports: the only one, or the one that has xdist's workers."""

    def __init__(self, config: pytest.Config, asked: options.Options) -> None:
        from pytest_ncnn_parity.controller import Controller

        self._config = config
        self._controller = Controller(asked, config.rootpath, pytest.__version__)
        self._share: tempfile.TemporaryDirectory[str] | None = None

    def pytest_sessionstart(self) -> None:
        problems = self._controller.start()
        if problems:
            raise pytest.UsageError("\n".join(problems))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give every xdist worker one folder in which they tell each other results."""
        if self._share is None:
            self._share = tempfile.TemporaryDirectory(prefix="ncnn-parity-")
            self._config.add_cleanup(self._share.cleanup)
        node.workerinput["ncnn_parity_share"] = self._share.name

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._controller.not_collected(
                report.nodeid, report.longreprtext, vars(report).get("ncnn_parity_fault")
            )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._controller.select(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._controller.select(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._controller.take(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Ctrl-C has no text; pytest's own reasons, and xdist's, are its subclasses and have one
        self._controller.stop(str(excinfo.value) or "interrupted")

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._controller.stop(f"internal error of pytest: {excinfo.exconly()}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        why = session.shouldfail or session.shouldstop
        if why:
            self._controller.stop(str(why))
        end = self._controller.end(
            typed=bool(self._config.getoption("ncnn_parity")),
            places=self._config.args,
            collected_only=self._config.option.collectonly,
        )
        if end.worse and session.exitstatus in HARMLESS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if end.unwritten:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif end.nothing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        verbosity = self._config.option.verbose
        width = self._config.get_terminal_writer().fullwidth
        for title, lines in self._controller.sections(verbosity, width):
            if lines and verbosity >= 0:
                terminalreporter.section(title)
            for text, style in lines:
                terminalreporter.write_line(text, **({style: True} if style else {}))
        for text, style in self._controller.remarks(os.environ):
            terminalreporter.write_line(text, **({style: True} if style else {}))
