"""The hooks, nothing else. Imports nothing heavy before --ncnn-parity is given."""

from __future__ import annotations

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
MARKER = "ncnn_parity"
HARMLESS = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
# a TOML file may hold a number as such; before 9.2 an option of pytest's has but one type
TEXT_OR_NUMBER = str | int | float if pytest.version_tuple >= (9, 2) else "string"
ANNOTATES = ("pytest_github_actions_annotate_failures", "annotate_errors")  # by -p it has another name
RUN_NOTHING = "collectonly setuponly setupplan showfixtures show_fixtures_per_test cacheshow".split()
CHOOSE = "keyword markexpr deselect lf stepwise".split()


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
            kind: Any = TEXT_OR_NUMBER if option.takes_number else "string"
            parser.addini(option.ini, option.help, type=kind, default=option.default)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print what was asked for, and nothing else, in place of a run."""
    model, schema = (config.getoption(f"ncnn_parity_{name}") for name in ("init", "schema"))
    if model is None and schema is None:
        return None
    from pytest_ncnn_parity.option_values import OptionsError
    from pytest_ncnn_parity.printed import printed

    try:
        text = printed(model, schema, config.invocation_params.dir)
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}: a layer or an output of a network, from *{SUFFIX}")

    def configured(name: str) -> object:
        try:
            return config.getini(name)
        except TypeError as error:
            raise pytest.UsageError(f"{error}; this version of pytest wants it in quotes") from None
        except ValueError as error:
            raise pytest.UsageError(f"config option {name!r}: {error}") from None

    source = options.Source(config.getoption, configured, config.invocation_params.dir, config.rootpath)
    if not source.gate_wanted:
        config.pluginmanager.register(HintingHooks(), "ncnn_parity_hinting")
        return
    from pytest_ncnn_parity.option_values import OptionsError, read

    try:
        asked = read(source)
        if not hasattr(config, "workerinput"):
            reporting = ReportingHooks(config, asked, source.gate_typed)
            config.pluginmanager.register(reporting, "ncnn_parity_reporting")
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(RunningHooks(config, asked), "ncnn_parity_running")


class HintingHooks:
    """The hooks of a run without the gate that is given specs: how they are run."""

    def __init__(self) -> None:
        self._specs = 0

    def pytest_collect_file(self, file_path: Path) -> None:
        self._specs += file_path.name.endswith(SUFFIX)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collection(self) -> Generator[None, Any, None]:
        outcome = yield
        error = outcome.excinfo[1] if outcome.excinfo else None
        if self._specs and isinstance(error, pytest.UsageError):
            error.args = (*error.args, self._hint)

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        if self._specs and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            terminalreporter.write_line(f"ncnn parity: {self._hint}", yellow=True)

    @property
    def _hint(self) -> str:
        return f"to run *{SUFFIX} give --ncnn-parity, or set ncnn_parity = true in the ini"


class RunningHooks:
    """The hooks of every process that collects and runs cases."""

    def __init__(self, config: pytest.Config, asked: options.Options) -> None:
        from pytest_ncnn_parity.nodes import SESSION, NodeHooks
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
        config.pluginmanager.register(NodeHooks(self._session), "ncnn_parity_nodes")
        config.add_cleanup(sigterm.on_sigterm())
        config.add_cleanup(self._session.close)

    def pytest_sessionstart(self) -> None:
        self._progress = _progress(self._config)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        if not file_path.name.endswith(SUFFIX):
            return None
        from pytest_ncnn_parity.nodes import SpecFile

        return SpecFile.from_parent(parent, path=file_path)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self) -> None:
        self._show_nothing()

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

    if config.getoption("verbose", 0) < 0 or not config.pluginmanager.has_plugin("terminalreporter"):
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

    def __init__(self, config: pytest.Config, asked: options.Options, typed: bool) -> None:
        from pytest_ncnn_parity.controller import Controller

        self._config = config
        # whoever leaves the cases out by their marker wants none
        self._typed = typed and MARKER not in config.getoption("markexpr", "")
        self._controller = Controller(asked, config.rootpath, pytest.__version__)
        self._share: tempfile.TemporaryDirectory[str] | None = None
        self._begun = False
        self._narrowed = False

    @property
    def _runs_nothing(self) -> bool:
        return any(self._config.getoption(name, None) for name in RUN_NOTHING)

    def pytest_sessionstart(self) -> None:
        self._start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._begun = not self._runs_nothing
        self._start()

    def _start(self) -> None:
        """Write the reports for the first time; where the ini alone wants them, once cases will run."""
        concerned = self._begun and self._controller.concerned
        if concerned or (self._typed and not self._runs_nothing):
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

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._narrowed |= any(item.path.name.endswith(SUFFIX) for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._controller.select(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._controller.select(ids)
        self._start()

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
        if self._runs_nothing or not (self._begun or self._controller.stopped):
            return
        end = self._controller.end(self._typed, self._config.args, self._narrowed or self._chosen)
        if end.worse and session.exitstatus in HARMLESS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if end.unwritten:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif end.empty and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @property
    def _chosen(self) -> bool:
        """Whether tests were chosen one by one, and not by folders."""
        called_in = self._config.invocation_params.dir
        files = not all((called_in / place).is_dir() for place in self._config.args)
        return files or any(self._config.getoption(name, None) for name in CHOOSE)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        verbosity = self._config.option.verbose
        width = self._config.get_terminal_writer().fullwidth
        above = self._config.option.tbstyle != "no"
        for title, lines in self._controller.sections(verbosity, width, above):
            if lines and verbosity >= 0:
                terminalreporter.section(title)
            for text, style in lines:
                terminalreporter.write_line(text, **({style: True} if style else {}))
        annotated = any(map(self._config.pluginmanager.hasplugin, ANNOTATES))
        for text, style in self._controller.remarks(os.environ, annotated):
            terminalreporter.write_line(text, **({style: True} if style else {}))
