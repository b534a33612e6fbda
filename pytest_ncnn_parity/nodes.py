"""What pytest sees: SpecFile > Sample > Comparison > Case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.asked import DeviceDenied, denied
from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.diagnose.causes import Diagnosis, Red, diagnose
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.results import SpecRun
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair import existing_masks
from pytest_ncnn_parity.repair import fix as fixes
from pytest_ncnn_parity.report import records
from pytest_ncnn_parity.report.repro import make
from pytest_ncnn_parity.report.text import case_text
from pytest_ncnn_parity.report.text.line_width import fitted
from pytest_ncnn_parity.session import Session
from pytest_ncnn_parity.spec import spec

SESSION = pytest.StashKey[Session]()


def select(session: Session, items: Iterable[pytest.Item]) -> None:
    """Tell `session` which cases are going to run."""
    for item in items:
        if isinstance(item, CaseItem):
            session.select(item.path, item.sample, item.case)


class SpecFile(pytest.File):
    """A `*.parity.yaml` file."""

    def collect(self) -> Iterator[Sample]:
        root = self.config.stash[SESSION].root
        try:
            plan = check.plan(spec.load(self.path, root), self.config.rootpath, root)
        except ParityError as error:
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
        sample = self.sample
        recorded = self.comparison.recorded
        cases = self.plan.goldens(sample) if recorded else self.plan.cases(self.comparison)
        path = ("inputs", sample, *(["expect"] if recorded else []))
        line = self.plan.spec.line(*path) - 1
        param = _relative(self.plan.spec.param, self.config.rootpath)
        names = (self.nodeid.partition("::")[0], param)
        for case in cases:
            item = CaseItem.from_parent(
                self, name=case.name, plan=self.plan, sample=sample, case=case, line=line, names=names
            )
            reason = self.plan.known(sample, case)
            if reason is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, raises=ParityFailure, strict=True))
            yield item


class ParityFailure(Exception):
    """A case's verdict is 'failed'; the text is for the user."""


