"""What is red in a comparison over all samples of its spec, from which a search for masks starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import CPU_FP32, Comparison
from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, NO_WINOGRAD
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.outputs import OutputErrors, output_errors


class Fault(Frozen):
    """A red layer, as far as it shows which masks may fix it.

    `died`: it killed or hung the worker on the device. `without_arithmetic`, `without_winograd`: it is
    right once fp16 arithmetic, or winograd, is off. `reader`: the layer that breaks because of an
    underflow; `cancels`: what underflows is a difference, whose terms fp16 rounds to one. `misread`: the
    input blob whose 16-bit values the layer reads as fp32. `integers`: it copies integers that 16 bits
    cannot hold. `near`: its values are closer to 65504 than the spec allows.
    """

    layer: Layer
    cause: CauseName
    died: bool = False
    without_arithmetic: bool = False
    without_winograd: bool = False
    reader: str | None = None
    cancels: bool = False
    misread: str | None = None
    integers: bool = False
    near: bool = False


class Problem(Frozen):
    """What masks have to fix in one comparison.

    `faults` are the red layers, in running order. `cases` holds, by sample, every output, every red
    case, and every case that was skipped because of a red layer. It leaves out known failures and the
    cases named in `beyond`, which failed for a reason that no mask changes, and in `unjudged`, which ran
    out of time or memory, or whose worker failed or was killed from outside. `red`: whether any of
    `cases` failed. `output_tolerance`: the largest error that an output may have, as a share of its
    largest value; `outputs`: the errors that they have. `reference_is_wrong`: the reference runs on the
    device, and is wrong or dies there in fp32 as well. `unloaded`: the network dies while the device
    loads it, so that no layer has run there.
    """

    faults: Sequence[Fault]
    cases: Mapping[str, Sequence[Case]]
    beyond: Sequence[str]
    unjudged: Sequence[str]
    red: bool
    reference_is_wrong: bool
    unloaded: bool
    output_tolerance: float
    outputs: OutputErrors
    results: Mapping[str, Mapping[str, Result]]


class Profile(Frozen):
    """What all samples together show of the network's values, and where the candidate runs its layers.

    `absmax` is the largest magnitude of each blob. `sensitivity` is, by layer, the error that rounding
    of its inputs alone causes, as a share of its largest output. `fp32` are the layers that the
    candidate already runs on the CPU in fp32, so that no mask would change them; `half` are those that
    it runs there in 16 bits.
    """

    absmax: Mapping[str, float]
    sensitivity: Mapping[int, float] = field(default_factory=dict)
    fp32: frozenset[int] = frozenset()
    half: frozenset[int] = frozenset()


def find_problem(run: SpecRun, comparison: Comparison) -> Problem:
    """The problem as all cases of `comparison` show it, whether or not they were selected."""
    plan = run.plan
    results = {
        sample: _results(run, sample, plan.cases(comparison, sample)) for sample in plan.spec.inputs
    }
    return problem_of(plan, plan.cases(comparison), results)


def find_anew(run: SpecRun, comparison: Comparison) -> Problem:
    """The problem of a comparison that is not in the spec: none of its cases has a result yet."""
    plan = run.plan
    results = {
        sample: {result.id: result for result in run.judge(sample, plan.cases(comparison, sample))}
        for sample in plan.spec.inputs
    }
    return problem_of(plan, plan.cases(comparison), results)


def problem_of(
    plan: Plan, cases: Sequence[Case], results: Mapping[str, Mapping[str, Result]]
) -> Problem:
    """The problem that the `results` of all `cases` of a comparison show, by sample and case id."""
    run = {sample: [case for case in cases if plan.runs(sample, case)] for sample in results}
    hopeless = {
        sample: {case.id for case in some if _is_beyond_masks(case, results[sample][case.id])}
        | _outputs_of_doubt(plan.fed(sample), some, results[sample])
        for sample, some in run.items()
    }
    beyond: dict[str, None] = {}
    unjudged: dict[str, None] = {}
    for sample, some in run.items():
        for case in some:
            result = results[sample][case.id]
            if result.outcome == "failed" and case.id in hopeless[sample]:
                (unjudged if _is_unjudged(result) else beyond)[case.name] = None
    fixable = {
        sample: [
            case for case in some if case.id not in hopeless[sample] and not plan.known(sample, case)
        ]
        for sample, some in run.items()
    }
    judged = [(case, results[sample][case.id]) for sample, some in fixable.items() for case in some]
    failed = [(case, result) for case, result in judged if result.outcome == "failed"]
    outputs = [case for case in cases if case.output is not None]
    concerned = {case.id for case in outputs}
    concerned |= {result.id for _, result in failed}
    concerned |= {result.id for _, result in judged if result.evidence.origin is not None}
    return Problem(
        faults=_faults([pair for pair in failed if not _dies_in_loading(*pair)]),
        cases={name: [case for case in some if case.id in concerned] for name, some in fixable.items()},
        beyond=list(beyond),
        unjudged=list(unjudged),
        red=bool(failed),
        reference_is_wrong=any(_wrong_on_device(case, result) for case, result in failed),
        unloaded=any(_dies_in_loading(case, result) for case, result in failed),
        output_tolerance=max((case.tolerance.scaled for case in outputs), default=0.0),
        outputs=output_errors(judged),
        results=results,
    )


def _results(run: SpecRun, sample: str, cases: Sequence[Case]) -> Mapping[str, Result]:
    """The results of `cases` by their ids: those that are known, and the others judged now."""
    known = run.results(sample) if sample in run.selected else {}
    missing = [case for case in cases if case.id not in known]
    if not missing:
        return known
    return {**known, **{result.id: result for result in run.judge(sample, missing)}}


def _outputs_of_doubt(graph: Graph, cases: Sequence[Case], results: Mapping[str, Result]) -> set[str]:
    """The outputs behind a layer in which the CPU disagrees with itself or makes nan, or broken weights.

    Masks could only make the device agree with that CPU, which may turn a nan into a number further on.
    """
    doubtful = {
        case.layer.number
        for case in cases
        if case.layer is not None
        and results[case.id].outcome == "failed"
        and (_is_in_doubt(results[case.id].evidence) or results[case.id].evidence.reference_nan)
    }
    outputs = [case for case in cases if case.output is not None]
    return {case.id for case in outputs if doubtful & graph.ancestors([str(case.output)])}


def _is_unjudged(result: Result) -> bool:
    death = result.evidence.death
    if death is None:
        return False
    return death.of_worker or death.from_outside or death.kind in ("timeout", "memory")


def _is_in_doubt(evidence: Evidence) -> bool:
    # an int8 layer without a finite scale is given one by masks that leave it in floats
    broken = evidence.not_finite > 0 and not evidence.without_scale
    unlike_plain = evidence.distrust is not None and evidence.distrust.fault == "shape"
    unlike_plain = unlike_plain or "plain_cpu" in evidence.trials
    return broken or (unlike_plain and not evidence.behind_int8)


def _is_beyond_masks(case: Case, result: Result) -> bool:
    """Whether the case failed because of the model's files or the reference themselves.

    It is also true if it was skipped because the inputs do not fit the model, so that nothing is
    compared.
    """
    evidence = result.evidence
    if evidence.death is not None and (evidence.death.of_shapes or evidence.death.of_worker):
        return True
    at_fault = evidence.reference_nan or _is_in_doubt(evidence) or evidence.error is not None
    at_fault = at_fault or evidence.distrust is not None or evidence.reference_inf is not None
    death, step = evidence.death, None if evidence.death is None else evidence.death.step
    in_loading = death is not None and death.in_loading and not _dies_in_loading(case, result)
    # the trajectory runs on the CPU, and no mask removes a layer from there
    of_the_cpu = step is not None and step.label == str(CPU_FP32) != str(case.comparison.candidate)
    return result.outcome == "failed" and bool(at_fault or in_loading or of_the_cpu)


def _dies_in_loading(case: Case, result: Result) -> bool:
    """Whether a network of the case dies while a device loads it; one of its layers may be to blame."""
    death = result.evidence.death
    if death is None or death.kind != "crash" or death.from_outside or death.step is None:
        return False
    sides = (case.comparison.reference, case.comparison.candidate)
    on_device = [str(side) for side in sides if side is not None and side.on_vulkan]
    return death.in_loading and death.step.label in on_device


def _wrong_on_device(case: Case, result: Result) -> bool:
    """Whether the reference runs on a device, and is wrong or dies there."""
    reference, death = case.comparison.reference, result.evidence.death
    died = death is not None and death.step is not None and death.step.label == str(reference)
    died = died or _dies_in_loading(case, result)  # then the other side dies as well, as a rule
    return reference.on_vulkan and (died or result.evidence.wrong("fp32_on_device"))


def _faults(failed: Sequence[tuple[Case, Result]]) -> list[Fault]:
    """The layers among the `failed` cases, each as in the first sample in which it is red."""
    faults: dict[int, Fault] = {}
    for case, result in failed:
        if case.layer is not None and case.layer.number not in faults:
            faults[case.layer.number] = _fault(case, case.layer, result)
    return [faults[number] for number in sorted(faults)]


def _fault(case: Case, layer: Layer, result: Result) -> Fault:
    evidence = result.evidence
    return Fault(
        layer,
        diagnose(case, result).cause,
        died=evidence.death is not None and evidence.death.kind in ("crash", "timeout", "refused"),
        without_arithmetic=evidence.right("without_arithmetic")
        or _fixed_by(case, result, NO_FP16_ARITHMETIC)
        or (evidence.constant is not None and evidence.constant.lost_in == "arithmetic"),
        without_winograd=evidence.right("without_winograd") or _fixed_by(case, result, NO_WINOGRAD),
        near=evidence.near is not None,
        reader=None if evidence.underflow is None else evidence.underflow.reader,
        cancels=evidence.underflow is not None and evidence.underflow.cancels,
        misread=evidence.misread,
        integers=evidence.integers is not None,
    )


def _fixed_by(case: Case, result: Result, mask: int) -> bool:
    """Whether `mask` removes the kernel inside which a value is too close to 65504."""
    inside = result.evidence.inside
    if inside is None or inside.mask != mask:
        return False
    return inside.reaches(FP16_MAX / case.tolerance.headroom)


def measure_profile(run: SpecRun, comparison: Comparison, with_sensitivity: bool) -> Profile:
    """The profile of `comparison`, with the largest value over all samples."""
    absmax: dict[str, float] = {}
    sensitivity: dict[int, float] = {}
    fp32: set[int] = set()
    half: set[int] = set()
    for sample in run.plan.spec.inputs:
        shown = run.profile(sample, comparison, with_sensitivity)
        for blob, largest in shown.absmax.items():
            absmax[blob] = max(absmax.get(blob, 0.0), largest)
        for number, share in shown.sensitivity.items():
            sensitivity[number] = max(sensitivity.get(number, 0.0), share)
        for places in shown.runs:
            on_cpu = {n: storage for n, (where, storage) in enumerate(places) if where == "cpu"}
            fp32 = {n for n, storage in on_cpu.items() if storage == "fp32"}
            half = on_cpu.keys() - fp32
    return Profile(absmax, sensitivity, frozenset(fp32), frozenset(half))
