"""Repeats functions of single elements that take a power, a square, a sum or a quotient on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.network.constants import lost_parameters
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, Unary, op_type
from pytest_ncnn_parity.network.parameters import decimal, number
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun

LARGEST_POWER = 700.0  # e to this is finite in float64
HALF, ONE = np.float16(0.5), np.float16(1.0)
OFF = 0.05  # the share of itself by which a result may be off that is only rounded
ONLY_ROUNDED = 2.0**-11 / OFF  # an exponent from which on exp(x) - 1 is
ALL_WHOLE = 2048.0  # fp16 has all whole numbers up to this one

# a function as the shader computes it in fp16 (unaryop.comp), and as it is
Formula = tuple[Callable[[Array], Array], Callable[[Array], Array]]
FORMULAS: Mapping[str, Formula] = {
    Unary.EXPM1: (lambda x: np.exp(x) - ONE, np.expm1),
    Unary.ACOSH: (lambda x: np.log(x + np.sqrt(x - ONE) * np.sqrt(x + ONE)), np.arccosh),
    Unary.ATANH: (lambda x: np.log((ONE + x) / (ONE - x)) * HALF, np.arctanh),
    Unary.LOG1P: (lambda x: np.log(x + ONE), np.log1p),
    Unary.SINH: (lambda x: (np.exp(x) - np.exp(-x)) * HALF, np.sinh),
}


def softplus(_: Layer, run: LayerRun) -> Computed | None:
    """log(exp(x) + 1) (softplus.comp)."""
    powers = np.exp(np.minimum(run.value.astype(np.float64), LARGEST_POWER))
    largest = float(powers.max())
    if largest < FP16_OVERFLOW:
        return None
    made = np.where(powers >= FP16_OVERFLOW, np.inf, run.output)
    return Computed(Constant("the power of e of its largest input", largest, "arithmetic"), made)


def unary(layer: Layer, run: LayerRun) -> Computed | None:
    """The functions of a UnaryOp (unaryop.comp)."""
    kind = op_type(layer)
    if kind == Unary.ASINH:
        return _asinh(run.value, run.output)
    overflows = _hyperbolic(run.value, run.output) if kind in (Unary.SINH, Unary.COSH) else None
    if overflows is None and kind in FORMULAS:
        return _of_formula(kind, run.value, run.output)
    return overflows


def _hyperbolic(value: Array, expected: Array) -> Computed | None:
    """(exp(x) - exp(-x)) / 2 and (exp(x) + exp(-x)) / 2."""
    powers = np.exp(np.minimum(np.abs(value.astype(np.float64)), LARGEST_POWER))
    largest = float(powers.max())
    if largest < FP16_OVERFLOW:
        return None
    made = np.where(powers >= FP16_OVERFLOW, np.copysign(np.inf, expected), expected)
    return Computed(Constant("the power of e of its largest input", largest, "arithmetic"), made)


def _asinh(value: Array, expected: Array) -> Computed | None:
    """log(x + sqrt(x * x + 1)): squares may be inf, and of a negative x nothing may be left."""
    with np.errstate(all="ignore"):
        x = value.astype(np.float16)
        within = np.log(x + np.sqrt(x * x + ONE))
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


def _of_formula(kind: str, value: Array, expected: Array) -> Computed | None:
    """A sum with 1 that loses what is small beside it, and a doubled input that is inf."""
    in_fp16, exact = FORMULAS[kind]
    with np.errstate(all="ignore"):
        x = value.astype(np.float16)
        within, right = in_fp16(x).astype(np.float64), exact(x.astype(np.float64))
        lost = np.isfinite(right) & ~(np.abs(within - right) <= OFF * np.abs(right))
    if not lost.any():
        return None
    made = np.where(lost, within, expected)
    sizes = np.abs(value[lost].astype(np.float64))
    what, inner = "beside 1, its input", float(sizes.max())
    if kind == Unary.ACOSH and 2.0 * inner >= FP16_OVERFLOW:
        what, inner = "the double of its largest input", 2.0 * inner
    return Computed(Constant(what, inner, "arithmetic"), made)


def exponential(layer: Layer, run: LayerRun) -> Computed | None:
    """alpha * (exp(x) - 1) of a negative x in an ELU or SELU; CELU divides x by alpha (celu.comp)."""
    if any(lost_parameters(layer)):
        return None
    x = run.value / decimal(layer, 0, 1.0) if layer.type == "CELU" else run.value
    near = (x < 0.0) & (x > -ONLY_ROUNDED)
    if not near.any():
        return None
    powers = np.exp(x[near].astype(np.float16)) - ONE
    made = run.output.copy()
    made[near] *= powers / np.expm1(x[near])
    return Computed(Constant("beside 1, its input", float(np.abs(x[near]).max()), "arithmetic"), made)


def remainder(layer: Layer, run: LayerRun) -> Computed | None:
    """x - q * y, where q is the whole part of x / y, or the integer next to it (binaryop.comp)."""
    whole = {
        Binary.FMOD: np.trunc,
        Binary.RFMOD: np.trunc,
        Binary.REMAINDER: np.rint,
        Binary.RREMAINDER: np.rint,
    }.get(op_type(layer))
    if whole is None:
        return None
    first = run.value
    second = np.full(1, decimal(layer, 2, 0.0)) if number(layer, 1) else run.inputs[1]
    if second.shape not in ((1,), first.shape):
        return None
    if op_type(layer) in (Binary.RFMOD, Binary.RREMAINDER):
        first, second = second, first
    with np.errstate(all="ignore"):
        x, y = first.astype(np.float16), second.astype(np.float16)
        within = (x - whole(x / y) * y).astype(np.float64)
        wide, by = x.astype(np.float64), second.astype(np.float64)
        quotients = np.abs(wide / by)
        right = wide - whole(wide / by) * by
        differs = ~(np.abs(within - right) <= OFF * np.abs(by))
    lost = differs & np.isfinite(right) & (quotients >= ALL_WHOLE)
    if not lost.any():
        return None
    largest = float(quotients[lost].max())
    coarse = largest < FP16_OVERFLOW
    made = np.where(lost, within, run.output)
    # of inputs that are rounded to multiples of y, nothing is left in fp32 arithmetic either
    by_storage = bool((np.abs(right - run.output) > OFF * np.abs(by))[lost].any())
    lost_in = "storage" if by_storage else "arithmetic"
    return Computed(Constant("its largest quotient", largest, lost_in, coarse), made)
