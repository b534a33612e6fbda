"""Vulkan kernels that compute a factor or a position in fp16 arithmetic, repeated here in numpy.

What they compute is compared with the correct output: where it is the same, nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.fp16 import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import is_lost
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimal, number
from pytest_ncnn_parity.network.shape_rules.reading import Shape
from pytest_ncnn_parity.worker.values.blob import Array

NEAREST, BILINEAR = 1, 2  # values of Interp's resize_type


class Computed(Frozen):
    """The quantity that fp16 arithmetic cannot hold, and the output that results from it."""

    constant: Constant
    made: Array


def _lrn(layer: Layer, value: Array, _: Shape) -> Computed | None:
    """The squares and the factor are fp16; the sums are fp32 (lrn_norm.comp)."""
    within, size = number(layer, 0), number(layer, 1, 5)
    if value.ndim != 3 or not value.size or size < 1 or not np.isfinite(value).all():
        return None
    edges = (size // 2, size - 1 - size // 2)
    windows = (1, size, size) if within else (size, 1, 1)
    with np.errstate(over="ignore"):
        squares = np.square(value.astype(np.float16)).astype(np.float64)
    padded = np.pad(squares, [edges if length > 1 else (0, 0) for length in windows])
    sums = np.lib.stride_tricks.sliding_window_view(padded, windows).sum((3, 4, 5))
    share = decimal(layer, 2, 1.0) / (size * size if within else size)
    with np.errstate(all="ignore"):
        factor = (decimal(layer, 4, 1.0) + share * sums) ** -decimal(layer, 3, 0.75)
        made = value * factor.astype(np.float16).astype(np.float32)
    largest = float(np.square(value, dtype=np.float64).max())
    if largest >= FP16_OVERFLOW:
        return Computed(Constant("the square of its largest input", largest, "arithmetic"), made)
    largest = float(factor.max())
    if is_lost(largest):
        return Computed(Constant("the factor that it normalizes by", largest, "arithmetic"), made)
    return None


def _interp(layer: Layer, value: Array, shape: Shape) -> Computed | None:
    """The position in the input that each output value comes from is fp16 (interp.comp)."""
    kind, aligned = number(layer, 0), number(layer, 6)
    if len(layer.inputs) != 1 or value.ndim not in (2, 3) or kind not in (NEAREST, BILINEAR):
        return None
    if shape == value.shape:  # handed on unchanged
        return None
    made, last = value, 0.0
    # of a matrix only the rows are resized; the ids are those of a given size and of a factor
    for axis, given, scale in ((-1, 4, 2), (-2, 3, 1))[: value.ndim - 1]:
        size, length = value.shape[axis], shape[axis]
        if min(size, length) < 2:
            return None
        if kind == BILINEAR and aligned:
            step = (size - 1) / (length - 1)
        elif kind == BILINEAR or number(layer, given) or "9" in layer.params:
            step = size / length
        else:
            step = 1.0 / decimal(layer, scale, 1.0)
        last = max(last, length - 1.0)
        resized = _nearest if kind == NEAREST else _bilinear
        made = resized(made, axis, length, np.float16(step), bool(aligned))
    coarse = last < FP16_OVERFLOW
    return Computed(Constant("the places of its outputs", last, "arithmetic", coarse), made)


def _nearest(value: Array, axis: int, length: int, step: np.float16, _: bool) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.floor(np.arange(length).astype(np.float16) * step)
    return value.take(_within(places, value.shape[axis] - 1), axis)


def _bilinear(value: Array, axis: int, length: int, step: np.float16, aligned: bool) -> Array:
    half = np.float16(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.arange(length).astype(np.float16)
        places = numbers * step if aligned else (numbers + half) * step - half
        first = np.floor(places)
        share = places - first
    end = value.shape[axis] - 2
    share = np.where(first < 0, 0.0, np.where(first > end, 1.0, share)).astype(np.float32)
    share = share.reshape([-1 if a == axis % value.ndim else 1 for a in range(value.ndim)])
    at = _within(first, end)
    return np.asarray(value.take(at, axis) * (1 - share) + value.take(at + 1, axis) * share)


def _within(places: Array, last: int) -> Array:
    return np.clip(np.nan_to_num(places.astype(np.float64), posinf=last), 0, last).astype(np.int64)


KERNELS: Mapping[str, Callable[[Layer, Array, Shape], Computed | None]] = {
    "LRN": _lrn,
    "Interp": _interp,
}
