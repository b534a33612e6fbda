"""The hooks of every process that collects and runs cases."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity import options
from pytest_ncnn_parity.base.end_signals import EndSignals
from pytest_ncnn_parity.engine.early import EarlyWorker
from pytest_ncnn_parity.nodes import SESSION, NodeHooks, SpecFile
from pytest_ncnn_parity.plugin.case_protocol import CaseProtocol
from pytest_ncnn_parity.report.text import progress
from pytest_ncnn_parity.report.text.progress import Progress
from pytest_ncnn_parity.session import session
from pytest_ncnn_parity.spec import MISNAMED, SUFFIX

CHOOSE = "keyword markexpr deselect lf stepwise".split()  # options of pytest that leave cases out
FOLDERS: Any = getattr(pytest, "Directory", ())  # pytest 7 has no collector for each folder


class RunningHooks:
    """The hooks of every process that collects and runs cases."""

    def __init__(
        self, config: pytest.Config, asked: options.Options, early: EarlyWorker, end_signals: EndSignals
    ) -> None:
        self._config = config
        self._end_signals = end_signals
        self._progress: Progress | None = None
        xdist: dict[str, Any] = getattr(config, "workerinput", {})
        share = xdist.get("ncnn_parity_share")
        processes = int(xdist.get("workercount", 1))
        share = None if share is None else Path(share)
        chosen = any(config.getoption(name, None) for name in CHOOSE)
        all_may_run = not chosen and not any("::" in place for place in config.args)
        self._session = session(asked, config.rootpath, self._show, processes, share, early, all_may_run)
        config.stash[SESSION] = self._session
        config.pluginmanager.register(NodeHooks(self._session), "ncnn_parity_nodes")
        protocol = CaseProtocol(config, self._session, self._show_nothing)
        config.pluginmanager.register(protocol, "ncnn_parity_case_protocol")
        config.add_cleanup(self._session.close)

    def pytest_sessionstart(self) -> None:
        self._progress = _progress(self._config)

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SpecFile | None:
        return self._spec(file_path, parent) if file_path.name.endswith((SUFFIX, MISNAMED)) else None

    def _spec(self, path: Path, parent: pytest.Collector) -> SpecFile:
        if path.is_relative_to(self._config.rootpath):
            return SpecFile.from_parent(parent, path=path)
        # pytest's own ids have no path where a file lies outside, so those of two files would be alike
        return SpecFile.from_parent(parent, path=path, nodeid=path.as_posix())

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, None]:
        """Collect the specs of a folder that pytest passes over: links that lead nowhere."""
        outcome = yield
        report = outcome.get_result()
        if isinstance(collector, FOLDERS) and report.passed:
            report.result += [self._spec(path, collector) for path in dangling_specs(collector)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self) -> None:
        self._show_nothing()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._end_signals.ending()
        self._show_nothing()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._end_signals.ending()

    def pytest_internalerror(self) -> None:
        self._show_nothing()

    def _show(self, work: str) -> None:
        if self._progress is not None:
            self._progress.say(work)

    def _show_nothing(self) -> None:
        if self._progress is not None:
            self._progress.clear()


def dangling_specs(folder: pytest.Directory) -> Iterator[Path]:
    """The links in `folder` that have the name of a spec and lead nowhere, in order."""
    try:
        named = [path for path in folder.path.iterdir() if path.name.endswith((SUFFIX, MISNAMED))]
    except FileNotFoundError:  # the folder is gone since pytest looked
        return
    ignored = partial(folder.ihook.pytest_ignore_collect, config=folder.config)
    for path in sorted(named):
        if path.is_symlink() and not path.exists() and not ignored(collection_path=path):
            yield path


def _progress(config: pytest.Config) -> Progress | None:
    """The progress line; None in a log, with -q, and in xdist's workers."""
    if config.getoption("verbose", 0) < 0 or not config.pluginmanager.has_plugin("terminalreporter"):
        return None
    terminal = config.get_terminal_writer()

    def cursor() -> tuple[int, int]:
        written, width = terminal.width_of_current_line, terminal.fullwidth
        # after a full line, terminals differ in where the cursor is
        full = written > 0 and written % width == 0
        return (0, 0) if full else (written % width, width)

    line = progress.on_terminal(cursor)
    if line is not None:
        config.add_cleanup(line.close)
    return line
