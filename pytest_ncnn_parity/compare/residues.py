"""Rows of an output that are what rounding in fp32 leaves where terms cancel.

Such a row has no value of which an error could be a share: a channel whose weights are w and -w on
copies of one blob is 1e-6 in fp32 and 0.001 in fp16, beside others of 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.noise import LAST_PLACE, LEAST_SLICE, MOST_OVERALL, Moves
from pytest_ncnn_parity.compare.tolerance import Tolerance

# A step of fp16 is 8,192 of fp32, so that what is left in fp16 is as many times larger.
LEAST_TIMES = 10.0
# How many times the largest value on the way the terms may be. An InstanceNorm of a flat picture divides
# what rounding leaves by the root of its epsilon, 316 to 10,000 times: that is no residue any more.
MOST_GAIN = 32.0


def may_explain(candidate: Array, reference: Array, tolerance: Tolerance, scale: Scale) -> bool:
    """Whether all errors out of tolerance are in rows of which they are many times the value, or all.

    In a format as coarse as fp16 what terms leave is often 0 throughout a row.
    """
    error, size = _squares(candidate, reference)
    over = ~(np.sqrt(error) <= tolerance.allowed(reference, scale))
    far = np.zeros(reference.shape, bool)
    for axis in _row_axes(reference):
        off, large = (_mean(one, axis) for one in (error, size))
        is_zero = ~candidate.any(_others(axis, candidate), keepdims=True)
        far |= np.isfinite(off) & ((off >= LEAST_TIMES**2 * large) | is_zero)
    return bool(far[over].all())


def residues(candidate: Array, reference: Array, moves: Moves, in_fp32: Moves, largest: float) -> Array:
    """The elements of rows that hold nothing but rounding, as a mask of the shape of `reference`.

    `moves`: those of the reference by units of the candidate's format. `largest`: the largest value on
    the way to it. Left out are rows in which the candidate is off by more than they explain, and those
    of terms that are far larger than that value.
    """
    found = np.zeros(reference.shape, bool)
    error, size = _squares(candidate, reference)
    bound, terms = MOST_OVERALL**2, (MOST_GAIN * LAST_PLACE[None] * largest) ** 2
    for axis in _row_axes(reference):
        squares = (error, moves.squares, size, in_fp32.squares)
        off, moved, large, least = (_mean(one, axis) for one in squares)
        found |= (large <= bound * least) & (off <= bound * moved) & (least <= terms)
    return found


def _squares(candidate: Array, reference: Array) -> tuple[Array, Array]:
    """The squares of the errors and of the reference's values, float64."""
    wide = reference.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.square(candidate - wide), np.square(wide)


def _row_axes(reference: Array) -> Iterator[int]:
    """The axes along which rows lie: the first, in a matrix both. A vector is a single row."""
    for axis in range(2 if reference.ndim == 2 else 1):
        if reference.ndim == 1 or reference.size >= LEAST_SLICE * reference.shape[axis]:
            yield axis


def _mean(squares: Array, axis: int) -> Array:
    """The mean of each row along `axis`, which is kept."""
    return np.asarray(squares.mean(_others(axis, squares), keepdims=True))


def _others(axis: int, of: Array) -> tuple[int, ...]:
    """The axes within a row along `axis`; a vector is one row."""
    return tuple(other for other in range(of.ndim) if other != axis) or (0,)
