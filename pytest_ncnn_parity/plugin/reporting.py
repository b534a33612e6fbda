"""The hooks of the process that reports: the only process, or the controller of xdist's workers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity import options
from pytest_ncnn_parity.controller import Controller
from pytest_ncnn_parity.options import MARKER
from pytest_ncnn_parity.plugin.running import CHOOSE
from pytest_ncnn_parity.plugin.terminal_lists import Lists
from pytest_ncnn_parity.report.highlights import first_line
from pytest_ncnn_parity.spec import SUFFIX

HARMLESS = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
# the plugin has a different name if it was loaded with -p
ANNOTATES = ("pytest_github_actions_annotate_failures", "annotate_errors")
SHOW_FIRST = "a first spec for it is printed by pytest --ncnn-parity-init="


class ReportingHooks:
    """The hooks of the process that reports: the only process, or the controller of xdist's workers."""

    def __init__(
        self, config: pytest.Config, asked: options.Options, typed: bool, runs_nothing: bool
    ) -> None:
        self._config = config
        self._runs_nothing = runs_nothing
        # a run that excludes the cases by their marker does not ask for the gate
        self._typed = typed and MARKER not in config.getoption("markexpr", "")
        self._controller = Controller(asked, config.rootpath, pytest.__version__)
        self._share: tempfile.TemporaryDirectory[str] | None = None
        self._begun = False
        self._narrowed = False
        self._lists: Lists | None = None

    def pytest_sessionstart(self) -> None:
        try:
            self._start()
        except (KeyboardInterrupt, pytest.UsageError) as error:
            # pytest calls pytest_sessionfinish only for a session whose start has returned
            self._controller.stop(str(error) or "interrupted")
            self._controller.end(self._typed, self._config.args)
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._begun = not self._runs_nothing
        self._start()

    def _start(self) -> None:
        """Write the first reports: at once if the gate was typed, otherwise before cases run.

        Raises pytest.UsageError if a report cannot be written.
        """
        concerned = self._begun and self._controller.concerned
        if concerned or (self._typed and not self._runs_nothing):
            problems = self._controller.start()
            if problems:
                raise pytest.UsageError("\n".join(problems))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give all xdist workers one folder in which they share results."""
        if self._share is None:
            self._share = tempfile.TemporaryDirectory(prefix="ncnn-parity-", ignore_cleanup_errors=True)
            self._config.add_cleanup(self._share.cleanup)
        node.workerinput["ncnn_parity_share"] = self._share.name

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collection(self) -> Generator[None, Any, None]:
        outcome = yield
        error = outcome.excinfo[1] if outcome.excinfo else None
        if isinstance(error, pytest.UsageError):  # a path or an id that does not exist
            self._controller.stop("; ".join(first_line(str(text)) for text in error.args))
            said = "\n".join(map(str, error.args))
            error.args += tuple(why for place in self._config.args if (why := _why_not(place, said)))

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
        # Ctrl-C has no text; pytest and xdist stop with subclasses that have one
        self._controller.stop(str(excinfo.value) or "interrupted")

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._controller.stop(f"internal error of pytest: {in_short(excinfo.exconly())}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        why = session.shouldfail or session.shouldstop
        if why:
            self._controller.stop(str(why))
        if self._runs_nothing or not (self._begun or self._controller.stopped):
            return
        end = self._controller.end(self._typed, self._config.args, self._narrowed or self._chosen)
        if (end.worse or end.left_out) and session.exitstatus in HARMLESS:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if end.unwritten:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif end.empty and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    @property
    def _chosen(self) -> bool:
        """Whether tests were chosen one by one and not by folder."""
        called_in = self._config.invocation_params.dir
        files = not all((called_in / place).is_dir() for place in self._config.args)
        return files or any(self._config.getoption(name, None) for name in CHOOSE)

    @pytest.hookimpl(specname="pytest_terminal_summary", hookwrapper=True, tryfirst=True)
    def pytest_terminal_summary_around(self, terminalreporter: Any) -> Generator[None, Any, None]:
        """Wrap pytest's own summary: its lists are made to fit, and our lines come last."""
        self._lists = Lists(terminalreporter, self._config, self._controller)
        self._lists.for_failures()
        yield
        self._lists.restore()
        last = list(self._controller.red_models(self._config.get_terminal_writer().fullwidth))
        if last and self._config.option.verbose >= 0:
            terminalreporter.section("ncnn parity: red models", red=True)
            for text in last:
                terminalreporter.write_line(text, red=True)

    @pytest.hookimpl(specname="pytest_terminal_summary", tryfirst=True)
    def pytest_terminal_summary_of_others(self) -> None:
        """Restore the reports, so that other plugins read them unchanged."""
        if self._lists is not None:
            self._lists.restore()

    @pytest.hookimpl(trylast=True)
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
        if self._lists is not None:
            self._lists.for_short_summary()


def in_short(error: str) -> str:
    """Return the line of an `error` that says what it is.

    An error of an xdist worker is quoted with its traceback by an assertion that fails.
    """
    first, *rest = error.splitlines()
    if not first.endswith("Traceback (most recent call last):"):
        return first.strip()
    return [line for line in rest if not line.startswith("assert ")][-1].strip()


def _why_not(place: str, said: str) -> str:
    """Why pytest found no spec at a `place` of its command line, of which it `said` that; else ""."""
    if place.endswith(".param"):
        return f"{place} is a model: {SHOW_FIRST}{place}"
    is_named = Path(place).is_file() and Path(place).name in said
    if is_named and place.endswith((".yaml", ".yml")) and not place.endswith(SUFFIX):
        return f"{place}: the name of a spec ends with {SUFFIX}: rename it"
    return ""
