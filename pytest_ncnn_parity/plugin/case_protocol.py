"""Runs a case without pytest's phases, which do nothing for a case that passes or is skipped.

A case has no fixtures, so nothing is set up for it or torn down after it, and calling the hooks of the
phases for thousands of cases would take longer than all else that the plugin does for them. They are
called for a case that fails; for the last case of a comparison, because it ends the comparison's node;
and for every case if another plugin implements one of them or another mark applies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from _pytest.runner import runtestprotocol  # as other plugins do that answer this hook

from pytest_ncnn_parity.nodes import CaseItem
from pytest_ncnn_parity.options import MARKER
from pytest_ncnn_parity.verdict import Verdict

PHASES = (
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_call",
    "pytest_runtest_teardown",
    "pytest_runtest_makereport",
)
OWN = ("_pytest.", "pytest_ncnn_parity.")
CURRENT = "PYTEST_CURRENT_TEST"  # where pytest names what is running


class CaseProtocol:
    """Runs cases. `before_report` is called before pytest may write to the terminal."""

    def __init__(self, config: pytest.Config, before_report: Callable[[], None]) -> None:
        self._config = config
        self._before_report = before_report
        self._shortens = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._shortens = not (self._config.getoption("setupshow", False) or _extended(self._config))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Judge a case, then report that it passed or was skipped, or let pytest's phases report it."""
        if not self._shortens or not isinstance(item, CaseItem) or not _within(item, nextitem):
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        with _named_as_current(item):
            verdict = item.judge_ahead()
        if verdict is None or verdict.outcome == "failed":
            runtestprotocol(item, nextitem=nextitem)
        else:
            self._before_report()
            for report in _reports(item, verdict):
                hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _extended(config: pytest.Config) -> bool:
    """Whether another plugin or a conftest.py implements a hook of the phases."""
    every = (one for name in PHASES for one in getattr(config.hook, name).get_hookimpls())
    return not all(one.function.__module__.startswith(OWN) for one in every)


def _within(item: CaseItem, nextitem: pytest.Item | None) -> bool:
    """Whether `nextitem` is of the same comparison, and no mark but our own applies to `item`."""
    if nextitem is None or nextitem.parent is not item.parent:
        return False
    return all(mark.name == MARKER for mark in item.iter_markers())


@contextmanager
def _named_as_current(item: CaseItem) -> Iterator[None]:
    os.environ[CURRENT] = f"{item.nodeid} (call)".replace("\x00", "(null)")
    try:
        yield
    finally:
        os.environ.pop(CURRENT, None)


def _reports(item: CaseItem, verdict: Verdict) -> Iterator[pytest.TestReport]:
    """Yield the reports that pytest would make on the phases of `item`, which has not failed."""
    end = time.time()
    begin = end - item.seconds_ahead
    make = partial(pytest.TestReport, item.nodeid, item.location, dict.fromkeys(item.keywords, 1))
    yield make("passed", None, "setup", start=begin, stop=begin)
    item.user_properties += verdict.properties
    skip = item.place_of_skip(verdict) if verdict.outcome == "skipped" else None
    call = make(verdict.outcome, skip, "call", (), item.seconds_ahead, begin, end, item.user_properties)
    item.carry(call, verdict)
    yield call
    yield make("passed", None, "teardown", (), 0.0, end, end, item.user_properties)
