"""What pytest sees: SpecFile > Sample > Comparison > Case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity.asked import DeviceDenied, denied
from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.diagnose.causes import Red, diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair import existing_masks
from pytest_ncnn_parity.repair.find_fix import find_fix
from pytest_ncnn_parity.report import records
from pytest_ncnn_parity.report.document.case import Place
from pytest_ncnn_parity.report.document.fix import MaskNotice
from pytest_ncnn_parity.report.fix_records import fix_record, mask_notice
from pytest_ncnn_parity.report.repro import make
from pytest_ncnn_parity.report.repro.script import FailedLayer
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
        recorded = self.comparison.of_recordings
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
        self.carried: records.Carried = {}

    def runtest(self) -> None:
        session = self.config.stash[SESSION]
        run = session.run(self.plan)
        result = run.result(self.sample, self.case)
        refusal = denied(result) if session.require_vulkan else None
        if refusal is not None:
            message = case_text.plain(refusal)
            self._conclude(run, replace(result, outcome="failed"), None, message, DeviceDenied)
        elif result.outcome == "skipped":
            self._conclude(run, result, None, case_text.plain(f"{result.reason}"))
        elif result.evidence.error is not None:
            self._conclude(run, result, None, case_text.plain(result.evidence.error))
        elif result.evidence.unreadable is not None:
            self._conclude(run, result, None, self._unreadable(result.evidence.unreadable))
        elif result.outcome == "failed":
            self._fail(run, result, session)
        else:
            self._conclude(run, result, None, case_text.plain(""))

    def _notices(self, run: SpecRun, session: Session) -> list[MaskNotice]:
        """What is to be said of the masks that are there: carried by the first case of the spec."""
        if not session.news((self._spec_name, "masks")):
            return []
        notices = list(existing_masks.lint(self.plan))
        if session.fix is not None and existing_masks.masked(self.plan):
            try:
                notices += existing_masks.spare(run)
            except EngineError as error:
                notices.append(existing_masks.Notice("*", 0, "unjudged", str(error)))
        return [mask_notice(notice) for notice in notices]

    def _unreadable(self, why: str) -> case_text.Message:
        """What is wrong with the recording of this output, at the place in the spec that names it."""
        path = ("inputs", self.sample, "expect", str(self.case.output))
        place = f"{self.plan.spec.at(*path, of_key=True)}: {'.'.join(path)}"
        return case_text.plain(f"{place}: {why}", self._place(*path, of_key=True))

    def _place(self, *path: str, of_key: bool = False) -> Place:
        place = self.plan.spec.place(*path, of_key=of_key)
        return {"line": place.line, "column": place.column}

    def _fail(self, run: SpecRun, result: Result, session: Session) -> None:
        upstream = self._upstream(run)
        diagnosis = diagnose(self.case, result, upstream)
        fix = None
        expected = self.plan.known(self.sample, self.case) is not None
        beyond = diagnosis.cause == "load" or not self.case.comparison.masks_can_cure
        if session.fix is not None and not beyond and not expected:
            try:
                fix = find_fix(run, self.case.comparison, session.fix)
            except (EngineError, OSError) as error:
                note = f"no fix was worked out: {error}"
                diagnosis = Diagnosis(diagnosis.cause, diagnosis.what, (*diagnosis.evidence, note))
        fixed = None if fix is None else fix_record(fix)
        if fixed is not None and session.news((self._spec_name, fixed["comparison"])):
            self.carried["fixes"] = [fixed]
        message = case_text.failure(self.case, result, diagnosis, fixed, brief=bool(upstream))
        if diagnosis.cause == "load":  # of the whole network: this case only tells of it
            path = _key(result)
            message = case_text.of_files(diagnosis, self.plan.spec.at(*path), self._place(*path))
        repro = None
        if session.repro is not None and self.case.layer is not None and not expected:
            failed = FailedLayer(self.sample, self.case, result, diagnosis.cause, message.text)
            folder = session.repro / make.name(self._spec_name, self.case)
            made = make.make(run, failed, folder)
            repro = made.path
            message = message.ending(f"repro: {made}")
        self._conclude(run, result, diagnosis, message, repro=repro)

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
            if result.outcome == "failed" and result.evidence.error is None:
                cause = diagnose(case, result).cause
                red.append(Red(case.layer.name, case.layer.type, cause))
        return red

    def _conclude(
        self,
        run: SpecRun,
        result: Result,
        diagnosis: Diagnosis | None,
        message: case_text.Message,
        failing: type[Exception] = ParityFailure,
        repro: str | None = None,
    ) -> None:
        """Note the verdict for the reports, then tell pytest."""
        session = self.config.stash[SESSION]
        case = records.case_record(
            self.nodeid, self.sample, self.case, result, diagnosis, message, self._line + 1, repro
        )
        self.carried["case"] = case
        notices = self._notices(run, session)
        if notices:
            self.carried["masks"] = notices
        notes = []
        unread = result.evidence.unread
        if unread and session.news((self._spec_name, "unread")):
            notes.append(self._unread(unread))
        if session.news((self._spec_name, "model")):
            self.carried["network"], unhashed = records.network_record(
                self.plan, self._spec_name, self._param_name
            )
            notes += unhashed
        if notes:
            self.carried["notes"] = notes
        known = (self._spec_name, run.environment_size)
        if session.news(known):
            self.carried["environment"] = records.worker_environment(run.environment)
        self.user_properties += records.properties(case)
        session.concluded(self.path)
        if result.outcome == "skipped":
            pytest.skip(case["message"])
        if result.outcome == "failed":
            raise failing(case["message"])

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


def _key(result: Result) -> tuple[str, ...]:
    """Where in the spec to look for what kept the network from loading."""
    death = result.evidence.death
    return ("model", "bin") if death is None or not death.key else death.key


def _relative(path: Path, root: Path) -> str:
    """`path` from `root` with slashes, or as it is where it lies outside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
