"""The nodes that pytest collects: SpecFile > Sample > Comparison > Case."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.base.errors import ParityError, Place
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.options import MARKER
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.report.case_records import PROPERTY_PREFIX
from pytest_ncnn_parity.report.text.line_width import fitted
from pytest_ncnn_parity.session import Session
from pytest_ncnn_parity.spec import MISNAMED, SUFFIX, spec
from pytest_ncnn_parity.verdict import Subject, Verdict, judge

SESSION = pytest.StashKey[Session]()


class SpecFile(pytest.File):
    """A `*.parity.yaml` file. `fault` is the place of the first error that makes it unusable, if any."""

    fault: Place | None = None

    def collect(self) -> Iterator[Sample]:
        self.add_marker(MARKER)  # every case below this node has the marker as well
        if self.path.name.endswith(MISNAMED):
            shown = printable(str(self.path))
            raise self.CollectError(f"{shown}: the name of a spec ends with {SUFFIX}: rename it")
        if "::" in self.nodeid:
            what = "its path has '::', which ends a path in node ids; rename the file or folder"
            raise self.CollectError(f"{printable(str(self.path))}: {what}")
        root = self.config.stash[SESSION].root
        try:
            plan = check.plan(spec.load(self.path, root), self.config.rootpath, root)
        except ParityError as error:
            self.fault = error.place
            raise self.CollectError(printable(str(error), lines=True)) from None
        for name in plan.spec.inputs:
            yield Sample.from_parent(self, name=printable(name), sample=name, plan=plan)


class Branch(pytest.Class):
    """A class to pytest and other plugins: editors show no other collector as a branch of a tree.

    `obj` is the Python class that they expect behind it. It is empty, since its tests are in the spec.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.obj = type(self.name, (), {})


class Sample(Branch):
    """One named set of inputs."""

    def __init__(self, *, plan: Plan, sample: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.sample = sample

    def collect(self) -> Iterator[ComparisonNode]:
        self.config.stash[SESSION].foresee(self.plan, self.sample)
        for comparison in self.plan.comparisons(self.sample):
            yield ComparisonNode.from_parent(
                self, name=comparison.name, plan=self.plan, sample=self.sample, comparison=comparison
            )


class ComparisonNode(Branch):
    """One comparison, for one sample."""

    def __init__(
        self, *, plan: Plan, sample: str, comparison: comparisons.Comparison, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.sample = sample
        self.comparison = comparison
        self.shown_path: str | None = None  # the spec's, as pytest shows it, once a case has asked

    def collect(self) -> Iterator[CaseItem]:
        spec = self.plan.spec
        line = spec.line("inputs", self.sample)
        param_name = _relative(spec.param, self.config.rootpath)
        for case in self.plan.cases(self.comparison, self.sample):
            if case.golden is not None:
                line = spec.line("inputs", self.sample, "expect", str(case.output))
            item = CaseItem.from_parent(
                self,
                name=case.name,
                plan=self.plan,
                sample=self.sample,
                case=case,
                param=param_name,
                line=line,
            )
            reason = self.plan.known(self.sample, case)
            if reason is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, raises=ParityFailure, strict=True))
            yield item


class ParityFailure(AssertionError):
    """A case's verdict is "failed"; the text is for the user."""


class SetupDenied(AssertionError):
    """A device or a declared worker did not run what was requested; the text is for the user."""


INTERRUPTED = (
    "This limit ended the case while it waited for the run of its sample, which\n"
    "all cases of the sample share. The other cases keep their verdicts."
)


