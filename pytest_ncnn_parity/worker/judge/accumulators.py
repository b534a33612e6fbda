"""How large the sums inside a layer may become, from its parameters, its weights and its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_ncnn_parity.compare import accumulators
from pytest_ncnn_parity.compare.accumulators import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.shape_rules.reading import decimal, number, numbers
from pytest_ncnn_parity.network.shape_rules.windows import (
    CONVOLVED,
    POOLED,
    Window,
    padded_full,
    padded_plainly,
    windows_of,
)

Weights = Callable[[int], Array]  # the first so many of a layer's weights

AVERAGE = 1  # Pooling's pooling_type
GLOBAL, ADAPTIVE = 4, 7  # keys of Pooling
INT8 = 8  # of InnerProduct and Convolution: their scales, where they compute in int8
# what a Reduction adds up (src/layer/reduction.cpp)
SUMMED: Mapping[int, Callable[[Array], Array]] = {
    0: np.asarray,
    1: np.abs,
    2: np.square,
    3: np.asarray,
    7: np.abs,
    8: np.square,
    9: np.asarray,
    10: np.exp,
}


STORING = frozenset(("Softmax",))  # whose sums are stored, so that fp32 arithmetic is no cure


def adds_up(layer: Layer) -> bool:
    """Whether `largest_sum` knows the operator."""
    return layer.type in _KNOWN


def largest_sum(layer: Layer, value: Array, weights: Weights) -> float:
    """What no sum inside `layer` exceeds on `value`, in whatever order its terms are added.

    0 for operators that add up little, or that are not known here. Raises Unreadable.
    """
    known = _KNOWN.get(layer.type)
    if known is None or (layer.type != "Gemm" and number(layer, INT8)):
        return 0.0
    with np.errstate(over="ignore"):
        return known(layer, value, weights)


def _inner_product(layer: Layer, value: Array, weights: Weights) -> float:
    outputs, count = number(layer, 0), number(layer, 2)
    inputs = count // max(1, outputs)
    if not inputs or value.size % inputs:
        return 0.0
    return accumulators.of_products(value.reshape(-1, inputs), weights(count).reshape(outputs, inputs))


def _convolution(layer: Layer, value: Array, weights: Weights) -> float:
    w, h = windows_of(layer, CONVOLVED)
    outputs, count = number(layer, 0), number(layer, 6)
    per_channel = outputs * w.kernel * h.kernel
    if value.ndim != 3 or count != per_channel * len(value) or number(layer, 19):
        return 0.0
    edges = (_edges(h, value.shape[1]), _edges(w, value.shape[2]))
    padded = np.pad(value, ((0, 0), *edges), constant_values=decimal(layer, 18, 0.0))
    shaped = weights(count).reshape(outputs, len(value), h.kernel, w.kernel)
    return accumulators.of_windows(padded, shaped, *_sliding(h, w))


def _depthwise(layer: Layer, value: Array, weights: Weights) -> float:
    """A convolution for each group of channels."""
    w, h = windows_of(layer, CONVOLVED)
    outputs, count, groups = number(layer, 0), number(layer, 6), number(layer, 7, 1)
    if value.ndim != 3 or number(layer, 19) or groups < 1 or outputs % groups or len(value) % groups:
        return 0.0
    inputs = len(value) // groups
    if count != outputs * inputs * h.kernel * w.kernel:
        return 0.0
    edges = (_edges(h, value.shape[1]), _edges(w, value.shape[2]))
    padded = np.pad(value, ((0, 0), *edges), constant_values=decimal(layer, 18, 0.0))
    shaped = weights(count).reshape(groups, outputs // groups, inputs, h.kernel, w.kernel)
    parts = padded.reshape(groups, inputs, *padded.shape[1:])
    return max(
        accumulators.of_windows(part, own, *_sliding(h, w))
        for part, own in zip(parts, shaped, strict=True)
    )


def _deconvolution(layer: Layer, value: Array, weights: Weights) -> float:
    """What a convolution with its kernel turned round makes of values that lie a stride apart."""
    w, h = windows_of(layer, CONVOLVED)
    outputs, count = number(layer, 0), number(layer, 6)
    per_channel = outputs * w.kernel * h.kernel
    sized = any(number(layer, key) for key in (18, 19, 20, 21, 28))
    if value.ndim != 3 or count != per_channel * len(value) or sized:
        return 0.0
    around = [(one.extent - 1 - one.before, one.extent - 1 - one.after) for one in (h, w)]
    if min(h.before, h.after, w.before, w.after) < 0 or min(map(min, around)) < 0:
        return 0.0
    sizes = [(size - 1) * one.stride + 1 for size, one in zip(value.shape[1:], (h, w), strict=True)]
    apart = np.zeros((len(value), *sizes), value.dtype)
    apart[:, :: h.stride, :: w.stride] = value
    shaped = weights(count).reshape(outputs, len(value), h.kernel, w.kernel)[:, :, ::-1, ::-1]
    gaps = (h.dilation, w.dilation)
    return accumulators.of_windows(
        np.pad(apart, ((0, 0), *around)), shaped, (h.kernel, w.kernel), (1, 1), gaps
    )


def _gemm(layer: Layer, value: Array, weights: Weights) -> float:
    """A matrix by one that the file holds; what is added to the product is left out."""
    if value.ndim != 2 or number(layer, 18) or number(layer, 4) or not number(layer, 5):
        return 0.0
    columns, inner = number(layer, 8), number(layer, 9)
    if min(columns, inner) < 1:
        return 0.0
    rows = value.T if number(layer, 2) else value
    held = weights(columns * inner)
    held = held.reshape(columns, inner) if number(layer, 3) else held.reshape(inner, columns).T
    return accumulators.of_products(rows, held) if rows.shape[1] == inner else 0.0


def _softmax(layer: Layer, value: Array, _: Weights) -> float:
    """The sum of powers of e, of which the largest is 1 (softmax_reduce_sum.comp)."""
    axis = number(layer, 0) % value.ndim
    powers = np.exp(value.astype(np.float64) - value.max(axis, keepdims=True))
    return accumulators.of_sums(powers, (axis,))


def _edges(window: Window, size: int) -> tuple[int, int]:
    """What a convolution adds on either side. For 'same', -233 has the odd one at the end, -234 not."""
    if window.before >= 0 and window.after >= 0:
        return window.before, window.after
    missing = max(0, window.extent + (size - 1) // window.stride * window.stride - size)
    less = missing // 2
    return (less, missing - less) if window.before == -233 else (missing - less, less)


def _pooling(layer: Layer, value: Array, _: Weights) -> float:
    mode = number(layer, 5)
    if number(layer, 0) != AVERAGE or value.ndim != 3 or number(layer, ADAPTIVE) or mode > 1:
        return 0.0
    if number(layer, GLOBAL):
        return accumulators.of_sums(value, (1, 2))
    w, h = windows_of(layer, POOLED)
    pad = padded_full if mode == 0 else padded_plainly
    sizes = pad([value.shape[2], value.shape[1]], [w, h])
    edges = [
        (window.before, max(window.after, size - window.before - length))
        for window, size, length in zip((w, h), sizes, (value.shape[2], value.shape[1]), strict=True)
    ]
    padded = np.pad(value, ((0, 0), edges[1], edges[0]))
    return accumulators.of_windows(padded, None, *_sliding(h, w))


def _sliding(h: Window, w: Window) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return (h.kernel, w.kernel), (h.stride, w.stride), (h.dilation, w.dilation)


def _reduction(layer: Layer, value: Array, _: Weights) -> float:
    summed = SUMMED.get(number(layer, 0))
    if summed is None:
        return 0.0
    axes = tuple({axis % value.ndim for axis in numbers(layer, 3)})
    if number(layer, 1, 1) or not axes:
        axes = tuple(range(value.ndim))
    return accumulators.of_sums(summed(value.astype(np.float64)), axes)


_KNOWN: Mapping[str, Callable[[Layer, Array, Weights], float]] = {
    "InnerProduct": _inner_product,
    "Convolution": _convolution,
    "ConvolutionDepthWise": _depthwise,
    "Deconvolution": _deconvolution,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "Pooling": _pooling,
    "Reduction": _reduction,
}
