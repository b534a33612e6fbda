"""Bounds the sums inside a layer, from its parameters, its weights and its inputs.

SDPA is left out: most often its kernel adds up in fp32 (sdpa_fa.comp).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare import accumulators
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import softmax_axis
from pytest_ncnn_parity.network.operator_kinds import Reduction, op_type
from pytest_ncnn_parity.network.parameters import decimal, number, numbers
from pytest_ncnn_parity.network.shapes.rules.poolings import POOLED, padded_full
from pytest_ncnn_parity.network.shapes.rules.windows import CONVOLVED, Window, padded_plainly, windows_of
from pytest_ncnn_parity.worker.judge.fp16.attentions import Weights, projected

AVERAGE = 1  # a value of Pooling's pooling_type
GLOBAL, ADAPTIVE = 4, 7  # parameter ids of Pooling
INT8 = 8  # the id of InnerProduct and Convolution that says whether they compute in int8
# what a Reduction sums up (src/layer/reduction.cpp)
SUMMED: Mapping[str, Callable[[Array], Array]] = {
    Reduction.SUM: np.asarray,
    Reduction.ASUM: np.abs,
    Reduction.SUMSQ: np.square,
    Reduction.MEAN: np.asarray,
    Reduction.L1: np.abs,
    Reduction.L2: np.square,
    Reduction.LOG_SUM: np.asarray,
    Reduction.LOG_SUM_EXP: np.exp,
}


STORING = frozenset(("Softmax",))  # operators that store their sums, so that fp32 arithmetic is no fix


def adds_up(layer: Layer) -> bool:
    """Whether `largest_sum` knows this operator."""
    return layer.type in _KNOWN or layer.type in _OF_SEVERAL


def largest_sum(layer: Layer, values: Sequence[Array], weights: Weights) -> float:
    """A bound on every sum inside `layer` for `values`, in whatever order its terms are added.

    0 for operators that add up little, or that are not known here, and where an input or a weight is not
    finite. Raises NotANumber.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if layer.type in _OF_SEVERAL:
            bound = _OF_SEVERAL[layer.type](layer, values, weights)
        elif layer.type not in _KNOWN or len(values) != 1 or number(layer, INT8):
            return 0.0
        else:
            bound = _KNOWN[layer.type](layer, values[0], weights)
        return bound if math.isfinite(bound) else 0.0


def _inner_product(layer: Layer, value: Array, weights: Weights) -> float:
    outputs, count = number(layer, 0), number(layer, 2)
    inputs = count // max(1, outputs)
    if not inputs or value.size % inputs:
        return 0.0
    (held,) = weights(count)
    return accumulators.of_products(value.reshape(-1, inputs), held.reshape(outputs, inputs))


def _convolution(layer: Layer, value: Array, weights: Weights) -> float:
    w, h = windows_of(layer, CONVOLVED)
    outputs, count = number(layer, 0), number(layer, 6)
    per_channel = outputs * w.kernel * h.kernel
    if value.ndim != 3 or count != per_channel * len(value) or number(layer, 19):
        return 0.0
    edges = (_edges(h, value.shape[1]), _edges(w, value.shape[2]))
    padded = np.pad(value, ((0, 0), *edges), constant_values=decimal(layer, 18, 0.0))
    (held,) = weights(count)
    shaped = held.reshape(outputs, len(value), h.kernel, w.kernel)
    return accumulators.of_windows(padded, shaped, *_sliding(h, w))


