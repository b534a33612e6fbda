"""Evidence for a case that failed: the same step again, with one suspect taken away at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_ncnn_parity.compare import Metrics, compare
from pytest_ncnn_parity.engine.blob import Blob
from pytest_ncnn_parity.engine.nets import LoadedNet, StepFailed, Unavailable
from pytest_ncnn_parity.engine.pool import JobNets
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec
from pytest_ncnn_parity.tolerance import Tolerance

Run = Callable[[LoadedNet], Mapping[str, Blob]]


def evidence(
    job: Job, nets: JobNets, case: CaseSpec, run: Run, expected: Mapping[str, Blob]
) -> dict[str, Any]:
    """How `run` ends in each relaxation of the case's candidate, against the values `expected`."""
    found: dict[str, Any] = {}
    for name, spec in _relaxed(job, case):
        try:
            metrics, _ = worst(run(nets.other(spec)), expected, case.tolerance)
        except StepFailed as failed:
            found[name] = {"agrees": None, "problem": f"{failed.step}: {failed.death['detail']}"}
        except Unavailable as lacking:
            found[name] = {"agrees": None, "problem": str(lacking)}
        else:
            found[name] = {
                "agrees": metrics.agrees,
                "scaled": metrics.scaled,
                "nonfinite": metrics.nan + metrics.inf,
            }
    if case.half is not None:
        found["rounding"] = max(
            compare(b.rounded(case.half).array, b.array, Tolerance()).scaled for b in expected.values()
        )
    return found


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
    return max(found, key=lambda pair: (not pair[0].agrees, pair[0].least_scaled))
