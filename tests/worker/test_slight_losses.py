"""Which layers may lose slightly too much in fp16 arithmetic, and which stay red."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import graphs
import pytest

from pytest_ncnn_parity.compare.measured import NOTHING
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.evidence import Distrust, Evidence, Trial
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.judge.fp16.slight_losses import SlightLosses

GRAPH = graphs.network(
    "Split fork in0 left right",
    "Gemm ffn left a",
    "Softmax softmax a out0",
    "ReLU relu right b",
    "Gemm other b out1",
)
NUMBER = {layer.name: layer.number for layer in GRAPH.layers}
CASE = CaseSpec("one", "fp16", "pair", 0, 1, "fp16", DEFAULTS["fp16"].layer, layer=NUMBER["ffn"])
OFF = replace(
    NOTHING, agrees=False, total=10_000, mismatched=10, used=1.9, sqnr_db=27.0, failed=("elements",)
)
RIGHT = {"without_arithmetic": Trial("without fp16 arithmetic", True, 0.015)}


def judged(outputs: dict[str, Result], layer: str = "ffn", evidence: Any = (), **metrics: Any) -> str:
    """The outcome of a failed layer that is off by `metrics`, if the outputs are judged so."""
    case = replace(CASE, layer=NUMBER[layer])
    slight = SlightLosses(GRAPH, ("out0", "out1"), lambda blob: blob == "b")
    seen = Evidence(**{"trials": RIGHT, **dict(evidence)})
    result = Result("one", "failed", replace(OFF, **metrics), evidence=seen)
    if not slight.holds(case, result):
        return "failed at once"
    for output, its_result in outputs.items():
        its_case = replace(CASE, layer=None, output=output, tolerance=DEFAULTS["fp16"].output)
        slight.observe(its_case, its_result)
    (settled,) = slight.settled()
    assert settled.metrics is not None
    assert bool(settled.metrics.forgiven) == (settled.outcome == "passed")
    return settled.outcome


def output(
    outcome: Any = "passed", noise: float | None = None, forgiven: str = "", used: float = 0.5
) -> Result:
    metrics = replace(NOTHING, agrees=outcome == "passed", forgiven=forgiven, used=used)
    return Result("out", outcome, metrics, evidence=Evidence(noise=noise))


@pytest.mark.parametrize(
    ("outputs", "outcome"),
    [
        ({"out0": output()}, "passed"),
        ({"out0": output(), "out1": output("failed")}, "passed"),  # on another branch
        ({"out0": output("failed")}, "failed"),
        ({"out0": output("skipped")}, "failed"),
        ({"out0": output(noise=2.0)}, "failed"),
        ({"out0": output(forgiven="less than a grey step")}, "failed"),
        ({"out0": output(used=0.6)}, "passed"),
        ({"out0": output(used=0.7)}, "failed"),  # which a layer may not be off by
        ({"out1": output()}, "failed"),
        ({}, "failed"),
    ],
)
def test_every_output_behind_it_must_be_within_its_tolerance(
    outputs: dict[str, Result], outcome: str
) -> None:
    assert judged(outputs) == outcome


@pytest.mark.parametrize(
    "metrics",
    [
        {"mismatched": 11},
        {"total": 900, "mismatched": 1},
        {"used": 2.0},
        {"sqnr_db": 25.0},
        {"failed": ("elements", "cosine")},
    ],
)
def test_more_or_larger_errors_are_red(metrics: dict[str, Any]) -> None:
    assert judged({"out0": output()}, **metrics) == "failed at once"


@pytest.mark.parametrize(
    "evidence",
    [
        {"trials": {}},
        {"trials": {"without_arithmetic": Trial("", False, 0.06)}},
        {"trials": {"without_arithmetic": Trial("", True, 0.03)}},
        {"trials": {**RIGHT, "repeated": Trial("", True)}},
        {"trials": {**RIGHT, "plain_cpu": Trial("", False)}},
        {"distrust": Distrust("ffn", "Gemm")},
        {"reference_nan": 1},
    ],
)
def test_what_fp16_arithmetic_does_not_explain_is_red(evidence: dict[str, Any]) -> None:
    assert judged({"out0": output()}, evidence=evidence) == "failed at once"


@pytest.mark.parametrize(
    ("layer", "outcome"),
    [("other", "passed"), ("relu", "failed at once"), ("softmax", "failed at once")],
)
def test_only_sums_of_products_are_looked_at(layer: str, outcome: str) -> None:
    assert judged({"out0": output(), "out1": output()}, layer) == outcome


def test_where_no_output_is_behind_it_nothing_says_that_none_is_wrong() -> None:
    slight = SlightLosses(GRAPH, ("out1",), lambda _: False)
    assert slight.holds(CASE, Result("one", "failed", OFF, evidence=Evidence(trials=RIGHT)))
    assert [result.outcome for result in slight.settled()] == ["failed"]


def test_no_error_of_a_probability_is_slight() -> None:
    slight = SlightLosses(GRAPH, ("out0", "out1"), lambda blob: blob == "a")
    assert not slight.holds(CASE, Result("one", "failed", OFF, evidence=Evidence(trials=RIGHT)))


def test_a_tolerance_of_the_users_own_holds_to_the_letter() -> None:
    slight = SlightLosses(GRAPH, ("out0", "out1"), lambda _: False)
    own = replace(CASE, tolerance=replace(CASE.tolerance, scaled=0.04))
    assert not slight.holds(own, Result("one", "failed", OFF, evidence=Evidence(trials=RIGHT)))