class CaseItem(pytest.Item):
    """One case: a layer or an output, which is judged. `error`: what prevented that, to be raised."""

    def __init__(
        self, *, plan: Plan, sample: str, case: Case, param: str, line: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.subject = Subject(self.nodeid, plan, sample, case, param, line)
        self.verdict: Verdict | None = None
        self.error: Exception | None = None
        self.has_run = False

    def runtest(self) -> None:
        session = self.config.stash[SESSION]
        again, self.has_run = self.has_run, True
        error, self.error = self.error, None
        if error is not None:
            raise error
        try:
            self.verdict = judge(self.subject, session, again)
        # the time limit of another plugin was reached while we were working
        except pytest.fail.Exception as limit:
            if session.interrupt(self.subject.plan, self.subject.sample):
                raise pytest.fail.Exception(f"{limit}\n{INTERRUPTED}", pytrace=False) from None
            self.verdict = judge(self.subject, session, again)  # each limit is reached only once
        others = [one for one in self.user_properties if not one[0].startswith(PROPERTY_PREFIX)]
        self.user_properties[:] = [*others, *self.verdict.properties]  # a case may be run again
        if self.verdict.outcome == "skipped":
            pytest.skip(self.verdict.text)
        if self.verdict.outcome == "failed":
            failure = SetupDenied if self.verdict.setup_denied else ParityFailure
            raise failure(self.verdict.text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show our own failures as their text, without a traceback; its first line is the summary."""
        if not isinstance(excinfo.value, ParityFailure | SetupDenied | EngineError | param.ParamError):
            return super().repr_failure(excinfo, style)
        shown = excinfo.getrepr(style="value")
        there = self.config.pluginmanager.has_plugin("terminalreporter")
        width = self.config.get_terminal_writer().fullwidth if there else 80
        for entry in shown.reprtraceback.reprentries:
            entry.lines = [part for line in entry.lines for part in fitted(line, width)]
        if shown.reprcrash is not None:
            shown.reprcrash.path = str(self.path)
            shown.reprcrash.lineno = self.subject.line
            shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
        return shown

    @cached_property
    def location(self) -> tuple[str, int | None, str]:
        """What pytest's own gives, which looks at the same path anew for each of thousands of cases."""
        assert isinstance(self.parent, ComparisonNode)
        if self.parent.shown_path is None:
            self.parent.shown_path = super().location[0]
        _, line, name = self.reportinfo()
        return self.parent.shown_path, line, name

    def reportinfo(self) -> tuple[Path, int, str]:
        name = f"{self.subject.sample}::{self.subject.case.id}"
        return self.path, self.subject.line - 1, name

    def carry(self, report: pytest.TestReport, verdict: Verdict) -> None:
        """Attach `verdict` to `report`, for the process that writes the reports."""
        self.verdict = None  # a case that is run again needs a new verdict
        vars(report)["ncnn_parity"] = verdict.carried
        if report.skipped and isinstance(report.longrepr, tuple):
            report.longrepr = self.place_of_skip(verdict)

    def place_of_skip(self, verdict: Verdict) -> tuple[str, int, str]:
        """Return a skip as pytest's reports hold it: in the spec, not at our line that raised it."""
        return str(self.path), self.subject.line, verdict.text


class NodeHooks:
    """The hooks that distinguish our nodes from others."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, None]:
        """Attach the place of a spec's first error to its report, also on xdist's workers."""
        outcome = yield
        if isinstance(collector, SpecFile) and collector.fault is not None:
            vars(outcome.get_result())["ncnn_parity_fault"] = vars(collector.fault)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record the cases that are going to run."""
        cases = [item for item in session.items if isinstance(item, CaseItem)]
        for item in cases:
            self._session.select(item.subject.plan, item.subject.sample, item.subject.case)
        self._session.all_are_selected()
        if len(cases) == len(session.items):
            gc.freeze()  # all of them live until the run ends, and nobody else's garbage is kept

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        """Attach the verdict on a case to its report, for the process that writes our reports."""
        outcome = yield
        if call.when == "call" and isinstance(item, CaseItem) and item.verdict is not None:
            report = outcome.get_result()
            number = item.subject.plan.known_entry(item.subject.sample, item.subject.case)
            if number is not None and str(report.longrepr).startswith("[XPASS(strict)]"):
                spec = item.subject.plan.spec
                at = f"{item.subject.spec}:{spec.line('known', number)}"
                report.longrepr = (
                    f"{item.name}: passes, though known to fail: remove its entry of 'known', {at}\n"
                    f"{report.longrepr}"
                )
            item.carry(report, item.verdict)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> Any:
        """Apply pytest-timeout's limit to a case by a signal; its other method ends the whole process.

        The cases of a sample share one run. After one interruption it is known how long the run takes,
        and the next case must wait for all of it, so from then on only our own limit on each step
        applies.
        """
        if not isinstance(item, CaseItem):
            return None
        self._session.cases_have_limits = True
        if self._session.was_interrupted(item.subject.plan, item.subject.sample):
            return True
        if settings.method != "signal" and hasattr(signal, "SIGALRM"):
            by_signal = settings._replace(method="signal")
            return item.ihook.pytest_timeout_set_timer(item=item, settings=by_signal)
        return None


def _relative(path: Path, root: Path) -> str:
    """Return `path` relative to `root`, with slashes, or unchanged if it lies outside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
