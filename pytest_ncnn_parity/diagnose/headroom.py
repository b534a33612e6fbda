"""Rules for sums inside a layer, and for values with less room below 65504 than the spec asks for."""

from __future__ import annotations

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC


def sum_beyond_fp16(failure: Failure) -> Explanation | None:
    """A sum that overflows in whatever order its terms are added."""
    inside = failure.evidence.inside
    if inside is None or not inside.overflows or not failure.evidence.predicted:
        return None
    if inside.mask != NO_FP16_ARITHMETIC:
        return None
    return Explanation(
        f"{inside.what_is_stored} reaches {inside.stored:.6g} > {FP16_MAX:.0f}: inf in {inside.kernel}, "
        "predicted",
        (
            f"its results end at {wording.number(failure.metrics.reference_absmax)} and fit; the sum is "
            "divided, or a root or logarithm of it taken, once all is added",
            "31=1 on this layer adds up in fp32",
        ),
    )


def too_little(failure: Failure) -> Explanation | None:
    """The larger of the blob's largest value and the largest value inside the layer is reported."""
    if not failure.evidence.predicted:
        return None
    asked = failure.case.tolerance.headroom
    limit = FP16_MAX / asked
    near, inside = failure.evidence.near, failure.evidence.inside
    largest, lines = 0.0, []
    if near is not None:
        largest = near.absmax
        lines.append(f"{near.blob} reaches {near.absmax:.6g} in fp32")
        if near.readers:
            lines.append(f"read in fp16 by: {', '.join(near.readers)}")
    if inside is not None and inside.reaches(limit):
        largest = max(largest, inside.bound)
        lines.append(
            f"{inside.kernel}: {inside.what_is_bound} may reach {inside.bound:.6g}, with its terms "
            f"in the worst order; 31={inside.mask} avoids it"
        )
    if not lines:
        return None
    what = f"{largest:.6g} leaves a headroom of {FP16_MAX / largest:.3g} below {FP16_MAX:.0f}"
    if largest > FP16_MAX:
        what = f"inside it a value may reach {largest:.6g} > {FP16_MAX:.0f}"
    return Explanation(f"{what}; the spec asks for a headroom of {asked:g}", tuple(lines))