def _depthwise(layer: Layer, value: Array, weights: Weights) -> float:
    """A convolution of each group of channels on its own."""
    w, h = windows_of(layer, CONVOLVED)
    outputs, count, groups = number(layer, 0), number(layer, 6), number(layer, 7, 1)
    if value.ndim != 3 or number(layer, 19) or groups < 1 or outputs % groups or len(value) % groups:
        return 0.0
    inputs = len(value) // groups
    if count != outputs * inputs * h.kernel * w.kernel:
        return 0.0
    edges = (_edges(h, value.shape[1]), _edges(w, value.shape[2]))
    padded = np.pad(value, ((0, 0), *edges), constant_values=decimal(layer, 18, 0.0))
    (held,) = weights(count)
    shaped = held.reshape(groups, outputs // groups, inputs, h.kernel, w.kernel)
    parts = padded.reshape(groups, inputs, *padded.shape[1:])
    return max(
        accumulators.of_windows(part, own, *_sliding(h, w))
        for part, own in zip(parts, shaped, strict=True)
    )


def _deconvolution(layer: Layer, value: Array, weights: Weights) -> float:
    """A convolution with the kernel turned round, over values that lie a stride apart."""
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
    (held,) = weights(count)
    shaped = held.reshape(outputs, len(value), h.kernel, w.kernel)[:, :, ::-1, ::-1]
    gaps = (h.dilation, w.dilation)
    return accumulators.of_windows(
        np.pad(apart, ((0, 0), *around)), shaped, (h.kernel, w.kernel), (1, 1), gaps
    )


def _gemm(layer: Layer, values: Sequence[Array], weights: Weights) -> float:
    """The product of two matrices, one of which may be a weight; the addend is left out."""
    sizes = (number(layer, 7), number(layer, 8), number(layer, 9))
    waiting, matrices = list(values), []
    for key, size in ((4, sizes[0]), (5, sizes[1])):
        own = number(layer, key)
        turned = bool(number(layer, 2)) if key == 4 else not number(layer, 3)
        if not own and waiting:
            matrix = waiting.pop(0)
        elif own and min(size, sizes[2]) > 0 and not number(layer, 18):
            (held,) = weights(size * sizes[2])
            matrix = held.reshape((sizes[2], size) if turned else (size, sizes[2]))
        else:
            return 0.0
        if matrix.ndim == 3 and matrix.shape[1] == 1:
            matrix = matrix[:, 0]
        if matrix.ndim != 2:
            return 0.0
        matrices.append(matrix.T if turned else matrix)
    a, b = matrices
    return accumulators.of_products(a, b) if a.shape[1] == b.shape[1] else 0.0


def _matmul(layer: Layer, values: Sequence[Array], _: Weights) -> float:
    """The product of two matrices, or of two stacks of matrices."""
    if len(values) != 2 or min(value.ndim for value in values) < 2:
        return 0.0
    a, b = values
    b = b if number(layer, 0) else np.swapaxes(b, -1, -2)
    if a.shape[-1] != b.shape[-1]:
        return 0.0
    outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    pairs = (
        np.broadcast_to(one, (*outer, *one.shape[-2:])).reshape(-1, *one.shape[-2:]) for one in (a, b)
    )
    return max(accumulators.of_products(x, y) for x, y in zip(*pairs, strict=True))


def _multi_head_attention(layer: Layer, values: Sequence[Array], weights: Weights) -> float:
    """The projections, queries by keys, and the output (multiheadattention_vulkan.cpp)."""
    parts = projected(layer, values, weights)
    if parts is None:
        return 0.0
    largest = max(accumulators.of_products(one, matrix) for one, matrix in parts.factors)
    joined = []
    for q, k, v in zip(parts.query * parts.scale, parts.key, parts.value, strict=True):
        largest = max(largest, accumulators.of_products(q, k))
        scores = q @ k.T
        powers = np.exp(scores - scores.max(1, keepdims=True))
        joined.append(powers / powers.sum(1, keepdims=True) @ v)
    return max(largest, accumulators.of_products(np.concatenate(joined, 1), parts.output))


def _softmax(layer: Layer, value: Array, _: Weights) -> float:
    """The sum of the powers of e, the largest of which is 1 (softmax_reduce_sum.comp)."""
    axis = softmax_axis(layer, value.ndim)
    if axis is None:
        return 0.0
    powers = np.exp(value.astype(np.float64) - value.max(axis, keepdims=True))
    return accumulators.of_sums(powers, (axis,))


def _edges(window: Window, size: int) -> tuple[int, int]:
    """The padding before and after. Of an odd total, -233 puts the extra element last, -234 first."""
    if window.before >= 0 and window.after >= 0:
        return window.before, window.after
    missing = max(0, window.extent + (size - 1) // window.stride * window.stride - size)
    less = missing // 2
    return (less, missing - less) if window.before == -233 else (missing - less, less)


class Windows(NamedTuple):
    """The padded values of a Pooling with the size and the stride of its windows, each as (h, w)."""

    values: Array
    kernel: tuple[int, int]
    stride: tuple[int, int]
    gap: tuple[int, int]

    @property
    def sliding(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        return self.kernel, self.stride, self.gap


def pooled(layer: Layer, value: Array) -> Windows | None:
    """The windows over which an average Pooling adds up; None for any other. Raises NotANumber."""
    mode = number(layer, 5)
    of_all = number(layer, GLOBAL) or number(layer, ADAPTIVE)
    if number(layer, 0) != AVERAGE or value.ndim != 3 or of_all or mode > 1:
        return None
    w, h = windows_of(layer, POOLED)
    pad = padded_full if mode == 0 else padded_plainly
    sizes = pad([value.shape[2], value.shape[1]], [w, h])
    edges = [
        (window.before, max(window.after, size - window.before - length))
        for window, size, length in zip((w, h), sizes, (value.shape[2], value.shape[1]), strict=True)
    ]
    return Windows(np.pad(value, ((0, 0), edges[1], edges[0])), *_sliding(h, w))


def _pooling(layer: Layer, value: Array, _: Weights) -> float:
    if number(layer, 0) == AVERAGE and value.ndim == 3 and number(layer, GLOBAL):
        return accumulators.of_sums(value, (1, 2))
    windows = pooled(layer, value)
    return 0.0 if windows is None else accumulators.of_windows(windows.values, None, *windows.sliding)


def _sliding(h: Window, w: Window) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return (h.kernel, w.kernel), (h.stride, w.stride), (h.dilation, w.dilation)


def reduced_axes(layer: Layer, value: Array) -> tuple[int, ...]:
    """The axes along which a Reduction adds up `value`; none if it names none and is not for all."""
    axes = tuple({axis % value.ndim for axis in numbers(layer, 3)})
    return tuple(range(value.ndim)) if number(layer, 1, 1) else axes


def _reduction(layer: Layer, value: Array, _: Weights) -> float:
    summed = SUMMED.get(op_type(layer))
    if summed is None:
        return 0.0
    return accumulators.of_sums(summed(value.astype(np.float64)), reduced_axes(layer, value))


def normalized_axes(layer: Layer, value: Array) -> tuple[int, ...]:
    """The axes along which a Normalize adds up squares: those of a channel, the channels, or all."""
    across = [number(layer, 4, 1), *[number(layer, 0)] * (value.ndim - 1)]
    return tuple(axis for axis, summed in enumerate(across) if summed)


def _normalize(layer: Layer, value: Array, _: Weights) -> float:
    squares = np.square(value.astype(np.float64))
    return accumulators.of_sums(squares, normalized_axes(layer, value)) if value.ndim == 3 else 0.0


_KNOWN: Mapping[str, Callable[[Layer, Array, Weights], float]] = {
    "InnerProduct": _inner_product,
    "Convolution": _convolution,
    "ConvolutionDepthWise": _depthwise,
    "Deconvolution": _deconvolution,
    "Softmax": _softmax,
    "Pooling": _pooling,
    "Reduction": _reduction,
    "Normalize": _normalize,
}

_OF_SEVERAL: Mapping[str, Callable[[Layer, Sequence[Array], Weights], float]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MultiHeadAttention": _multi_head_attention,
}
