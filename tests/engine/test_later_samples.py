"""What each sample's job is told of the samples before it, and what it costs to know that."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

import plans
import pytest

from pytest_ncnn_parity.engine import selected_cases
from pytest_ncnn_parity.engine.answers import Answers
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.kept import KeptResults
from pytest_ncnn_parity.engine.lanes import Lanes
from pytest_ncnn_parity.engine.protocol import Judge, Result
from pytest_ncnn_parity.engine.room import Room
from pytest_ncnn_parity.engine.selected_cases import SelectedCases
from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.spec import spec

KNOWN = "known: [{layer: conv_1, sample: s0, reason: of old}]\n"
Outcome = Callable[[int, str], Result]  # of the case with this id, in the job with this number


class Interrupted(BaseException):
    """As Ctrl-C, or another plugin's time limit."""


class Judged(Lanes):
    """Gives each case its `outcome`, and keeps the jobs."""

    def __init__(self, engine: Engine, outcome: Outcome) -> None:
        super().__init__(engine, lambda: engine, cores=1)
        self.jobs: list[Judge] = []
        self._outcome = outcome

    def run(self, job: Judge, _: Room) -> Iterator[Result]:
        self.jobs.append(job)
        number = len(self.jobs) - 1
        for case in job.cases:
            if case.id not in job.done:
                yield self._outcome(number, case.id)


def planned(folder: Path, samples: int, text: str = "") -> Plan:
    path = folder / "net.parity.yaml"
    inputs = "".join(f"  s{i}: {{in0: {{random: normal, seed: {i}}}}}\n" for i in range(samples))
    model = "model: {param: net.param, bin: net.bin}\n"
    path.write_text(f"{model}inputs:\n{inputs}compare: [fp16-range, cpu-vs-vulkan]\n{text}", "utf-8")
    return Plan(spec.load(path), param.parse(plans.NETWORK, "net.param"))


def cases(plan: Plan) -> list[Case]:
    return [case for one in plan.spec.comparisons for case in plan.cases(one)]


def selection(plan: Plan, outcome: Outcome, share: Path | None = None) -> tuple[SelectedCases, Judged]:
    """All cases of `plan`, and what judges them."""
    engine = Engine(1.0)
    judged = Judged(engine, outcome)
    settings = Settings(1.0, cores=1, share=share)
    answers = Answers(plan.name, share, lambda: False)
    selected = dict.fromkeys(plan.spec.inputs, cases(plan))
    kept = KeptResults(None, plan, engine)
    args = plan, settings, selected, engine, judged, kept, answers, lambda: False
    return SelectedCases(*args), judged


def dead(case_id: str) -> Result:
    """A failure whose step has the name of the case."""
    death = Death("crash", "killed by SIGSEGV", Step("layer", "vulkan", name=case_id))
    return Result(case_id, "failed", evidence=Evidence(death=death))


def passes_but(*failing: str) -> Outcome:
    return lambda number, one: dead(one) if number == 0 and one in failing else Result(one, "passed")


def told(job: Judge) -> list[str]:
    return [step.name for step in job.told]


RANGE = [f"fp16-range::{name}" for name in ("conv_1", "gelu_1", "prob_1")]


def test_later_samples_are_told_of_what_is_not_expected_to_fail(tmp_path: Path) -> None:
    some, judged = selection(planned(tmp_path, 3, KNOWN), passes_but(*RANGE))
    for sample in ("s0", "s1", "s2"):
        some.results(sample)
    assert [told(job) for job in judged.jobs] == [[], RANGE[1:], RANGE[1:]]


def test_what_another_process_has_found_is_told_as_well(tmp_path: Path) -> None:
    plan = planned(tmp_path, 2, KNOWN)
    there, _ = selection(plan, passes_but(*RANGE), share=tmp_path)
    assert there.run_if_free("s0")
    here, judged = selection(plan, passes_but(), share=tmp_path)
    assert not here.run_if_free("s0")
    assert here.result("s0", RANGE[1]).outcome == "failed"
    here.results("s1")
    assert [told(job) for job in judged.jobs] == [RANGE[1:]]


def test_who_runs_the_rest_of_an_interrupted_sample_is_told_of_its_beginning(tmp_path: Path) -> None:
    def outcome(number: int, case_id: str) -> Result:
        if number == 0 and case_id == RANGE[1]:
            raise Interrupted
        return dead(case_id)

    some, judged = selection(planned(tmp_path, 1), outcome)
    with pytest.raises(Interrupted):
        some.results("s0")
    some.results("s0")
    rest = judged.jobs[1]
    assert RANGE[0] in told(rest)
    assert sorted(rest.done) == sorted(told(rest)) == sorted(rest.red)


def test_a_result_is_looked_at_once_however_many_samples_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample would look at the results of all before it otherwise."""
    looked_at: list[str] = []
    asked: list[str] = []
    steps_told, known = selected_cases.steps_told, Plan.known

    def counted(results: Iterable[Result], expected: Container[str]) -> tuple[Step, ...]:
        results = list(results)
        looked_at.extend(result.id for result in results)
        return steps_told(results, expected)

    def asked_for(plan: Plan, sample: str, case: Case) -> str | None:
        asked.append(case.id)
        return known(plan, sample, case)

    monkeypatch.setattr(selected_cases, "steps_told", counted)
    monkeypatch.setattr(Plan, "known", asked_for)
    plan = planned(tmp_path, 6, KNOWN)
    some, judged = selection(plan, passes_but(*RANGE))
    for sample in plan.spec.inputs:
        some.results(sample)
    total = len(plan.spec.inputs) * len(cases(plan))
    assert len(looked_at) == total
    assert len(asked) <= 2 * total, "for the job, and for what it is told"
    assert len(judged.jobs) == len(plan.spec.inputs)
