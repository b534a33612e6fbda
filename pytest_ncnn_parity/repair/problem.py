"""What a search for masks starts from: the red layers of all samples, and the survey of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.results import SpecRun
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.search_space import Fault, Survey


@dataclass(frozen=True)
class Findings:
    """`faults`: the red layers, in running order. `cases`: by sample, what masks must make right: every
    output, what was red, and what was skipped for a red layer's sake. Left out are known failures, and
    what no mask changes: those are `beyond`, by name.
    """

    faults: Sequence[Fault]
    cases: Mapping[str, Sequence[Case]]
    beyond: Sequence[str]
    red: bool  # anything of `cases`
    budget: float  # the largest error an output may have, as a share of its largest value
    worst: float | None  # and the largest one has; None without outputs


def findings(run: SpecRun, comparison: Comparison) -> Findings:
    """The verdicts of `comparison` over all samples, whether its cases were selected or not."""
    every = run.plan.cases(comparison)
    faults: dict[int, Fault] = {}
    beyond: dict[str, None] = {}
    errors: list[float] = []
    red = False
    concerned = {case.id for case in every if case.output is not None}
    left: dict[str, list[Case]] = {}
    for sample in run.plan.spec.inputs:
        results = _results(run, sample, every)
        hopeless = {case.id for case in every if _is_beyond_masks(results[case.id])}
        beyond |= {case.name: None for case in every if case.id in hopeless}
        left[sample] = [
            case for case in every if case.id not in hopeless and not run.plan.known(sample, case)
        ]
        for case in left[sample]:
            result = results[case.id]
            failed = result.outcome == "failed"
            red |= failed
            if case.layer is not None and failed:
                faults.setdefault(case.layer.number, fault(case, result))
            if failed or "origin" in result.evidence:
                concerned.add(case.id)
            if case.output is not None and result.outcome != "skipped":
                errors.append(float(result.metrics["scaled"]) if result.metrics else math.inf)
    return Findings(
        faults=[faults[number] for number in sorted(faults)],
        cases={name: [case for case in cases if case.id in concerned] for name, cases in left.items()},
        beyond=list(beyond),
        red=red,
        budget=max((case.tolerance.scaled for case in every if case.output is not None), default=0.0),
        worst=max(errors, default=None),
    )


def _is_beyond_masks(result: Result) -> bool:
    """Whether it failed for what the model's files, or the reference, do by themselves."""
    step = str(result.evidence.get("death", {}).get("step", ""))
    at_fault = {"reference_nan", "plain_cpu", "error"} & result.evidence.keys()
    return result.outcome == "failed" and (bool(at_fault) or step.startswith("load"))


def _results(run: SpecRun, sample: str, cases: Sequence[Case]) -> Mapping[str, Result]:
    known = run.results(sample) if sample in run.selected else {}
    missing = [case for case in cases if case.id not in known]
    if not missing:
        return known
    run.idle()
    job = jobs.judge(run.plan, sample, missing, run.settings.threads, first=False)
    return {**known, **{result.id: result for result in run.engine.run(job)}}


def fault(case: Case, result: Result) -> Fault:
    assert case.layer is not None
    evidence = result.evidence
    return Fault(
        case.layer,
        diagnose(case, result).cause,
        died="death" in evidence and evidence["death"]["kind"] in ("crash", "timeout", "refused"),
        without_arithmetic=bool(evidence.get("without_arithmetic", {}).get("agrees")),
        reader=evidence.get("underflow", {}).get("reader"),
        misread=evidence.get("misread"),
    )


def survey(run: SpecRun, comparison: Comparison) -> Survey:
    """What all samples show of the values, and where the candidate runs its layers."""
    run.idle()
    absmax: dict[str, float] = {}
    lost: dict[int, float] = {}
    fp32: set[int] = set()
    half: set[int] = set()
    for sample in run.plan.spec.inputs:
        told = run.engine.ask(jobs.survey(run.plan, sample, comparison, run.settings.threads))
        for blob, (largest, _) in told["ranges"].items():
            absmax[blob] = max(absmax.get(blob, 0.0), float(largest))
        for number, share in told["lost"].items():
            lost[int(number)] = max(lost.get(int(number), 0.0), float(share))
        for places in told["runs"]:
            on_cpu = {n: storage for n, (where, storage) in enumerate(places) if where == "cpu"}
            fp32 = {n for n, storage in on_cpu.items() if storage == "fp32"}
            half = on_cpu.keys() - fp32
    return Survey(absmax, lost, frozenset(fp32), frozenset(half))
