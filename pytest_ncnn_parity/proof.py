"""The patched network, loaded afresh and run as users run it: is it right, and what does it cost?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from pytest_ncnn_parity import jobs
from pytest_ncnn_parity.cost import Cost, cost
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.param import Graph
from pytest_ncnn_parity.plan import Case
from pytest_ncnn_parity.runs import SpecRun
from pytest_ncnn_parity.setups import Comparison, Setup
from pytest_ncnn_parity.trials import outputs_in, symptom

REPEATS = 3  # of each sample on the patched network: a race need not show at once


@dataclass(frozen=True)
class Proof:
    """`holds`, or why not; `how` says in a line what was run and what came of it. `ran`: it could be.

    `worst` is the largest error of an output, as a share of its largest value.
    """

    holds: bool
    how: str
    ran: bool = True
    worst: float | None = None


@contextmanager
def _file(patched: Graph) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-") as folder:
        path = Path(folder) / "patched.param"
        path.write_bytes(patched.text.encode("utf-8"))
        yield str(path)


def prove(
    run: SpecRun, comparison: Comparison, patched: Graph, cases: Mapping[str, Sequence[Case]]
) -> Proof:
    """Write the patched .param, load it, run every sample several times, compare the outputs."""
    assert comparison.candidate is not None
    run.idle()
    outputs = {name: [case for case in some if case.output is not None] for name, some in cases.items()}
    samples = [name for name, some in outputs.items() if some]
    if not samples:
        return Proof(
            False, "not run: each output is known to fail, or wrong in the reference", ran=False
        )
    worst = 0.0
    with _file(patched) as path:
        for sample in samples:
            job = jobs.proof(run.plan, sample, outputs[sample], path, REPEATS, run.settings.threads)
            try:
                results = list(run.engine.run(job))
            except EngineError as error:
                return Proof(False, f"the patched network could not be run: {error}")
            for result in results:
                if result.outcome == "failed":
                    name = result.id.split("::")[1]
                    return Proof(False, f"sample {sample}: {name} {symptom(result)}")
                if result.metrics is None:
                    return Proof(False, f"not run: {result.reason}", ran=False)
                worst = max(worst, float(result.metrics["scaled"]))
    count = f"{len(samples)} sample{'s' if len(samples) > 1 else ''}"
    times = f"{REPEATS} times" if REPEATS > 1 else "once"
    how = (
        f"the patched network ran {count} {times} on {comparison.candidate}: outputs within {worst:.3g}"
    )
    return Proof(True, how, worst=worst)


@dataclass(frozen=True)
class Alternative:
    """A way to run the whole network that needs no masks: right or not, how close, and how fast."""

    name: str
    setup: Setup
    problem: str
    worst: float
    ms: float | None = None


def alternatives(
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
    found = []
    for name, precision in ways.items():
        setup = Setup(candidate.device, precision, candidate.options)
        problem, worst = outputs_in(run, comparison, setup, cases)
        found.append(Alternative(f"{name} for the whole network", setup, problem, worst))
    return found


def measure(
    run: SpecRun, comparison: Comparison, patched: Graph, others: list[Alternative]
) -> tuple[Cost | None, list[Alternative]]:
    """Time the network before, after, and as each alternative that is right, on the first sample."""
    assert comparison.candidate is not None
    run.idle()
    right = [other for other in others if not other.problem]
    setups = [(comparison.candidate, 0), (comparison.candidate, 1), *((o.setup, 0) for o in right)]
    sample = next(iter(run.plan.spec.inputs))
    with _file(patched) as path:
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
