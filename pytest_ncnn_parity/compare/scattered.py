"""Accepts a few scattered elements of an output behind int8 layers, if everything around them is right.

Behind dozens of int8 layers some elements have moved by more than half of the largest value although
the output as a whole agrees: the size of a box in a place without an object, which nobody reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.compare.tolerance import Tolerance

# tolerances: an element is off by no more than the largest value. Of a detector with 0 to 60 of its 70
# layers in floats, on 32 pictures each, 112 of 704 outputs pass by this rule. Their boxes agree as well
# as those of outputs of the same sqnr that pass without it: 97 to 99 % found again, at an IoU of 0.92
MOST_OVER = 2.5


def with_scattered_forgiven(
    metrics: Metrics,
    candidate: Array,
    reference: Array,
    tolerance: Tolerance,
    scale: Scale,
    nature: Nature,
) -> Metrics:
    """`metrics` of an output as agreeing, if at most a share of `scattered` is out of tolerance.

    Each row or channel with such an element must reach the tolerance's `sqnr_db` on its own: a map of
    scores that lost its few peaks is off in few elements, but everything in it is gone. Probabilities,
    which decide, are never accepted so.
    """
    least = tolerance.sqnr_db
    if not tolerance.scattered or least is None or reference.ndim < 2:
        return metrics
    metrics = replace(metrics, also_allowed=_in_words(tolerance, least))
    if not metrics.mismatched or not np.isfinite(metrics.max_abs) or len(metrics.failed) > 1:
        return metrics
    if metrics.mismatched > tolerance.scattered * metrics.total or metrics.used > MOST_OVER:
        return metrics
    budget = tolerance.allowed(reference, scale)
    error = np.abs(candidate.astype(np.float64) - reference)
    over = error > budget
    if over[np.broadcast_to(_decides(nature), over.shape)].any():
        return metrics
    axis = 0 if reference.ndim > 2 else int(np.argmin(reference.shape))
    others = tuple(other for other in range(reference.ndim) if other != axis)
    signal, noise = (np.square(one, dtype=np.float64).sum(others) for one in (reference, error))
    if (signal < noise * 10.0 ** (least / 10.0))[over.any(others)].any():
        return metrics
    forgiven = (
        f"{metrics.mismatched} of {metrics.total} elements are out of tolerance, by up to "
        f"{metrics.used:.2g} times: scattered, in channels of sqnr {least:g} dB or more"
    )
    return metrics.forgiven_by(forgiven)


def _decides(nature: Nature) -> Array:
    """Where a value has a natural scale, as probabilities do; the shape broadcasts to its own."""
    if nature.parts is None:
        return np.asarray(nature.unit > 0.0)
    natural = [label for label, unit in nature.units.items() if unit > 0.0]
    return np.isin(nature.parts, natural)


def _in_words(tolerance: Tolerance, least: float) -> str:
    """What `with_scattered_forgiven` accepts, in words."""
    return (
        f"share {tolerance.scattered:g} of the elements, no probabilities, up to {MOST_OVER:g} times "
        f"beyond, in channels of sqnr {least:g} dB or more"
    )
