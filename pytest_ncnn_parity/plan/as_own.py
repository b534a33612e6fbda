"""The plan of another model on its own: what a comparison of it is, as if it had a spec of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from pytest_ncnn_parity.compare.comparisons import Comparison, Pair
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec.keys import Known, ModelFiles, Selection
from pytest_ncnn_parity.spec.sources import ConstantSource, RandomSource, Sample, Source
from pytest_ncnn_parity.spec.spec import Spec

T = TypeVar("T")


def as_own(plan: Plan, comparison: Comparison) -> tuple[Plan, Comparison]:
    """The other model that `comparison` runs, as a plan's own model, and what compares it with itself.

    Samples feed the same values to its inputs, its outputs are the counterparts, and what the spec says
    about an output holds for its counterpart. The spec's masks and its choice of layers do not apply.
    """
    files, other, candidate = comparison.other_files, plan.other(comparison), comparison.candidate
    assert files is not None
    assert other is not None
    assert candidate is not None
    spec = plan.spec
    tolerance = spec.tolerance.model_copy(update={"outputs": _renamed(other, spec.tolerance.outputs)})
    own = spec.model_copy(
        update={
            "model": ModelFiles(param=files.param, bin=files.bin),
            "samples": {name: _sample(plan, other, sample) for name, sample in spec.samples.items()},
            "outputs": list(_renamed(other, dict.fromkeys(plan.outputs))),
            "masks": {},
            "layers": Selection(),
            "tolerance": tolerance,
            "known": [_known(other, entry) for entry in spec.known],
        }
    )
    assert isinstance(own, Spec)
    pair = Pair(comparison.name, comparison.reference, replace(candidate, model=None))
    return Plan(own, other.there, plan.project), pair


def _renamed(other: Counterparts, by_blob: Mapping[str, T]) -> dict[str, T]:
    """`by_blob` with each blob replaced by its counterpart; patterns stay as they are."""
    known = other.here.producer
    return {
        (other.blob(name) if name in known else None) or name: value for name, value in by_blob.items()
    }


def _sample(plan: Plan, other: Counterparts, sample: Sample) -> Sample:
    blobs = {blob: _shaped(plan, blob, source) for blob, source in sample.blobs.items()}
    return sample.model_copy(update={"blobs": _renamed(other, blobs), "expect": {}})


def _shaped(plan: Plan, blob: str, source: Source) -> Source:
    """`source` with the shape that the plan's own model has, as the other's lines may state none."""
    if isinstance(source, RandomSource | ConstantSource) and not source.shape:
        return source.model_copy(update={"shape": list(plan.input_shape(blob))})
    return source


def _known(other: Counterparts, entry: Known) -> Known:
    if entry.output is None:
        return entry
    (output,) = _renamed(other, {entry.output: None})
    return entry.model_copy(update={"output": output})
