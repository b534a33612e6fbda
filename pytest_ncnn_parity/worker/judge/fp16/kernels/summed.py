"""Repeats the arithmetic of sums and what follows from them: LRN, Normalize, Reduction, Softmax."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL, FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import is_lost
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import softmax_axis
from pytest_ncnn_parity.network.operator_kinds import Reduction, op_type
from pytest_ncnn_parity.network.parameters import decimal, number
from pytest_ncnn_parity.worker.judge.fp16.accumulators import SUMMED, normalized_axes, reduced_axes
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun

CAFFE, PYTORCH = 0, 1  # values of Normalize's eps_mode; 2 is tensorflow's
SMALL = 2.0**-9  # the share of a sum from which on fp16 adds at least nearly what it should
MOST = 2**21  # of so many powers at most the sum is repeated: where it is most at risk
FEW = 0.02  # the share of a sum that may be made up of terms so small beside it


def lrn(layer: Layer, run: LayerRun) -> Computed | None:
    """The squares and the factor are fp16; the sums are fp32 (lrn_norm.comp)."""
    value = run.value
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


def reduction(layer: Layer, run: LayerRun) -> Computed | None:
    """Squares and powers that become 0 or lose digits, added up (reduction.comp).

    Sums that are too large are those of `final_sums`.
    """
    value, expected, kind = run.value, run.output, op_type(layer)
    if kind not in (Reduction.SUMSQ, Reduction.L2, Reduction.LOG_SUM_EXP):
        return None
    axes = reduced_axes(layer, value)
    with np.errstate(all="ignore"):
        terms = SUMMED[kind](value.astype(np.float64))
        largest = terms.max(axes)
        small = largest < FP16_NORMAL
        if not small.any() or small.size != expected.size or not np.isfinite(terms).all():
            return None
        sums = terms.astype(np.float16).astype(np.float64).sum(axes).astype(np.float16)
        made = {Reduction.L2: np.sqrt, Reduction.LOG_SUM_EXP: np.log}.get(kind, np.asarray)(sums)
        made = made.astype(np.float64) * decimal(layer, 2, 1.0)
    what = "power of e" if kind == Reduction.LOG_SUM_EXP else "square"
    constant = Constant(f"the {what} of its inputs", float(largest.min()), "arithmetic")
    made = np.where(small.ravel(), made.ravel(), expected.ravel())
    return Computed(constant, made.reshape(expected.shape))


def normalize(layer: Layer, run: LayerRun) -> Computed | None:
    """The sum of squares is fp32, and the factor is computed from it in fp16 (normalize_coeffs.comp)."""
    value, expected = run.value, run.output
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


def softmax(layer: Layer, run: LayerRun) -> Computed | None:
    """Its sum no longer grows by terms that are small beside it (softmax_reduce_sum.comp)."""
    axis = softmax_axis(layer, run.value.ndim)
    if axis is None or not np.isfinite(run.value).all():
        return None
    length = run.value.shape[axis]
    shares = np.moveaxis(run.output, axis, -1)
    small = np.where(shares < SMALL, shares, 0.0).sum(-1)
    worst = np.argsort(small, None)[-max(1, MOST // length) :]
    worst = worst[small.flat[worst] > FEW]
    if not worst.size:
        return None
    rows = np.moveaxis(run.value, axis, -1).reshape(-1, length)[worst]
    powers = np.exp(rows - rows.max(-1, keepdims=True)).astype(np.float16)
    # packed by four along the first axis, of which each has a sum of its own (softmax_reduce_sum_pack4)
    lanes = 4 if axis == 0 and length % 4 == 0 else 1
    sums = np.add.accumulate(powers.reshape(len(rows), -1, lanes), 1, dtype=np.float16)[:, -1]
    while sums.shape[-1] > 1:
        sums = sums[:, ::2] + sums[:, 1::2]
    made: Array = shares.reshape(-1, length).copy()
    made[worst] = powers / sums.astype(np.float32)
    made = np.moveaxis(made.reshape(shares.shape), -1, axis)
    largest = float(powers.sum(-1, dtype=np.float64).max())
    coarse = largest < FP16_OVERFLOW
    return Computed(Constant("the sum of its powers of e", largest, "arithmetic", coarse), made)


def moved_sums(layer: Layer, value: Array, expected: Array) -> tuple[Array, ...]:
    """How far a Softmax's output moves where its sum is added up term by term in fp32.

    ncnn's shader does so (softmax_reduce_sum.comp), and its kernels for the CPU add up several parts. Of
    18,710 classes, of which one has nearly all, the sum is off by 2e-4. `value`: its input. `expected`:
    its output. Returns nothing where the sums are not known.
    """
    axis = softmax_axis(layer, value.ndim)
    if axis is None or not np.isfinite(value).all():
        return ()
    powers = np.exp(value - value.max(axis, keepdims=True), dtype=np.float32)
    sums = np.add.accumulate(powers, axis, dtype=np.float32).take([-1], axis)
    return (expected * (powers.sum(axis, np.float64, keepdims=True) / sums - 1.0),)
