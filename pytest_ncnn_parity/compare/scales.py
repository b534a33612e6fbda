"""What an error is measured by: one largest value, or that of each part, row or natural scale.

A tolerance's `scaled` is a share of a scale. Of an image's pixels it is the largest value. Boxes in
pixels beside scores from 0 to 1 have one each: by a common one, no error of a score would ever count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.nature import Nature

Array = npt.NDArray[Any]

# The largest value is taken to be at least this share of the natural scale. A half lets outputs near 0
# be off by 0.04 in fp16, and a score of 0.5 by no more than ever. A layer alone, fed with the
# reference's values, errs by the format's steps: by 0.003, the most seen of Sigmoid, TanH and Softmax.
OUTPUT_UNIT = 0.5
LAYER_UNIT = 0.25
LEAST_PART = 1e-4  # of the largest value: no part is judged by less
# Rows of one maker: so far apart they are of other units. 24 apart were rows of an int8 detector's raw
# heads, which are off by a fifth of their own largest value.
ORDERS = 50.0
LEAST_APART = 5e-4  # of the largest value: where no structure tells, a row below is taken for noise
MOST_ROWS = 256  # an axis of attributes is short: 5 + 80 classes, and not 2,100 places
LEAST_ROW = 16  # elements: the largest of fewer tells no scale
MOST_SLACK = 4.0
DETECTED = 0.08  # a row this share off is red, in every precision whose tolerance allows that


def scale_of(reference: Array, nature: Nature, scaled: float, whole: bool) -> Scale:
    """The scale of each element of `reference`: a number, or an array that broadcasts to its shape.

    `whole`: an output of a whole network, whose rows are looked at. `scaled`: the tolerance's share.
    """
    size = np.abs(np.where(np.isfinite(reference), reference, 0.0))
    largest = float(size.max(initial=0.0))
    share = OUTPUT_UNIT if whole else LAYER_UNIT
    if nature.parts is None:
        unit = share * nature.unit
        if whole and not unit:
            return _by_row_of_one_maker(size, largest, scaled)
        return max(largest, unit)
    parts = np.broadcast_to(nature.parts, reference.shape)
    by_part = {
        label: max(
            float(size.max(initial=0.0, where=parts == label)), LEAST_PART * largest, share * unit
        )
        for label, unit in nature.units.items()
    }
    scale = _looked_up(nature.parts, by_part)
    if whole and _differ(nature, by_part):
        unit_of = _looked_up(nature.parts, {n: share * unit for n, unit in nature.units.items()})
        return _by_row(size, largest, scale, unit_of, scaled)
    return scale


def _looked_up(labels: Array, values: dict[int, float]) -> Array:
    table = np.zeros(int(labels.max()) + 1)
    for label, value in values.items():
        table[label] = value
    found: Array = table[labels]
    return found


def _differ(nature: Nature, by_part: dict[int, float]) -> bool:
    """Whether the parts are in units of their own, and not the same at another place."""
    units = [unit > 0 for unit in nature.units.values()]
    return any(units) != all(units) or max(by_part.values()) > 10 * min(by_part.values())


def _by_row(size: Array, largest: float, scale: Array, unit: Array, scaled: float) -> Array:
    """`scale`, each row of an axis along which it changes brought nearer to the row's own largest."""
    axes = [axis for axis in range(scale.ndim) if scale.shape[axis] > 1]
    if len(axes) != 1 or scale.shape[axes[0]] > MOST_ROWS:
        return scale
    others = tuple(axis for axis in range(size.ndim) if axis != axes[0])
    if size.size // size.shape[axes[0]] < LEAST_ROW:
        return scale
    rows = size.max(others, keepdims=True)
    least = np.maximum(scale / _reach(scaled), LEAST_PART * largest)
    nearer: Array = np.minimum(scale, np.maximum(rows * _slack(scaled), np.maximum(least, unit)))
    return nearer


def _by_row_of_one_maker(size: Array, largest: float, scaled: float) -> Scale:
    """Rows of one layer that are orders of magnitude apart: of a matrix along either axis; channels."""
    for axis in (0, 1)[: 2 if size.ndim == 2 else 1]:
        if not 1 < size.shape[axis] <= MOST_ROWS or size.size // size.shape[axis] < LEAST_ROW:
            continue
        rows = size.max(tuple(other for other in range(size.ndim) if other != axis), keepdims=True)
        apart = rows < largest / ORDERS
        if apart.any():
            least = np.where(apart, LEAST_APART, 1.0 / _reach(scaled)) * largest
            by_row: Array = np.minimum(np.maximum(rows * _slack(scaled), least), largest)
            return by_row
    return largest


def _slack(scaled: float) -> float:
    """By how much a row's own largest value may be exceeded and an error of DETECTED still be seen."""
    return min(MOST_SLACK, max(1.0, DETECTED / scaled)) if scaled else 1.0


def _reach(scaled: float) -> float:
    """How much smaller than its part a row's scale may be: where `scaled` is small, the part's does."""
    return max(1.0, 200.0 * scaled)
