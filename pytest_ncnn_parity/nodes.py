"""What pytest sees: SpecFile > Sample > Comparison > Case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.base.errors import ParityError, Place
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.report.text.line_width import fitted
from pytest_ncnn_parity.session import Session
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.verdict import Subject, Verdict, judge

SESSION = pytest.StashKey[Session]()


def select(session: Session, items: Iterable[pytest.Item]) -> None:
    """Tell `session` which cases are going to run."""
    for item in items:
        if isinstance(item, CaseItem):
            session.select(item.subject.plan, item.subject.sample, item.subject.case)


class SpecFile(pytest.File):
    """A `*.parity.yaml` file. `fault`: where in it the first error is that keeps it from being used."""

    fault: Place | None = None

    def collect(self) -> Iterator[Sample]:
        root = self.config.stash[SESSION].root
        try:
            plan = check.plan(spec.load(self.path, root), self.config.rootpath, root)
        except ParityError as error:
            self.fault = error.place
            raise self.CollectError(printable(str(error), lines=True)) from None
        for name in plan.spec.inputs:
            yield Sample.from_parent(self, name=printable(name), sample=name, plan=plan)


class Sample(pytest.Collector):
    """One named set of inputs."""

    def __init__(self, *, plan: Plan, sample: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.sample = sample

    def collect(self) -> Iterator[ComparisonNode]:
        expected = [comparisons.GOLDEN] if self.plan.spec.samples[self.sample].expect else []
        for comparison in [*self.plan.spec.comparisons, *expected]:
            yield ComparisonNode.from_parent(
                self, name=comparison.name, plan=self.plan, sample=self.sample, comparison=comparison
            )


class ComparisonNode(pytest.Collector):
    """One pair of setups."""

    def __init__(
        self, *, plan: Plan, sample: str, comparison: comparisons.Comparison, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.sample = sample
        self.comparison = comparison

    def collect(self) -> Iterator[CaseItem]:
        recorded = self.comparison.of_recordings
        cases = (
            self.plan.goldens(self.sample) if recorded else self.plan.cases(self.comparison, self.sample)
        )
        path = ("inputs", self.sample, *(["expect"] if recorded else []))
        line = self.plan.spec.line(*path)
        param_name = _relative(self.plan.spec.param, self.config.rootpath)
        for case in cases:
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


class ParityFailure(Exception):
    """A case's verdict is 'failed'; the text is for the user."""


class DeviceDenied(Exception):
    """A device did not run what was asked of it; the text is for the user."""


class CaseItem(pytest.Item):
    """One layer or one output, judged."""

    def __init__(
        self, *, plan: Plan, sample: str, case: Case, param: str, line: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.subject = Subject(self.nodeid, plan, sample, case, param, line)
        self.verdict: Verdict | None = None

    def runtest(self) -> None:
        self.verdict = judge(self.subject, self.config.stash[SESSION])
        self.user_properties += self.verdict.properties
        if self.verdict.outcome == "skipped":
            pytest.skip(self.verdict.text)
        if self.verdict.outcome == "failed":
            failure = DeviceDenied if self.verdict.device_denied else ParityFailure
            raise failure(self.verdict.text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Our own failure is its text, without a traceback; its first line is the summary."""
        if not isinstance(excinfo.value, ParityFailure | DeviceDenied | EngineError | param.ParamError):
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

    def reportinfo(self) -> tuple[Path, int, str]:
        name = f"{self.subject.sample}::{self.subject.case.id}"
        return self.path, self.subject.line - 1, name


def carry_fault(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Let pytest's `report` on a spec carry the place of its first error, from xdist's workers too."""
    if isinstance(collector, SpecFile) and collector.fault is not None:
        vars(report)["ncnn_parity_fault"] = vars(collector.fault)


def carry(item: pytest.Item, report: pytest.TestReport) -> None:
    """Let pytest's `report` on a case carry its verdict to the process that writes ours."""
    if not isinstance(item, CaseItem) or item.verdict is None:
        return
    verdict, item.verdict = item.verdict, None  # to be run again it needs another
    vars(report)["ncnn_parity"] = verdict.carried
    if report.skipped and isinstance(report.longrepr, tuple):
        # the place of a skip is the spec's, not the line of ours that raised it
        report.longrepr = (str(item.path), item.subject.line, verdict.text)


def _relative(path: Path, root: Path) -> str:
    """`path` from `root` with slashes, or as it is where it lies outside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
