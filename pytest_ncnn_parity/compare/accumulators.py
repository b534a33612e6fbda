"""Bounds how large a sum of products may become before its last term is added. Pure.

In whatever order the terms are added, no partial sum exceeds the sum of all positive terms or that of
all negative ones, whichever is larger in magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array


def of_products(values: Array, weights: Array) -> float:
    """The bound for the product of `values` (n, inputs) and `weights` (outputs, inputs)."""
    sizes, sums = np.abs(values) @ np.abs(weights).T, values @ weights.T
    return _largest(sizes, sums)


def of_windows(
    values: Array,
    weights: Array | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    gap: Sequence[int],
) -> float:
    """The bound for a `kernel` (h, w) that slides over padded `values` (c, h, w).

    `gap` is the dilation. `weights` are (outputs, c, h, w); without them each channel is summed up
    alone.
    """
    absolute = None if weights is None else np.abs(weights)
    sizes = sums_of_windows(np.abs(values), absolute, kernel, stride, gap)
    return _largest(sizes, sums_of_windows(values, weights, kernel, stride, gap))


def sums_of_windows(
    values: Array,
    weights: Array | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    gap: Sequence[int],
) -> Array:
    """The sums that `of_windows` bounds, once all terms are added."""
    sums: Array = np.zeros(())
    counts = [
        (size - step * (length - 1) - 1) // along + 1
        for size, length, along, step in zip(values.shape[1:], kernel, stride, gap, strict=True)
    ]
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            top, left = gap[0] * y, gap[1] * x
            part = values[
                :,
                top : top + stride[0] * (counts[0] - 1) + 1 : stride[0],
                left : left + stride[1] * (counts[1] - 1) + 1 : stride[1],
            ]
            sums = sums + (part if weights is None else np.tensordot(weights[:, :, y, x], part, 1))
    return sums


def of_sums(terms: Array, axes: tuple[int, ...]) -> float:
    """The bound for the sums of `terms` along `axes`."""
    return _largest(np.abs(terms).sum(axes), terms.sum(axes))


def _largest(sizes: Array, sums: Array) -> float:
    return float(((sizes + np.abs(sums)) / 2).max(initial=0.0))
