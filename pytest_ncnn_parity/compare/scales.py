"""The scale of an error: the largest value of a blob, of a part, or of a row, or a natural scale.

A tolerance's `scaled` is a share of a scale. For the pixels of an image it is the largest value. Boxes
in pixels beside scores from 0 to 1 have a scale each: by a common one, no error of a score would count.
"""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.nature import Nature

# The largest value is taken to be at least this share of the natural scale. With a half, outputs near 0
# may be off by 0.04 in fp16, and a score of 0.5 by no more than without this rule. A layer alone, fed
# with the reference's values, errs by the steps of the format: by at most 0.003, seen for Sigmoid, TanH
# and Softmax.
OUTPUT_UNIT = 0.5
LAYER_UNIT = 0.25
# Each element of a value times a probability is taken to be at least this share of the value times the
# probability's scale: exp(-x) is inf in fp16 from 11.1 on, so that a factor of 1.5e-5 becomes 0.
GATE_UNIT = 0.05
LEAST_PART = 1e-4  # a share of the largest value: no part has a smaller scale
# Rows made by one layer have different units if they are so many times apart. Rows of an int8 detector's
# raw heads were 24 times apart, and were off by a fifth of their own largest value.
ORDERS = 50.0
# a share of the largest value: a smaller row counts as noise if the network does not show what it is
LEAST_APART = 5e-4
MOST_ROWS = 256  # an axis of attributes is short: 5 + 80 classes, not 2,100 places
# The longer axis of a matrix: 64 + 80 in a head with distributions. In the scores of 17 joints for each
# of 256 places, a place where no joint is has no unit of its own.
MOST_COLUMNS = 160
LEAST_ROW = 16  # the largest of fewer elements is no scale
SAME = 1e-5  # a share of the largest value: kernels may add up the same numbers in another order
# Values that hide others, such as logits of suppressed words with -1e4 added, are near the largest.
HIDING = 0.8
LEAST_HIDING = 500.0  # what is added to hide a value is 1000 or more
# Shares of the largest value below which others are what rounding leaves where terms cancel, as in a
# spectrum beside its mean; logits of 5 beside -65504 are 8e-5.
LEAST_HIDDEN, LEAST_BESIDE = 5e-5, 2e-4
LEAST_LENGTH = 4  # of such a row
MOST_MASSIVE = 0.1  # of the rows, how many may be massive: in a transformer one or two channels are
MOST_SLACK = 4.0
DETECTED = 0.08  # a row that is off by this share is red in every precision whose tolerance allows that


def scale_of(reference: Array, nature: Nature, scaled: float, whole: bool) -> Scale:
    """The scale of each element of `reference`: a number, or an array that broadcasts to its shape.

    `whole`: an output of a whole network, whose rows are examined. `scaled`: the tolerance's share.
    """
    scale = _without_gate(reference, nature, scaled, whole)
    return scale if nature.gate is None else np.maximum(scale, GATE_UNIT * nature.gate)


def _without_gate(reference: Array, nature: Nature, scaled: float, whole: bool) -> Scale:
    size = np.abs(np.where(np.isfinite(reference), reference, 0.0))
    largest = float(size.max(initial=0.0))
    if nature.parts is not None:
        return _by_part(size, largest, nature, scaled, whole)
    if whole and not nature.unit:
        by_row = _by_row_of_one_maker(size, largest, scaled)
        return by_row if by_row is not None else _beside_large_values(reference, size, scaled)
    return max(largest, (OUTPUT_UNIT if whole else LAYER_UNIT) * nature.unit)


def _by_part(size: Array, largest: float, nature: Nature, scaled: float, whole: bool) -> Array:
    """Each part's largest value; where rows are in different units, one nearer to each row's largest."""
    assert nature.parts is not None
    labels = nature.parts
    share = OUTPUT_UNIT if whole else LAYER_UNIT
    units = np.zeros(int(labels.max()) + 1)
    scales = np.zeros_like(units)
    everywhere = np.broadcast_to(labels, size.shape)
    for label, unit in nature.units.items():
        units[label] = share * unit
        scales[label] = max(size.max(initial=0.0, where=everywhere == label), units[label])
    scales = np.maximum(scales, LEAST_PART * largest)
    axis = _row_axis(scales[labels], units[labels]) if whole else None
    if axis is None:
        return np.asarray(scales[labels])
    others = tuple(other for other in range(size.ndim) if other != axis)
    by_row = np.repeat(scales[:, None], size.shape[axis], axis=1)
    for label in nature.units:
        here = everywhere == label
        rows = size.max(others, initial=0.0, where=here) * _slack(scaled)
        least = max(scales[label] / _reach(scaled), LEAST_PART * largest, units[label])
        own = np.clip(rows, least, scales[label])
        by_row[label] = np.where(here.sum(others) >= LEAST_ROW, own, scales[label])
    number = np.arange(size.shape[axis]).reshape([-1 if a == axis else 1 for a in range(size.ndim)])
    return np.asarray(by_row[labels, number])


