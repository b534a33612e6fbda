"""Reports a case whose result has arrived without pytest's phases, which do nothing for it.

A case has no fixtures, so nothing is set up for it or torn down after it. For thousands of cases,
calling the hooks of the phases takes longer than all else that the plugin does for them. They are
called nevertheless for a case that fails or has to be waited for; for the first and the last case of a
comparison, with which its node is set up and torn down; and for every case if another plugin implements
one of these hooks or another mark applies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from time import perf_counter, time  # these, even if a test replaces what the module has
from typing import Any

import pytest

from pytest_ncnn_parity.nodes import CaseItem
from pytest_ncnn_parity.options import MARKER
from pytest_ncnn_parity.session import Session
from pytest_ncnn_parity.verdict import Verdict, fails, judge

PHASES = (
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_call",
    "pytest_runtest_teardown",
    "pytest_runtest_makereport",
)
OWN = ("_pytest.", "pytest_ncnn_parity.")


class CaseProtocol:
    """The hooks that run cases. `before_report` is called before pytest may write to the terminal."""

    def __init__(
        self, config: pytest.Config, session: Session, before_report: Callable[[], None]
    ) -> None:
        self._config = config
        self._session = session
        self._before_report = before_report
        self._is_extended: bool | None = None  # None: not known yet
        self._set_up: object = None  # the node that the last item has set up and not torn down

    def pytest_plugin_registered(self) -> None:
        self._is_extended = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Report a case whose result has arrived; return None if pytest is to run the item."""
        if isinstance(item, CaseItem) and self._may_be_reported(item, nextitem):
            start = perf_counter()
            verdict = self._verdict_at_hand(item)
            if verdict is not None:
                self._report(item, verdict, perf_counter() - start)
                return True
        self._set_up = None
        return None

    def _verdict_at_hand(self, item: CaseItem) -> Verdict | None:
        """The verdict on a case that does not fail, if its result has arrived; otherwise None.

        An error here would end the whole run. It is left to the item, to be raised where pytest reports
        it as the case's.
        """
        subject = item.subject
        try:
            result = self._session.arrived(subject.plan, subject.sample, subject.case)
            if result is None or fails(result, self._session):
                return None
            return judge(subject, self._session)
        except Exception as error:
            item.error = error
            return None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, None]:
        outcome = yield
        if outcome.excinfo is None:
            self._set_up = item.parent

    def _may_be_reported(self, item: CaseItem, nextitem: pytest.Item | None) -> bool:
        """Whether nothing is to be set up or torn down for `item`, and nobody else is to be asked."""
        if nextitem is None or not (nextitem.parent is item.parent is self._set_up) or item.has_run:
            return False
        if self._is_extended is None:
            self._is_extended = bool(self._config.getoption("setupshow", False)) or any(
                map(_is_foreign, self._implementations())
            )
        return not self._is_extended and _is_plain(item)

    def _implementations(self) -> Iterator[Any]:
        """The plugins that implement hooks of the phases."""
        for name in PHASES:
            yield from (one.plugin for one in getattr(self._config.hook, name).get_hookimpls())

    def _report(self, item: CaseItem, verdict: Verdict, seconds: float) -> None:
        hook, session = item.ihook, item.session
        item.has_run = True
        self._before_report()
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in _reports(item, verdict, seconds):
            # as pytest does, so that what fails can still be reported
            is_last = report.when == "teardown" and (session.shouldfail or session.shouldstop)
            hook.pytest_runtest_logreport(report=_teardown_of_all(item) if is_last else report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _is_foreign(plugin: object) -> bool:
    """Whether `plugin`, a module or an object, is neither pytest's nor ours."""
    name = getattr(plugin, "__name__", None) or type(plugin).__module__
    return not str(name).startswith(OWN)


def _is_plain(item: CaseItem) -> bool:
    """Whether nobody has added marks, sections of a report, or methods to `item`."""
    if any(mark.name != MARKER for mark in item.iter_markers()) or item._report_sections:
        return False
    return not vars(item).keys() & {"setup", "runtest", "teardown"}


def _teardown_of_all(item: CaseItem) -> pytest.TestReport:
    """Tear down every node that is set up, since no item will follow, and report that as of `item`."""
    teardown = partial(item.session._setupstate.teardown_exact, None)
    return pytest.TestReport.from_item_and_call(item, pytest.CallInfo.from_call(teardown, "teardown"))


def _reports(item: CaseItem, verdict: Verdict, seconds: float) -> Iterator[pytest.TestReport]:
    """Yield the reports that pytest would make on the phases of `item`, judged within `seconds`."""
    nodeid = getattr(item, "id", item.nodeid)  # pytest 9.2 has ids that need not be parsed
    make = partial(pytest.TestReport, nodeid, item.location, dict.fromkeys(item.keywords, 1))
    end = time()
    begin = end - seconds
    yield make("passed", None, "setup", (), 0.0, begin, begin, item.user_properties)
    item.user_properties += verdict.properties
    skip = item.place_of_skip(verdict) if verdict.outcome == "skipped" else None
    call = make(verdict.outcome, skip, "call", (), seconds, begin, end, item.user_properties)
    item.carry(call, verdict)
    yield call
    yield make("passed", None, "teardown", (), 0.0, end, end, item.user_properties)
