"""Accepts a few elements out of tolerance on the steep edges of a map, where they are rounding.

Where a network draws a sharp line between 0 and 1, the last digits of a logit move that line by a
fraction of a pixel. So a text detector in fp16 has up to 5 of 1,000 pixels off by up to 0.83, and a
mask of hair 1 of 1,000 by up to 0.73. Nearly all of them lie on edges, of areas that both sides have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.tolerance import Tolerance

LEAST_SIDE = 8  # pixels; a smaller image consists of edges only
# where little is off
MOST_OVER = 5.0  # times the tolerance
LEAST_SQNR_DB = 33.0  # 36.9 dB was seen
NEXT = 1  # pixels to either side within which an edge has both its values

# in a map of areas, the share that is neither 0 nor 1: 0.013 was seen, and nearly all in pictures
MOST_BETWEEN = 0.1
NEAR = 2
AROUND, LEAST_IOU_AROUND = 4, 0.7  # pixels to either side, and the areas in there: 0.82 was seen
LEAST_IOU = 0.97  # of the areas of a channel; 0.975 was seen, in a small one
# of the elements out of tolerance, the share that need not lie so: 2 of 82, in soft hair, were seen
BESIDE = 0.05


def with_edges_forgiven(
    metrics: Metrics,
    candidate: Array,
    reference: Array,
    tolerance: Tolerance,
    scale: Scale,
    is_map: bool,
) -> Metrics:
    """`metrics` as agreeing, with a remark, if only a few elements are out of tolerance.

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
    little = metrics.used <= MOST_OVER and metrics.sqnr_db >= LEAST_SQNR_DB
    if little and metrics.mismatched <= tolerance.share * metrics.total:
        where = f"no more than share {tolerance.share:g}"
    elif is_map and _on_edges(candidate, reference, tolerance, scale, little):
        where = "on edges of the map"
    else:
        return metrics
    forgiven = (
        f"{metrics.mismatched} of {metrics.total} elements are out of tolerance, "
        f"by up to {metrics.used:.2g} times: {where}"
    )
    return metrics.forgiven_by(forgiven)


def _in_words(tolerance: Tolerance, is_map: bool) -> str:
    """What `with_edges_forgiven` accepts, in words."""
    some = [f"share {tolerance.share:g} of the elements anywhere"] if tolerance.share else []
    of_areas = ""
    if is_map and tolerance.edges > tolerance.share:
        some.append(f"share {tolerance.edges:g} of the elements on edges of the map")
        of_areas = f"; on edges of areas however far, at an IoU of {LEAST_IOU:g} or more"
    little = f"up to {MOST_OVER:g} times beyond, at sqnr {LEAST_SQNR_DB:g} dB or more"
    return f"{' and '.join(some)} {little}{of_areas}"


def _on_edges(
    candidate: Array, reference: Array, tolerance: Tolerance, scale: Scale, little: bool
) -> bool:
    """Whether the elements out of tolerance lie on edges. `little`: none of them is far off."""
    limits = tolerance.allowed(reference, scale)
    budget = np.broadcast_to(limits, reference.shape)
    over = np.abs(candidate - reference) > budget
    channels = over.any((1, 2))  # the others, which may be hundreds, are not copied
    whole = np.broadcast_to(np.asarray(scale, np.float64), reference.shape)
    map_ = _Map(*(one[channels].astype(np.float64) for one in (candidate, reference, budget, whole)))
    if little and not map_.off_edges(NEXT).any():
        return True
    size = np.abs(reference)
    between = int(np.count_nonzero((size > budget) & (size < scale - budget)))
    return between <= MOST_BETWEEN * reference.size and map_.agrees_in_areas()


class _Map(NamedTuple):
    """The channels of a map that have elements out of tolerance, each (channels, h, w), in float64."""

    candidate: Array
    reference: Array
    budget: Array
    scale: Array

    @property
    def error(self) -> Array:
        error: Array = np.abs(self.candidate - self.reference)
        return error

    def off_edges(self, distance: int) -> Array:
        """Of the elements out of tolerance, which do not lie between the reference's around them."""
        over = self.error > self.budget
        near, values = around(self.reference, distance)[over], self.candidate[over]
        beyond = np.maximum(near.min((1, 2)) - values, values - near.max((1, 2)))
        off: Array = beyond > self.budget[over]
        return off

    def agrees_in_areas(self) -> bool:
        """Whether the elements out of tolerance lie on edges of areas that both sides have."""
        over = self.error > self.budget
        beside = self.off_edges(NEAR)
        for inside in (np.abs, lambda values: self.scale - np.abs(values)):  # bright areas, and dark
            sides = (inside(one) for one in (self.candidate, self.reference))
            one, other = (np.where(side > self.budget, side, 0.0) for side in sides)
            common, whole = np.minimum(one, other), np.maximum(one, other)  # their ratio is the IoU
            if (common.sum((1, 2)) < LEAST_IOU * whole.sum((1, 2))).any():
                return False
            common, whole = (around(areas, AROUND)[over].sum((1, 2)) for areas in (common, whole))
            beside |= common < LEAST_IOU_AROUND * whole
        far = self.error[over] > MOST_OVER * self.budget[over]
        few = int(np.count_nonzero(beside)) <= BESIDE * beside.size
        return few and not bool((beside & far).any())


def around(array: Array, distance: int) -> Array:
    """The square around each element of `array` (c, h, w): (c, h, w, side, side)."""
    padded = np.pad(array, ((0, 0), (distance,) * 2, (distance,) * 2), mode="edge")
    return sliding_window_view(padded, (2 * distance + 1,) * 2, axis=(1, 2))