def _row_axis(scales: Array, units: Array) -> int | None:
    """The short axis along which values are in different units, if there is one."""
    axes = [
        axis
        for axis in range(scales.ndim)
        if 1 < scales.shape[axis] <= MOST_ROWS and (_varies(units > 0, axis) or _apart(scales, axis))
    ]
    return min(axes, key=lambda axis: int(scales.shape[axis]), default=None)


def _varies(values: Array, axis: int) -> bool:
    return bool((values != values.take([0], axis)).any())


def _apart(scales: Array, axis: int) -> bool:
    return bool((scales.max(axis) > 10.0 * scales.min(axis)).any())


def _by_row_of_one_maker(size: Array, largest: float, scaled: float) -> Array | None:
    """The scale of a single layer's rows whose sizes are orders of magnitude apart; None if none are.

    In a matrix rows may lie along either axis; otherwise they are the channels.
    """
    for axis in (0, 1)[: 2 if size.ndim == 2 else 1]:
        length = size.shape[axis]
        most = MOST_COLUMNS if size.ndim == 2 and length == max(size.shape) else MOST_ROWS
        if not 1 < length <= most or size.size // length < LEAST_ROW:
            continue
        rows = _largest_of(size, axis)
        if _repeats_a_vector(size, rows, axis, largest):
            continue
        apart = rows < largest / ORDERS
        if apart.any():
            least = np.where(apart, LEAST_APART, 1.0 / _reach(scaled)) * largest
            by_row: Array = np.minimum(np.maximum(rows * _slack(scaled), least), largest)
            return by_row
    return None


def _repeats_a_vector(size: Array, rows: Array, axis: int, largest: float) -> bool:
    """Whether each row along `axis` is one number over and over, as on an input of equal tokens."""
    others = tuple(other for other in range(size.ndim) if other != axis)
    return bool((rows - size.min(others, keepdims=True)).max(initial=0.0) <= SAME * largest)


def _beside_large_values(reference: Array, size: Array, scaled: float) -> Scale:
    """One scale for the values that hide others, or for few massive rows, and one for all others."""
    largest = float(size.max(initial=0.0))
    hides = size >= HIDING * largest
    others = float(size.max(initial=0.0, where=~hides))
    # only values far below 0 hide others; a peak of a map is far above 0
    below = largest >= LEAST_HIDING and float(reference.max(initial=-np.inf, where=hides)) < 0.0
    apart = LEAST_HIDDEN * largest < others < largest / ORDERS
    if below and apart and np.count_nonzero(~hides) >= LEAST_ROW:
        return np.where(hides, largest, others * _slack(scaled))
    for axis in (0, 1)[: 2 if size.ndim == 2 else 1]:
        least = _below_massive_rows(size, axis)
        if least > LEAST_BESIDE * largest:
            own = min(largest, max(least * _slack(scaled), LEAST_APART * largest))
            return np.where(_largest_of(size, axis) <= least, own, largest)
    return largest


def _below_massive_rows(size: Array, axis: int) -> float:
    """The largest value outside the few massive rows along `axis`; 0 if there are none.

    In a matrix all elements of such a row are large, as those of one channel are for each word. A peak
    in the scores of places is one of a single element.
    """
    rows = _largest_of(size, axis)
    order = np.sort(rows, axis=None)
    gaps = np.flatnonzero(order[:-1] < order[1:] / ORDERS)
    if not gaps.size or order.size - 1 - gaps[-1] > MOST_MASSIVE * order.size:
        return 0.0
    least, length = float(order[gaps[-1]]), size.size // order.size
    few = np.count_nonzero(rows <= least) * length < LEAST_ROW
    if few or length < LEAST_LENGTH:
        return 0.0
    if size.ndim == 2 and float(size.min(initial=np.inf, where=rows > least)) <= least:
        return 0.0
    return least


def _largest_of(size: Array, axis: int) -> Array:
    """The largest value of each row along `axis`, which is kept."""
    others = tuple(other for other in range(size.ndim) if other != axis)
    return np.asarray(size.max(others, keepdims=True))


def _slack(scaled: float) -> float:
    """How far a row's scale may exceed its largest value while an error of DETECTED still shows."""
    return min(MOST_SLACK, max(1.0, DETECTED / scaled)) if scaled else 1.0


def _reach(scaled: float) -> float:
    """How much smaller than its part's a row's scale may be; a small `scaled` needs no smaller one."""
    return max(1.0, 200.0 * scaled)