class CaseItem(pytest.Item):
    """One layer or one output, judged."""

    def __init__(
        self,
        *,
        plan: Plan,
        sample: str,
        case: Case,
        line: int,
        names: tuple[str, ...],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.sample = sample
        self.case = case
        self._line = line
        self._spec_name, self._param_name = names
        self.told: dict[str, Any] = {}

    def runtest(self) -> None:
        session = self.config.stash[SESSION]
        run = session.run(self.plan)
        result = run.result(self.sample, self.case)
        refusal = denied(result) if session.require_vulkan else None
        if refusal is not None:
            self._conclude(run, replace(result, outcome="failed"), None, refusal, DeviceDenied)
        elif result.outcome == "skipped":
            self._conclude(run, result, None, f"{result.reason}")
        elif "error" in result.evidence:
            self._conclude(run, result, None, result.evidence["error"])
        elif "unreadable" in result.evidence:
            self._conclude(run, result, None, f"{self._expectation()}: {result.evidence['unreadable']}")
        elif result.outcome == "failed":
            self._fail(run, result, session)
        else:
            self._conclude(run, result, None, "")

    def _notices(self, run: SpecRun, session: Session) -> list[dict[str, Any]]:
        """What is to be said of the masks that are there: told by the first case of the spec."""
        if not session.news((self._spec_name, "masks")):
            return []
        told = list(existing_masks.lint(self.plan))
        if session.fix is not None and existing_masks.masked(self.plan):
            try:
                told += existing_masks.spare(run)
            except EngineError as error:
                told.append(existing_masks.Notice("*", 0, "unjudged", str(error)))
        return [{"spec": self._spec_name, **asdict(notice)} for notice in told]

    def _expectation(self) -> str:
        """The place in the spec that names the recording of this output."""
        path = ("inputs", self.sample, "expect", str(self.case.output))
        return f"{self.plan.spec.at(*path, of_key=True)}: {'.'.join(path)}"

    def _fail(self, run: SpecRun, result: Result, session: Session) -> None:
        upstream = self._upstream(run)
        diagnosis = diagnose(self.case, result, upstream)
        fix = None
        expected = self.plan.known(self.sample, self.case) is not None
        beyond = diagnosis.cause == "load" or self.case.golden is not None
        if session.fix is not None and not beyond and not expected:
            try:
                fix = fixes.find(run, self.case.comparison, session.fix)
            except (EngineError, OSError) as error:
                note = f"no fix was worked out: {error}"
                diagnosis = Diagnosis(diagnosis.cause, diagnosis.what, (*diagnosis.evidence, note))
        if fix is not None and session.news((self._spec_name, fix.comparison)):
            self.told["fixes"] = [records.fix_record(self._spec_name, fix)]
        text = case_text.text(self.case, result, diagnosis, fix, brief=bool(upstream))
        if diagnosis.cause == "load":  # of the whole network: this case only tells of it
            place = self.plan.spec.at(*result.evidence["death"].get("key", ("model", "bin")))
            text = "\n".join([f"{place}: {diagnosis.what}", *diagnosis.evidence])
        if session.repro is not None and self.case.layer is not None and not expected:
            folder = session.repro / make.name(self._spec_name, self.case)
            made = make.make(run, self.sample, self.case, result, text, folder)
            self.told["repro"] = made.path
            text += f"\n  repro: {made}"
        self._conclude(run, result, diagnosis, text)

    def _upstream(self, run: SpecRun) -> Sequence[Red]:
        """The red layers of this sample and comparison, where this case is an output's."""
        if self.case.output is None or self.case.golden is not None:
            return ()
        known = run.results(self.sample)
        needed = self.plan.masked.ancestors([self.case.output])
        red = []
        for case in self.plan.cases(self.case.comparison):
            result = known.get(case.id)
            if result is None or case.layer is None or case.layer.number not in needed:
                continue
            if result.outcome == "failed" and "error" not in result.evidence:
                cause = diagnose(case, result).cause
                red.append(Red(case.layer.name, case.layer.type, cause))
        return red

    def _conclude(
        self,
        run: SpecRun,
        result: Result,
        diagnosis: Diagnosis | None,
        message: str,
        failing: type[Exception] = ParityFailure,
    ) -> None:
        """Note the verdict for the reports, then tell pytest."""
        message = printable(message, lines=True)
        told = records.record(
            self._spec_name,
            self._param_name,
            self.sample,
            self.case,
            result,
            diagnosis,
            message,
            self._line + 1,
        )
        self.told["case"] = {**told, "repro": self.told.pop("repro", None)}
        notices = self._notices(run, self.config.stash[SESSION])
        if notices:
            self.told["masks"] = notices
        unread = result.evidence.get("unread")
        if unread and self.config.stash[SESSION].news((self._spec_name, "unread")):
            self.told["notes"] = [{"spec": self._spec_name, "what": self._unread(unread)}]
        if self.config.stash[SESSION].news((self._spec_name, "model")):
            self.told["model"] = records.model_record(self.plan, self._spec_name, self._param_name)
        known = (self._spec_name, len(run.engine.devices), bool(run.engine.environment))
        if self.config.stash[SESSION].news(known):
            self.told["environment"] = run.environment()
        self.user_properties += records.properties(told)
        self.config.stash[SESSION].concluded(self.path)
        if result.outcome == "skipped":
            pytest.skip(message)
        if result.outcome == "failed":
            raise failing(message)

    def _unread(self, count: int) -> str:
        names = self.plan.spec.model
        return f"no layer reads the last {count} bytes of {names.bin}: is it the one of {names.param}?"

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
            shown.reprcrash.lineno = self._line + 1
            shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
        return shown

    def reportinfo(self) -> tuple[Path, int, str]:
        name = f"{self.sample}::{self.case.id}"
        return self.path, self._line, name


def _relative(path: Path, root: Path) -> str:
    """`path` from `root` with slashes, or as it is where it lies outside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
