"""Evidence for a case that failed: the same step again, with one suspect taken away at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_ncnn_parity.compare.metrics import Metrics, compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.loaded import Net
from pytest_ncnn_parity.worker.networks.pool import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob

Run = Callable[[Net], Mapping[str, Blob]]
Again = Callable[[Net], Mapping[str, Blob]]

REPEATS = 2


# the CPU computing as plainly as it can (src/option.h)
PLAIN = {
    "use_packing_layout": False,
    "use_winograd_convolution": False,
    "use_sgemm_convolution": False,
}


def evidence(
    job: Job, nets: JobNets, case: CaseSpec, run: Run, again: Again, expected: Mapping[str, Blob]
) -> dict[str, Any]:
    """How `run` ends in each relaxation of the case's candidate, against the values `expected`.

    `again` takes the candidate's step once more: it should give bit for bit what it gave. The
    reference, too, is asked whether it agrees with itself.
    """
    found: dict[str, Any] = {**_repeated(nets, case, run, again), **_plain(job, nets, case, run)}
    for name, spec in _relaxed(job, case):
        try:
            metrics, _ = worst(run(nets.other(spec)), expected, case.tolerance)
        except StepFailed as failed:
            found[name] = {"agrees": None, "problem": f"{failed.step}: {failed.death['detail']}"}
        except Unavailable as lacking:
            found[name] = {"agrees": None, "problem": str(lacking)}
        else:
            found[name] = told(metrics)
    if case.half is not None:
        found["rounding"] = max(
            compare(b.rounded(case.half).array, b.array, Tolerance()).scaled for b in expected.values()
        )
    return found


def _repeated(nets: JobNets, case: CaseSpec, run: Run, again: Again) -> dict[str, Any]:
    """Whether the candidate gives the same bits each time, and if not, whether it agrees with itself."""
    assert case.candidate is not None
    candidate = nets[case.candidate]
    first = run(candidate)
    for _ in range(REPEATS):
        try:
            other = again(candidate)
            metrics, _ = worst(other, first, case.tolerance)
        except StepFailed as failed:
            return {"repeated": {"agrees": None, "problem": f"{failed.step}: {failed.death['detail']}"}}
        if any(other[blob].digest != first[blob].digest for blob in first):
            return {"repeated": told(metrics)}
    return {}


def _plain(job: Job, nets: JobNets, case: CaseSpec, run: Run) -> dict[str, Any]:
    """Whether the CPU, computing as plainly as it can, disagrees with itself."""
    try:
        usual = run(nets[job.trajectory])
        plain = run(nets.other(plain_cpu(job)))
        metrics, _ = worst(plain, usual, case.tolerance)
    except (StepFailed, Unavailable):  # then the reference has a case of its own that says so
        return {}
    return {} if metrics.agrees else {"plain_cpu": told(metrics)}


def plain_cpu(job: Job) -> NetSpec:
    """The trajectory's network, computing as plainly as it can."""
    spec = job.nets[job.trajectory]
    return NetSpec(spec.model, spec.device, spec.precision, PLAIN)


def told(metrics: Metrics) -> dict[str, Any]:
    """What a failure text says of a try."""
    return {
        "agrees": metrics.agrees,
        "scaled": metrics.scaled,
        "nonfinite": metrics.nan + metrics.inf,
    }


def _relaxed(job: Job, case: CaseSpec) -> Iterator[tuple[str, NetSpec]]:
    assert case.candidate is not None
    spec, reference = job.nets[case.candidate], job.nets[case.reference]
    if spec.precision == "fp16":
        storage = NetSpec(spec.model, spec.device, "fp16-storage", spec.options)
        yield "without_arithmetic", storage
    if spec.device == "cpu" and spec.precision != "fp32":
        for name, option in (
            ("without_packing", "use_packing_layout"),
            ("without_winograd", "use_winograd_convolution"),
        ):
            options = {**spec.options, option: False}
            yield name, NetSpec(spec.model, spec.device, spec.precision, options)
    fp32 = NetSpec(spec.model, spec.device, "fp32", spec.options)
    if spec.precision != "fp32" and fp32 != reference:
        yield "fp32_on_device", fp32


def worst(
    made: Mapping[str, Blob], expected: Mapping[str, Blob], tolerance: Mapping[str, Any]
) -> tuple[Metrics, str]:
    """The metrics of the blob that agrees least, and its name. Other shapes are a StepFailed."""
    found = []
    for blob, reference in expected.items():
        if made[blob].array.shape != reference.array.shape:
            detail = f"shape {made[blob].array.shape}, the reference's is {reference.array.shape}"
            raise StepFailed(f"compare {blob}", {"kind": "shape", "detail": detail})
        found.append((compare(made[blob].array, reference.array, Tolerance(**tolerance)), blob))
    return max(found, key=badness)


def badness(found: tuple[Metrics, str]) -> tuple[bool, float]:
    """Orders what `worst` gives: what agrees least comes last."""
    metrics, _ = found
    return not metrics.agrees, metrics.least_scaled
