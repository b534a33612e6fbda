"""Vulkan kernels that compute something inside in fp16 arithmetic, repeated here in numpy.

That is a factor, a position, a power or a square. The output that follows from it is compared with the
correct one: where it is the same, nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL, FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import is_lost
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Reduction, Unary, op_type
from pytest_ncnn_parity.network.parameters import decimal, number
from pytest_ncnn_parity.worker.judge.fp16.accumulators import SUMMED, normalized_axes, reduced_axes
from pytest_ncnn_parity.worker.judge.fp16.final_sums import runs_on_vulkan

LARGEST_POWER = 700.0  # e to this is finite in float64
NEAREST, BILINEAR = 1, 2  # values of Interp's resize_type
# what an Interp resizes, of a matrix the rows alone; with the ids of a given size and of a factor
AXES = ((-1, 4, 2), (-2, 3, 1))
NEAR = 1e-3  # the share of its largest value by which a resized output may differ from ncnn's
Places = type[np.float16] | type[np.float64]
CAFFE, PYTORCH = 0, 1  # values of Normalize's eps_mode; 2 is tensorflow's


class Computed(Frozen):
    """The quantity that fp16 arithmetic cannot hold, and the output that results from it."""

    constant: Constant
    made: Array


def _lrn(layer: Layer, value: Array, _: Array) -> Computed | None:
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


def _interp(layer: Layer, value: Array, expected: Array) -> Computed | None:
    """The position in the input that each output value comes from is fp16 (interp.comp)."""
    shape = expected.shape
    kind = number(layer, 0)
    if len(layer.inputs) != 1 or value.ndim not in (2, 3) or kind not in (NEAREST, BILINEAR):
        return None
    if shape == value.shape:  # handed on unchanged
        return None
    axes = AXES[: value.ndim - 1]
    if any(min(value.shape[axis], shape[axis]) < 2 for axis, _, _ in axes):
        return None
    of_versions = (
        {axis: _step(layer, value.shape[axis], shape[axis], *ids) for axis, *ids in axes},
        {axis: value.shape[axis] / shape[axis] for axis, _, _ in axes},
    )
    own = (
        steps
        for steps in of_versions
        if kind == NEAREST or _is_near(_resized(layer, value, shape, steps, np.float64), expected)
    )
    steps = next(own, None)
    if steps is None:
        return None
    last = max(shape[axis] for axis in steps) - 1.0
    made = _resized(layer, value, shape, steps, np.float16)
    constant = Constant("the places of its outputs", last, "arithmetic", last < FP16_OVERFLOW)
    return Computed(constant, made)


def _step(layer: Layer, size: int, length: int, given: int, scale: int) -> float:
    """How far apart in the input two outputs are (interp_vulkan.cpp).

    A bilinear Interp takes steps of size / length in 20240410, whatever it is given.
    """
    bilinear = number(layer, 0) == BILINEAR
    if bilinear and number(layer, 6):
        return (size - 1) / (length - 1)
    if number(layer, given) or "9" in layer.params or (bilinear and size == length):
        return size / length
    return 1.0 / decimal(layer, scale, 1.0)


def _resized(
    layer: Layer, value: Array, shape: tuple[int, ...], steps: Mapping[int, float], places: Places
) -> Array:
    """`value` resized by `steps`, by axis, with `places` computed in this type."""
    resized = _nearest if number(layer, 0) == NEAREST else _bilinear
    for axis, step in steps.items():
        value = resized(value, axis, shape[axis], places(step), bool(number(layer, 6)))
    return value


def _is_near(made: Array, expected: Array) -> bool:
    return bool(np.abs(made - expected).max() <= NEAR * np.abs(expected).max())


def _nearest(value: Array, axis: int, length: int, step: np.floating[Any], _: bool) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.floor(np.arange(length).astype(step.dtype) * step)
    return value.take(_within(places, value.shape[axis] - 1), axis)


def _bilinear(value: Array, axis: int, length: int, step: np.floating[Any], aligned: bool) -> Array:
    half = step.dtype.type(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.arange(length).astype(step.dtype)
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


def _softplus(_: Layer, value: Array, expected: Array) -> Computed | None:
    """log(exp(x) + 1) (softplus.comp)."""
    powers = np.exp(np.minimum(value.astype(np.float64), LARGEST_POWER))
    largest = float(powers.max())
    if largest < FP16_OVERFLOW:
        return None
    made = np.where(powers >= FP16_OVERFLOW, np.inf, expected)
    return Computed(Constant("the power of e of its largest input", largest, "arithmetic"), made)


def _unary(layer: Layer, value: Array, expected: Array) -> Computed | None:
    """(exp(x) - exp(-x)) / 2, (exp(x) + exp(-x)) / 2, log(x + sqrt(x * x + 1)) (unaryop.comp)."""
    kind = op_type(layer)
    if kind == Unary.ASINH:
        return _asinh(value, expected)
    if kind not in (Unary.SINH, Unary.COSH):
        return None
    powers = np.exp(np.minimum(np.abs(value.astype(np.float64)), LARGEST_POWER))
    largest = float(powers.max())
    if largest < FP16_OVERFLOW:
        return None
    made = np.where(powers >= FP16_OVERFLOW, np.copysign(np.inf, expected), expected)
    return Computed(Constant("the power of e of its largest input", largest, "arithmetic"), made)


def _asinh(value: Array, expected: Array) -> Computed | None:
    """Squares may be inf, and of a negative x nothing may be left beside the root."""
    with np.errstate(all="ignore"):
        x = value.astype(np.float16)
        within = np.log(x + np.sqrt(x * x + np.float16(1.0)))
    lost = ~np.isfinite(within)
    if not lost.any():
        return None
    made = np.where(lost, within.astype(np.float32), expected)
    sizes = np.abs(value[lost].astype(np.float64))
    if float(sizes.max()) ** 2 >= FP16_OVERFLOW:
        what, inner = "the square of its largest input", float(sizes.max()) ** 2
    else:
        what, inner = "what is left of a negative input beside its root", 0.5 / float(sizes.min())
    return Computed(Constant(what, inner, "arithmetic"), made)


def _reduction(layer: Layer, value: Array, expected: Array) -> Computed | None:
    """Squares and powers that become 0 or lose digits, added up (reduction.comp).

    Sums that are too large are those of `final_sums`.
    """
    kind = op_type(layer)
    if kind not in (Reduction.SUMSQ, Reduction.L2, Reduction.LOG_SUM_EXP):
        return None
    axes = reduced_axes(layer, value)
    with np.errstate(all="ignore"):
        terms = SUMMED[kind](value.astype(np.float64))
        largest = terms.max(axes)
        if not (largest < FP16_NORMAL).any() or not np.isfinite(terms).all():
            return None
        sums = terms.astype(np.float16).astype(np.float64).sum(axes).astype(np.float16)
        made = {Reduction.L2: np.sqrt, Reduction.LOG_SUM_EXP: np.log}.get(kind, np.asarray)(sums)
        made = made.astype(np.float64) * decimal(layer, 2, 1.0)
    if made.size != expected.size:
        return None
    what = "power of e" if kind == Reduction.LOG_SUM_EXP else "square"
    constant = Constant(f"the {what} of its inputs", float(largest.min()), "arithmetic")
    return Computed(constant, made.reshape(expected.shape))


def _normalize(layer: Layer, value: Array, expected: Array) -> Computed | None:
    """The sum of squares is fp32, and the factor is computed from it in fp16 (normalize_coeffs.comp)."""
    axes = normalized_axes(layer, value)
    if value.ndim != 3 or not axes or not np.isfinite(value).all():
        return None
    epsilon, mode = decimal(layer, 2, 0.0001), number(layer, 9)
    sums = np.square(value.astype(np.float64)).sum(axes, keepdims=True)
    small = sums[(sums > 0.0) & (sums < FP16_NORMAL)]  # of nothing but zeros, the epsilon decides
    if not small.size:
        return None
    with np.errstate(all="ignore"):
        right = _factor(sums, np.asarray(epsilon), mode)
        lost = _factor(sums.astype(np.float16), np.asarray(epsilon, np.float16), mode)
        made = np.where(lost == right, expected, expected / right * lost.astype(np.float64))
    lost_in = "storage" if right.max() >= FP16_OVERFLOW else "arithmetic"
    constant = Constant("a sum of squares of its inputs", float(small.min()), lost_in)
    return Computed(constant, made)


def _factor(sums: Array, epsilon: Array, mode: int) -> Array:
    one = epsilon.dtype.type(1.0)
    if mode == CAFFE:
        return np.asarray(one / np.sqrt(sums + epsilon))
    if mode == PYTORCH:
        return np.asarray(one / np.maximum(np.sqrt(sums), epsilon))
    return np.asarray(one / np.sqrt(np.maximum(sums, epsilon)))


KERNELS: Mapping[str, Callable[[Layer, Array, Array], Computed | None]] = {
    "Interp": _interp,
    "LRN": _lrn,
    "Normalize": _normalize,
    "Reduction": _reduction,
    "Softplus": _softplus,
    "UnaryOp": _unary,
}


def computed(layer: Layer, value: Array, expected: Array) -> Computed | None:
    """What the kernel of `layer` computes in fp16 and cannot hold; None for other operators too.

    `value` is its first input, `expected` its correct output. Raises NotANumber.
    """
    kernel = KERNELS.get(layer.type)
    if kernel is None or not value.size or not runs_on_vulkan(layer):
        return None
    return kernel(layer, value, expected)
