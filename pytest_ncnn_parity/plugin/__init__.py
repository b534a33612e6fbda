"""The plugin's entry point: its options and the choice of hooks. Every run of pytest imports it."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity import options
from pytest_ncnn_parity.options import MARKER
from pytest_ncnn_parity.spec import SUFFIX

# a TOML file may hold a plain number; before pytest 9.2 an option can have only one type
TEXT_OR_NUMBER = str | int | float if pytest.version_tuple >= (9, 2) else "string"
RUN_NOTHING = "collectonly setuponly setupplan showfixtures show_fixtures_per_test cacheshow".split()
PRINTING = ("init", "schema", "arm64")  # options that print something instead of running cases
FREEZES = pytest.StashKey[bool]()  # whether this run keeps what it has imported from garbage collection


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
    group.addoption(
        "--ncnn-parity-arm64",
        metavar="DIR",
        help="make an emulated ARM64 Python with ncnn in DIR, print the line that declares it as a "
        "worker, and exit",
    )
    collect = f"collect *{SUFFIX}: compare ncnn models layer by layer"
    group.addoption(
        "--ncnn-parity", action="store_true", default=None, help=f"{collect} (ini: ncnn_parity)"
    )
    parser.addini("ncnn_parity", collect, type="bool", default=False)
    for option in options.TABLE.values():
        if option.metavar is None:
            text = f"{option.help} (ini: {option.ini})"
            group.addoption(option.flag, action="store_true", default=None, help=_plain(text))
            parser.addini(option.ini, option.help, type="bool", default=False)
        elif option.many:
            text = f"{option.help}; may be given several times (ini: {option.ini}, one a line)"
            many: Any = {"action": "append", "dest": option.ini, "metavar": option.metavar}
            group.addoption(option.flag, default=None, help=_plain(text), **many)
            parser.addini(option.ini, option.help, type="linelist", default=[])
        else:
            text = f"{option.help} (ini: {option.ini}, default: {option.default or 'none'})"
            group.addoption(option.flag, default=None, metavar=option.metavar, help=_plain(text))
            kind: Any = TEXT_OR_NUMBER if option.takes_number else "string"
            parser.addini(option.ini, option.help, type=kind, default=option.default)


def _plain(text: str) -> str:
    """Return `text` as argparse must have it: it would take a % for the beginning of a format."""
    return text.replace("%", "%%")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """If an option asks for something to be printed, print that and run nothing."""
    config.add_cleanup(partial(_thaw, config))  # the last to run: after pytest's own search for garbage
    given = {name: config.getoption(f"ncnn_parity_{name}") for name in PRINTING}
    asked = {name: value for name, value in given.items() if value is not None}
    if not asked:
        return None
    from pytest_ncnn_parity.option_values import OptionsError
    from pytest_ncnn_parity.printed import printed

    try:
        text = printed(asked, config.invocation_params.dir)
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    _print(text)
    return pytest.ExitCode.OK


def _print(text: str) -> None:
    """Write `text` to stdout as it is, in UTF-8. Raises UsageError where that fails."""
    out: Any = sys.stdout  # None if it is closed; in a notebook a stream that takes only text
    if out is None:
        raise pytest.UsageError("the output could not be written: stdout is closed")
    try:
        if hasattr(out, "buffer"):
            out.buffer.write(text.encode())
        else:
            out.write(text)
        out.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        out.flush()  # of what is left, which would be written once more at the end
        raise pytest.UsageError(f"the output could not be written: {error.strerror}") from None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}: a layer or an output of a network, from *{SUFFIX}")

    def configured(name: str) -> object:
        try:
            return config.getini(name)
        except TypeError as error:
            raise pytest.UsageError(f"{error}; this version of pytest wants it in quotes") from None
        except (ValueError, pytest.UsageError) as error:
            said = str(error)  # in TOML, pytest names the file and the setting itself
            where = f"{config.inipath}: " if config.inipath else ""
            place = "" if said.startswith(where) else f"{where}{name}: "
            raise pytest.UsageError(f"{place}{said}") from None

    source = options.Source(config.getoption, configured, config.invocation_params.dir, config.rootpath)
    if not source.gate_wanted:
        config.pluginmanager.register(HintingHooks(), "ncnn_parity_hinting")
        return
    from pytest_ncnn_parity.base.end_signals import EndSignals
    from pytest_ncnn_parity.engine.early import EarlyWorker
    from pytest_ncnn_parity.option_names import unknown
    from pytest_ncnn_parity.option_values import OptionsError, read

    try:
        asked = read(source, unknown(config.inipath, config.getoption("override_ini") or ()))
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    end_signals = EndSignals()
    config.add_cleanup(end_signals.restore)
    runs_nothing = any(config.getoption(name, None) for name in RUN_NOTHING)
    early = EarlyWorker()
    config.add_cleanup(early.close)
    may_be_cached = asked.cache is not None
    if source.gate_typed and not (runs_nothing or may_be_cached or _runs_elsewhere(config)):
        early.start(asked.memory)  # it starts up while this process imports the rest
    from pytest_ncnn_parity.plugin.reporting import ReportingHooks
    from pytest_ncnn_parity.plugin.running import RunningHooks

    try:
        if not hasattr(config, "workerinput"):
            reporting = ReportingHooks(config, asked, source.gate_typed, runs_nothing)
            config.pluginmanager.register(reporting, "ncnn_parity_reporting")
    except OptionsError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(RunningHooks(config, asked, early, end_signals), "ncnn_parity_running")
    # Searching all that was imported, and at exit all that a gate has made, for garbage would take a
    # short one a tenth of its time.
    config.stash[FREEZES] = True
    gc.freeze()
    atexit.register(gc.freeze)


def _thaw(config: pytest.Config) -> None:
    """Let garbage be collected again, for a process that goes on after this run."""
    if config.stash.get(FREEZES, False):
        gc.unfreeze()


def _runs_elsewhere(config: pytest.Config) -> bool:
    """Whether this process runs no case, or other xdist processes may run all of them."""
    return config.getoption("dist", "no") != "no" or hasattr(config, "workerinput")


class HintingHooks:
    """The hooks of a run that is given specs but not the gate: they say how specs are run."""

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
