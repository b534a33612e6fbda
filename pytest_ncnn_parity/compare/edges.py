"""Accepts a few elements out of tolerance on the steep edges of a map, where they are rounding.

Where a network draws a sharp line between 0 and 1, the last digits of a logit move that line by a
fraction of a pixel. So a text detector in fp16 has up to 5 of 1,000 pixels off by up to 0.83, and a
mask of hair 1 of 1,000 by up to 0.73. All of them lie on an edge, which both sides have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.tolerance import Tolerance

Array = npt.NDArray[Any]

LEAST_SIDE = 8  # pixels; a smaller image consists of edges only
NEAR = 2  # pixels to either side within which an edge has both its values
# tolerances, which is 0.2 for a probability, and the share of the elements out of tolerance that may be
# off the edges by no more: 2 of 82 by 0.18 in soft hair
MOST_BESIDE, BESIDE = 2.5, 0.05
LEAST_IOU = 0.97  # of what lies above half of the scale; 0.979 was seen in lines of small text

# for a user's `share`: times the tolerance, and the ratio of signal and error
MOST_OVER = 5.0
LEAST_SQNR_DB = 33.0


def with_edges_forgiven(
    metrics: Metrics,
    candidate: Array,
    reference: Array,
    tolerance: Tolerance,
    scale: Scale,
    is_map: bool,
) -> Metrics:
    """`metrics` as agreeing, with a remark, if only a few elements are a little out of tolerance.

    A share of `share` elements may be anywhere, and a share of `edges` on the edges of a map (c, h, w).
    """
    is_map = is_map and reference.ndim == 3 and min(reference.shape[1:]) >= LEAST_SIDE
    share = max(tolerance.share, tolerance.edges if is_map else 0.0)
    if share:
        metrics = replace(metrics, also_allowed=_in_words(tolerance, is_map))
    if not metrics.mismatched or not np.isfinite(metrics.max_abs) or len(metrics.failed) > 1:
        return metrics
    if metrics.mismatched > share * metrics.total:
        return metrics
    if _is_granted(metrics, tolerance):
        where = f"no more than share {tolerance.share:g}"
    elif is_map and _are_edges(candidate, reference, tolerance, scale):
        where = "on edges of the map"
    else:
        return metrics
    forgiven = (
        f"{metrics.mismatched} of {metrics.total} elements are out of tolerance, "
        f"by up to {metrics.used:.2g} times: {where}"
    )
    return replace(metrics, agrees=True, failed=(), forgiven=forgiven)


def _is_granted(metrics: Metrics, tolerance: Tolerance) -> bool:
    """Whether the user's `share` allows for what is out of tolerance, wherever that is."""
    few = metrics.mismatched <= tolerance.share * metrics.total
    return few and metrics.used <= MOST_OVER and metrics.sqnr_db >= LEAST_SQNR_DB


def _in_words(tolerance: Tolerance, is_map: bool) -> str:
    """What `with_edges_forgiven` accepts, in words."""
    some = []
    if tolerance.share:
        some.append(
            f"share {tolerance.share:g} of the elements anywhere up to {MOST_OVER:g} times beyond, at "
            f"sqnr {LEAST_SQNR_DB:g} dB or more"
        )
    if is_map and tolerance.edges > tolerance.share:
        some.append(
            f"share {tolerance.edges:g} of the elements on edges of the map, at an IoU of "
            f"{LEAST_IOU:g} or more"
        )
    return " and ".join(some)


def _are_edges(candidate: Array, reference: Array, tolerance: Tolerance, scale: Scale) -> bool:
    """Whether the elements out of tolerance lie on edges that both sides have, around equal areas.

    Where a line or a small object is lost, the candidate has no edge any more.
    """
    budget = tolerance.atol + tolerance.rtol * np.abs(reference) + tolerance.scaled * scale
    over = np.abs(candidate - reference) > budget
    beside = np.maximum(
        _outside(candidate[over], _around(reference)[over]),
        _outside(reference[over], _around(candidate)[over]),
    )
    beside /= np.broadcast_to(budget, reference.shape)[over]
    here, there = (one > 0.5 * np.asarray(scale) for one in (reference, candidate))
    same = np.count_nonzero(here & there) >= LEAST_IOU * np.count_nonzero(here | there)
    few = np.count_nonzero(beside > 1.0) <= BESIDE * beside.size
    return bool(same and few and beside.max() <= MOST_BESIDE)


def _around(array: Array) -> Array:
    """The square around each element of `array` (c, h, w): (c, h, w, side, side)."""
    padded = np.pad(array, ((0, 0), (NEAR, NEAR), (NEAR, NEAR)), mode="edge")
    return sliding_window_view(padded, (2 * NEAR + 1,) * 2, axis=(1, 2))


def _outside(values: Array, around: Array) -> Array:
    """How far each of `values` is below the least or above the largest of `around`."""
    outside: Array = np.maximum(around.min((1, 2)) - values, values - around.max((1, 2)))
    return outside
