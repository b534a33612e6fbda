"""Fixes that need no masks: other setups for the whole network, and what they cost beside the masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from statistics import median

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import Comparison, Setup
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.masks import NO_WINOGRAD, weak_mask
from pytest_ncnn_parity.repair.cost import Cost, cost
from pytest_ncnn_parity.repair.outputs import worst
from pytest_ncnn_parity.repair.search import Masks
from pytest_ncnn_parity.repair.verify import CasesBySample, on_disk, verify_setup

MANY = 12  # with more masks than this, one question is asked about each option instead of each mask


class Alternative(Frozen):
    """A way to run the whole network without masks; `problem` says what is wrong with it, if anything.

    `worst` is the largest error of an output, as a share of its largest value; `ms` is the time of a
    run.
    """

    name: str
    setup: Setup
    problem: str
    worst: float
    ms: float | None = None


def try_alternatives(
    run: SpecRun, comparison: Comparison, masks: Masks, cases: CasesBySample
) -> list[Alternative]:
    """Run the whole network without the features that `masks` switch off for single layers."""
    assert comparison.candidate is not None
    tried = []
    for name, setup in ways(comparison.candidate, masks):
        verification = verify_setup(run, comparison, setup, cases)
        problem = "" if verification.holds else verification.how
        error = worst(verification.outputs) or 0.0
        tried.append(Alternative(f"{name} for the whole network", setup, problem, error))
    return tried


def ways(candidate: Setup, masks: Masks) -> Iterator[tuple[str, Setup]]:
    """By option, setups that switch off for the whole network what `masks` switch off for layers."""
    taken = reduce(or_, masks.values(), 0)
    arithmetic = weak_mask(candidate) or 0
    light = taken & ~(arithmetic | NO_WINOGRAD) == 0
    if light:
        names, setup = [], candidate
        if taken & arithmetic:
            names.append("use_fp16_arithmetic=False")
            setup = replace(setup, precision="fp16-storage")
        if taken & NO_WINOGRAD:
            names.append("use_winograd_convolution=False")
            setup = replace(setup, options={**setup.options, "use_winograd_convolution": False})
        yield " and ".join(names), setup
    elif candidate.precision == "fp16":
        if len(masks) > MANY:
            yield "use_fp16_arithmetic=False", replace(candidate, precision="fp16-storage")
        for precision in ("bf16",) if candidate.on_vulkan else ("bf16", "fp32"):
            yield precision, replace(candidate, precision=precision)


def measure_cost(
    run: SpecRun,
    comparison: Comparison,
    network: Graph,
    alternatives: Sequence[Alternative],
    cases: CasesBySample,
) -> tuple[Cost | None, list[Alternative]]:
    """Time the network before and after, and as each alternative that is right, on one sample.

    The sample is the first with a run of the whole network among `cases`, because the inputs of others
    need not fit. `network` is the patched one. The cost is None if the network cannot be timed as it
    was, because that may kill the worker, or as it is now.
    """
    assert comparison.candidate is not None
    right = [alternative for alternative in alternatives if not alternative.problem]
    setups = [(comparison.candidate, 0), (comparison.candidate, 1), *((a.setup, 0) for a in right)]
    runs = (name for name, some in cases.items() if any(case.output is not None for case in some))
    sample = next(runs, next(iter(run.plan.spec.inputs)))
    with on_disk(network.text) as path:
        try:
            before, after, *others = run.time(sample, setups, [path])
        except EngineError:
            return None, list(alternatives)
    if before.problem or after.problem:
        return None, list(alternatives)
    timed = {
        a.name: replace(a, ms=median(timing.ms))
        for a, timing in zip(right, others, strict=True)
        if not timing.problem
    }
    price = cost(network, (before.ms, before.where), (after.ms, after.where))
    return price, [timed.get(a.name, a) for a in alternatives]
