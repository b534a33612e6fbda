"""What pytest sees: SpecFile > Sample > Comparison > Case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pytest_ncnn_parity import check, fixes, masks, param, repro, setups, spec
from pytest_ncnn_parity.diagnose import Diagnosis, Red, diagnose
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.errors import ParityError
from pytest_ncnn_parity.fixes import FixSettings
from pytest_ncnn_parity.plan import Case, Plan
from pytest_ncnn_parity.report import failure, records
from pytest_ncnn_parity.runs import Settings, SpecRun


class Session:
    """The runs of a session, one per spec, made when its first case runs. `root`: what it may read."""

    def __init__(
        self,
        settings: Settings,
        fix: FixSettings | None,
        require_vulkan: bool,
        root: Path | None,
        repro: Path | None = None,
    ) -> None:
        self.root = root
        self.settings = settings
        self.fix = fix
        self.require_vulkan = require_vulkan
        self.repro = repro
        self._runs: dict[str, SpecRun] = {}  # by the spec's path; a str, for a Path hashes slowly
        self._selected: dict[str, dict[str, list[Case]]] = {}
        self._waiting: Counter[str] = Counter()  # by the spec's path: cases without a verdict
        self._told: set[object] = set()

    def select(self, items: Iterable[pytest.Item]) -> None:
        """Take note of the cases that this session is going to run."""
        for item in items:
            if isinstance(item, CaseItem):
                samples = self._selected.setdefault(str(item.path), {})
                samples.setdefault(item.sample, []).append(item.case)
                self._waiting[str(item.path)] += 1

    def run(self, plan: Plan) -> SpecRun:
        path = str(plan.spec.path)
        if path not in self._runs:
            for other in list(self._runs):
                self._leave(other)
            self._runs[path] = SpecRun(plan, self.settings, self._selected.get(path, {}))
        return self._runs[path]

    def _leave(self, path: str) -> None:
        """One worker at a time: it holds networks and a GPU. And no results that nobody waits for."""
        run = self._runs[path]
        run.idle()
        run.close()
        if self._waiting[path] <= 0 or self.settings.share is not None:  # there they can be read again
            del self._runs[path]

    def concluded(self, item: CaseItem) -> None:
        """Take note that `item` has its verdict."""
        self._waiting[str(item.path)] -= 1

    def news(self, key: object) -> bool:
        """Whether `key` is told for the first time."""
        known = key in self._told
        self._told.add(key)
        return not known

    def close(self) -> None:
        for run in self._runs.values():
            run.close()


SESSION = pytest.StashKey[Session]()


class SpecFile(pytest.File):
    """A `*.parity.yaml` file."""

    def collect(self) -> Iterator[Sample]:
        root = self.config.stash[SESSION].root
        try:
            plan = check.plan(spec.load(self.path, root), self.config.rootpath, root)
        except ParityError as error:
            raise self.CollectError(str(error)) from None
        for name in plan.spec.inputs:
            yield Sample.from_parent(self, name=name, plan=plan)


class Sample(pytest.Collector):
    """One named set of inputs."""

    def __init__(self, *, plan: Plan, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def collect(self) -> Iterator[ComparisonNode]:
        expected = [setups.GOLDEN] if self.plan.spec.samples[self.name].expect else []
        for comparison in [*self.plan.spec.comparisons, *expected]:
            yield ComparisonNode.from_parent(
                self, name=comparison.name, plan=self.plan, comparison=comparison
            )


class ComparisonNode(pytest.Collector):
    """One pair of setups."""

    def __init__(self, *, plan: Plan, comparison: setups.Comparison, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.comparison = comparison

    def collect(self) -> Iterator[CaseItem]:
        assert self.parent is not None
        sample = self.parent.name
        recorded = self.comparison.recorded
        cases = self.plan.goldens(sample) if recorded else self.plan.cases(self.comparison)
        path = ("inputs", sample, *(["expect"] if recorded else []))
        line = self.plan.spec.line(*path) - 1
        names = tuple(_relative(p, self.config.rootpath) for p in (self.path, self.plan.spec.param))
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
        lacks_vulkan = result.outcome == "skipped" and result.evidence.get("no_vulkan")
        if lacks_vulkan and session.require_vulkan:
            self._conclude(run, Result(result.id, "failed"), None, f"{result.reason}")
        if result.outcome == "skipped":
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
        told = list(masks.lint(self.plan))
        if session.fix is not None and masks.masked(self.plan):
            try:
                told += masks.spare(run)
            except EngineError as error:
                told.append(masks.Notice("*", 0, "unjudged", str(error)))
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
        text = failure.text(self.case, result, diagnosis, fix, brief=bool(upstream))
        if diagnosis.cause == "load":  # of the whole network: this case only tells of it
            place = self.plan.spec.at(*result.evidence["death"].get("key", ("model", "bin")))
            text = "\n".join([f"{place}: {diagnosis.what}", *diagnosis.evidence])
        if session.repro is not None and self.case.layer is not None and not expected:
            folder = session.repro / repro.name(self._spec_name, self.case)
            made = repro.make(run, self.sample, self.case, result, text, folder)
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

    def _conclude(self, run: SpecRun, result: Result, diagnosis: Diagnosis | None, message: str) -> None:
        """Note the verdict for the reports, then tell pytest."""
        told = records.record(
            self._spec_name,
            self._param_name,
            self.sample,
            self.case,
            result,
            diagnosis,
            message,
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
        self.config.stash[SESSION].concluded(self)
        if result.outcome == "skipped":
            pytest.skip(message)
        if result.outcome == "failed":
            raise ParityFailure(message)

    def _unread(self, count: int) -> str:
        names = self.plan.spec.model
        return f"no layer reads the last {count} bytes of {names.bin}: is it the one of {names.param}?"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Our own failure is its text, without a traceback; its first line is the summary."""
        if not isinstance(excinfo.value, ParityFailure | EngineError | param.ParamError):
            return super().repr_failure(excinfo, style)
        shown = excinfo.getrepr(style="value")
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
