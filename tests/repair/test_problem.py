"""The results of a comparison as a problem: which cases masks must make right, and which they cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plans
import pytest

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Trial
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.problem import Problem, problem_of
from pytest_ncnn_parity.spec import spec

pytestmark = pytest.mark.once

FP16 = "fp16-vs-fp32-vulkan"
METRICS = compare(np.array([1.5, 1.0]), np.ones(2), Tolerance())


def cases(plan: Plan) -> dict[str, Case]:
    (comparison,) = (one for one in plan.spec.comparisons if one.name == FP16)
    return {case.name: case for case in plan.cases(comparison)}


def failed(case: Case, scaled: float = 0.5, **evidence: Any) -> Result:
    return Result(case.id, "failed", replace(METRICS, scaled=scaled), evidence=Evidence(**evidence))


def problem(plan: Plan, *by_sample: dict[str, Result]) -> Problem:
    """The problem where the samples have these results, by case name, and all else passed."""
    every = cases(plan)
    results = {
        sample: {
            case.id: given.get(name, Result(case.id, "passed", replace(METRICS, scaled=0.001)))
            for name, case in every.items()
        }
        for sample, given in zip(plan.spec.inputs, (*by_sample, {}, {}), strict=False)
    }
    return problem_of(plan, list(every.values()), results)


def names(problem: Problem, sample: str = "noise") -> list[str]:
    return [case.name for case in problem.cases[sample]]


def test_what_is_green_is_no_problem(tmp_path: Path) -> None:
    seen = problem(plans.loaded(tmp_path))
    assert (seen.red, seen.faults, seen.beyond) == (False, [], [])
    assert names(seen) == ["output:out0", "output:out1"]
    assert {name: error.scaled for name, error in seen.outputs.items()} == {"out0": 0.001, "out1": 0.001}


def test_a_layer_that_is_red_in_one_sample_must_be_right_in_all(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    seen = problem(plan, {}, {"conv_1": failed(cases(plan)["conv_1"])})
    assert [fault.layer.name for fault in seen.faults] == ["conv_1"]
    assert names(seen, "noise") == names(seen, "flat") == ["conv_1", "output:out0", "output:out1"]


def test_what_was_skipped_for_a_red_layer_must_be_right_as_well(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    every = cases(plan)
    skipped = Result(every["gelu_1"].id, "skipped", evidence=Evidence(origin="conv_1"))
    seen = problem(plan, {"conv_1": failed(every["conv_1"]), "gelu_1": skipped})
    assert names(seen)[:2] == ["conv_1", "gelu_1"]


def test_an_output_that_a_sample_feeds_past_a_doubtful_layer_can_be_repaired(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    red = {
        "fork": failed(cases(plan)["fork"], reference_nan=3),
        "output:out0": failed(cases(plan)["output:out0"]),
    }
    assert names(problem(plan, red)) == []
    written = (tmp_path / "net.parity.yaml").read_text("utf-8")
    fed = written.replace(
        "noise: {in0: {random: normal}}", "noise: {in0: {random: normal}, a: {constant: 1}}"
    )
    (tmp_path / "net.parity.yaml").write_text(fed, "utf-8")
    assert names(problem(Plan(spec.load(tmp_path / "net.parity.yaml"), plan.graph), red)) == [
        "output:out0"
    ]


def test_faults_come_in_running_order_as_the_first_sample_shows_them(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    every = cases(plan)
    right = {"without_arithmetic": Trial("without fp16 arithmetic", True)}
    first = {"prob_1": failed(every["prob_1"], trials=right)}
    second = {"prob_1": failed(every["prob_1"]), "conv_1": failed(every["conv_1"])}
    seen = problem(plan, first, second)
    assert [(fault.layer.name, fault.without_arithmetic) for fault in seen.faults] == [
        ("conv_1", False),
        ("prob_1", True),
    ]


def test_a_known_failure_is_left_out_where_it_is_known(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "known: [{layer: conv_1, sample: noise, reason: it scales}]\n")
    red = {"conv_1": failed(cases(plan)["conv_1"])}
    known = problem(plan, red)
    assert (known.red, known.faults) == (False, [])
    seen = problem(plan, red, red)
    assert ("conv_1" in names(seen, "noise"), "conv_1" in names(seen, "flat")) == (False, True)


@pytest.mark.parametrize(
    "evidence",
    [
        {"reference_nan": 3},
        {"trials": {"plain_cpu": Trial("plainly", False, 0.5)}},
        {"error": "no such file"},
        {"death": Death("files", "cut off", Step("load", "cpu fp32"))},
    ],
    ids=lambda evidence: next(iter(evidence)),
)
def test_what_no_mask_changes_is_named_and_left_out(evidence: dict[str, Any], tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    seen = problem(plan, {"conv_1": failed(cases(plan)["conv_1"], **evidence)})
    assert (seen.red, seen.faults, seen.beyond) == (False, [], ["conv_1"])
    assert "conv_1" not in names(seen)


@pytest.mark.parametrize(
    "evidence",
    [{"trials": {"plain_cpu": Trial("plainly", None, problem="shape (4,)")}}, {"reference_nan": 3}],
    ids=["doubtful", "nan"],
)
def test_no_mask_is_to_make_an_output_what_a_wrong_reference_gives(
    evidence: dict[str, Any], tmp_path: Path
) -> None:
    plan = plans.loaded(tmp_path)
    every = cases(plan)
    doubted = failed(every["conv_1"], **evidence)
    behind = {"conv_1": doubted, "output:out0": failed(every["output:out0"], 0.7)}
    seen = problem(plan, behind)
    assert (seen.red, seen.beyond) == (False, ["conv_1", "output:out0"])
    assert problem(plan, {"output:out0": behind["output:out0"]}).red


def test_masks_are_to_help_an_output_in_int8_that_the_cpu_rounds_otherwise(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    output = cases(plan)["output:out0"]
    trials = {"plain_cpu": Trial("plainly", False, 0.5)}
    for behind_int8 in (False, True):
        red = failed(output, trials=trials, behind_int8=behind_int8)
        seen = problem(plan, {"output:out0": red})
        assert seen.beyond == ([] if behind_int8 else ["output:out0"])


def test_of_an_output_the_worst_sample_counts(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    out0 = cases(plan)["output:out0"]
    seen = problem(plan, {"output:out0": failed(out0, 0.2)}, {"output:out0": failed(out0, 0.7)})
    assert (seen.outputs["out0"].scaled, seen.outputs["out0"].failed) == (0.7, True)
    assert (seen.outputs["out1"].scaled, seen.outputs["out1"].failed) == (0.001, False)


def test_what_died_is_as_wrong_as_can_be_and_what_was_skipped_unknown(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    out0 = cases(plan)["output:out0"]
    died = Result(out0.id, "failed", evidence=Evidence(death=Death("crash", "SIGSEGV")))
    assert problem(plan, {"output:out0": died}).outputs["out0"].scaled == float("inf")
    skipped = {name: Result(case.id, "skipped") for name, case in cases(plan).items()}
    assert problem(plan, skipped, skipped).outputs == {}


def test_the_loosest_output_says_how_far_outputs_may_be_off(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, "tolerance: {outputs: {out1: {scaled: 0.3}}}\n")
    assert problem(plan).output_tolerance == 0.3
