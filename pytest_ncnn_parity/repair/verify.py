"""Whole networks run as users run them: the patched one, loaded afresh, and others; are they right?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.protocol import Job
from pytest_ncnn_parity.engine.results import SpecRun
from pytest_ncnn_parity.network.param import Graph
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.trials import symptom

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
def on_disk(patched: Graph) -> Iterator[str]:
    """The path of a file that holds `patched`, as long as it is wanted."""
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-") as folder:
        path = Path(folder) / "patched.param"
        path.write_bytes(patched.text.encode("utf-8"))
        yield str(path)


def outputs(cases: Mapping[str, Sequence[Case]]) -> dict[str, list[Case]]:
    """By sample, the outputs among `cases`; samples without one are left out."""
    found = {name: [case for case in some if case.output is not None] for name, some in cases.items()}
    return {name: some for name, some in found.items() if some}


def prove(
    run: SpecRun, comparison: Comparison, patched: Graph, cases: Mapping[str, Sequence[Case]]
) -> Proof:
    """Write the patched .param, load it, run every sample several times, compare the outputs."""
    asked = outputs(cases)
    if not asked:
        why = "not run: each output is known to fail, or wrong in the reference"
        return Proof(False, why, ran=False)
    with on_disk(patched) as path:
        threads = run.settings.threads
        held = whole(
            run, {s: jobs.proof(run.plan, s, some, path, REPEATS, threads) for s, some in asked.items()}
        )
    if not held.holds:
        return held
    count = f"{len(asked)} sample{'s' if len(asked) > 1 else ''}"
    how = f"the patched network ran {count} {REPEATS} times on {comparison.candidate}: {held.how}"
    return replace(held, how=how)


def whole(run: SpecRun, asked: Mapping[str, Job]) -> Proof:
    """Whether every output that the jobs, by sample, judge is right. Those like the reference are."""
    run.idle()
    worst = 0.0
    for sample, job in asked.items():
        try:
            results = list(run.engine.run(job))
        except EngineError as error:
            return Proof(False, f"the network could not be run: {error}", worst=worst)
        for result in results:
            if result.outcome == "skipped" and "alike" not in result.evidence:
                return Proof(False, f"not run: {result.reason}", ran=False)
            if result.outcome == "failed":
                what = f"sample {sample}: {result.id.split('::')[1]} {symptom(result)}"
                return Proof(False, what, worst=worst)
            if result.metrics is not None:
                worst = max(worst, float(result.metrics["scaled"]))
    return Proof(True, f"outputs within {worst:.3g}", worst=worst)
