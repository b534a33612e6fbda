"""What the results of the layers in front of an output say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Failure
from pytest_ncnn_parity.diagnose.downstream import Red
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case, Plan


class Run(Protocol):
    """Where the results of a sample are, by case id."""

    def results(self, sample: str) -> Mapping[str, Result]: ...


class Upstream(Frozen):
    """The `red` layers in front of an output, in running order.

    `unjudged`: which of the layers have no result in this run, in words; empty if all have one.
    `unsafe`: those that are right, though they have an unsafe mask, in words.
    """

    red: Sequence[Red] = ()
    unjudged: str = ""
    unsafe: Sequence[str] = ()


def shown(plan: Plan, sample: str, case: Case, run: Run) -> Upstream:
    """What the layers on which the output of `case` depends show; nothing for the case of a layer."""
    if case.output is None:
        return Upstream()
    way = plan.fed(sample).ancestors([case.output])
    results = run.results(sample)
    judged = [
        (other.layer, results[other.id], other)
        for other in plan.cases(case.comparison, sample)
        if other.layer is not None and other.layer.number in way and other.id in results
    ]
    red = [
        Red(
            layer.name,
            layer.type,
            diagnose(other, result).cause,
            compared=result.metrics is not None,
        )
        for layer, result, other in judged
        if result.outcome == "failed" and result.evidence.error is None
    ]
    unsafe = [
        f"31={result.evidence.mask} on {layer.name} ({layer.type})"
        for layer, result, other in judged
        if result.outcome == "passed" and Failure(other, result).unsafe_mask is not None
    ]
    other = plan.other(case.comparison)
    folded = () if other is None else other.judged_at  # into another layer, which is judged
    layers = {n for n in way if plan.masked.layers[n].type != "Input" and n not in folded}
    left = layers.difference(layer.number for layer, _, _ in judged)
    if not left:
        return Upstream(red, unsafe=unsafe)
    if left == layers:
        return Upstream(red, "no layer in front of it was judged", unsafe)
    return Upstream(red, f"{len(left)} of {len(layers)} layers in front of it were not judged", unsafe)
