"""Answers to a fault that need no masks, each for the whole network; and what they and masks cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pytest_ncnn_parity.compare.comparisons import Comparison, Setup
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.results import SpecRun
from pytest_ncnn_parity.network.param import Graph
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.cost import Cost, cost
from pytest_ncnn_parity.repair.verify import Proof, on_disk, outputs, whole


@dataclass(frozen=True)
class Alternative:
    """A way to run the whole network that needs no masks: right or not, how close, and how fast."""

    name: str
    setup: Setup
    problem: str
    worst: float
    ms: float | None = None


def found(
    run: SpecRun, comparison: Comparison, storage: bool, cases: Mapping[str, Sequence[Case]]
) -> list[Alternative]:
    """Whole-network answers to a fault of 16-bit storage, or of arithmetic alone."""
    candidate = comparison.candidate
    assert candidate is not None
    if candidate.precision != "fp16":
        return []
    ways = {"use_fp16_arithmetic=False": "fp16-storage"}
    if storage:
        ways = {"bf16": "bf16"} if candidate.on_vulkan else {"bf16": "bf16", "fp32": "fp32"}
    tried = []
    for name, precision in ways.items():
        setup = Setup(candidate.device, precision, candidate.options)
        held = run_in(run, comparison, setup, cases)
        problem = "" if held.holds else held.how
        tried.append(Alternative(f"{name} for the whole network", setup, problem, held.worst or 0.0))
    return tried


def run_in(
    run: SpecRun, comparison: Comparison, setup: Setup, cases: Mapping[str, Sequence[Case]]
) -> Proof:
    """The network as it is in `setup`, by the tolerances of `comparison`, against its reference."""
    own = replace(comparison, candidate=setup)
    asked = {
        sample: [replace(case, comparison=own) for case in some]
        for sample, some in outputs(cases).items()
    }
    threads = run.settings.threads
    return whole(
        run, {s: jobs.judge(run.plan, s, some, threads, False, probe=False) for s, some in asked.items()}
    )


def measure(
    run: SpecRun, comparison: Comparison, patched: Graph, others: list[Alternative]
) -> tuple[Cost | None, list[Alternative]]:
    """Time the network before, after, and as each alternative that is right, on the first sample."""
    assert comparison.candidate is not None
    run.idle()
    right = [other for other in others if not other.problem]
    setups = [(comparison.candidate, 0), (comparison.candidate, 1), *((o.setup, 0) for o in right)]
    sample = next(iter(run.plan.spec.inputs))
    with on_disk(patched) as path:
        job = jobs.timing(run.plan, sample, setups, [path], run.settings.threads)
        try:
            before, after, *rest = run.engine.ask(job)
        except EngineError:  # as when the unpatched network kills the worker: there is no before
            return None, others
    if before["problem"] or after["problem"]:
        return None, others
    found = cost(patched, (before["ms"], before["where"]), (after["ms"], after["where"]))
    timed = {o.name: replace(o, ms=median(told["ms"])) for o, told in zip(right, rest, strict=True)}
    return found, [timed.get(other.name, other) for other in others]
