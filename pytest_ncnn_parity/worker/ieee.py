"""What layers give for 0 and inf by IEEE 754, where ncnn's kernels for x86 give something else.

They are built with -ffast-math, to which inf and nan do not exist: rsqrt(inf) is nan, pow(0, 2) is
2.4e38, and a Softmax over a row with inf is 0 or 1, because a nan is lost where exp clips its argument
(avx_mathfun.h and softmax_x86.cpp in src/layer/x86). Vulkan and other processors follow IEEE 754. In the
judge's trials inf stands for a value that 16 bits cannot hold, and 0 for one that they lose, so that it
matters what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import softmax_axis
from pytest_ncnn_parity.network.operator_kinds import Binary, Reduction, Unary, has_number, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.network.shapes.rules.pairs import expanded
from pytest_ncnn_parity.worker.values.blob import Blob, Made

FUNCTIONS = frozenset({"UnaryOp", "BinaryOp"})  # the operators that `function_in_float64` may know
_ATTENTIONS = frozenset({"MultiHeadAttention", "SDPA"})
FP32_MAX = np.finfo(np.float32).max  # a float32, so that an array of such stays one
# of a UnaryOp
_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        Unary.RSQRT: lambda x: 1.0 / np.sqrt(x),
        Unary.LOG: np.log,
        Unary.ATAN: np.arctan,
        Unary.RECIPROCAL: lambda x: 1.0 / x,
        Unary.LOG10: np.log10,
    }
)


def corrected(layer: Layer, values: Made, outputs: Made, run: Callable[[Layer, Made], Made]) -> Made:
    """Return `outputs`, which the CPU computed from `values`, as IEEE 754 has them for 0 and inf.

    `run` runs the layer on other values.
    """
    if any(value.batch or not value.floating for value in (*values.values(), *outputs.values())):
        return outputs
    if layer.type == "Softmax":
        return _softmax(layer, values, outputs)
    at_ends = _at_ends(layer, values)
    if at_ends is None:
        return _quotients(layer, values, outputs, run)
    (blob,), (ends, true) = outputs, at_ends
    return {blob: Blob.of(np.where(ends, true, outputs[blob].array))}


def function_in_float64(layer: Layer, values: Made) -> Array | None:
    """Return the power, logarithm, root or quotient that `layer` is, in fp32: inf beyond its range.

    None for other layers, and for values that are not fp32.
    """
    read = [values[blob] for blob in layer.inputs]
    if any(value.batch or not value.floating for value in read):
        return None
    function: Callable[..., Array] | None = _applied(layer)
    operands: Sequence[Array] | None = _operands(layer, values)
    if layer.type == "UnaryOp":
        function = np.exp if op_type(layer) == Unary.EXP else _FUNCTIONS.get(op_type(layer))
        operands = [read[0].array]
    if function is None or operands is None:
        return None
    with np.errstate(all="ignore"):
        return np.asarray(function(*(one.astype(np.float64) for one in operands)), np.float32)


def gives_nan_for_a_number(layer: Layer, values: Made, outputs: Made) -> bool:
    """Return whether an element is nan in `outputs` where the function of `layer` has a value."""
    read = [values[blob] for blob in layer.inputs]
    if not all(value.floating for value in (*read, *outputs.values())):
        return False
    if not any(value.nan for value in outputs.values()):
        return False
    at_ends = _at_ends(layer, values)
    if at_ends is None:
        return False
    (array,), (ends, true) = (value.array for value in outputs.values()), at_ends
    return bool((ends & np.isnan(array) & ~np.isnan(true)).any())


def gives_a_number_for_inf(layer: Layer, values: Made, outputs: Made) -> bool:
    """Return whether powers of e that are added up hide inf: a Softmax of it is nan, a LogSumExp inf.

    Of an attention it is known only where none of `outputs` shows that it has read inf.
    """
    log_sum = layer.type == "Reduction" and op_type(layer) == Reduction.LOG_SUM_EXP
    if not (layer.type == "Softmax" or layer.type in _ATTENTIONS or log_sum):
        return False
    made, read = list(outputs.values()), {blob: values[blob] for blob in layer.inputs}
    if any(value.batch or not value.floating for value in (*read.values(), *made)):
        return False
    if not any(value.inf for value in read.values()):
        return False
    if layer.type == "Softmax":
        (true,) = _softmax(layer, read, outputs).values()
        return true.nan > made[0].nan
    return not any(value.nan or value.infinite for value in made)


def _at_ends(layer: Layer, values: Made) -> tuple[Array, Array] | None:
    """Where `layer` reads 0 or inf, and what it gives there; None: nowhere, or that is not known."""
    function = _FUNCTIONS.get(op_type(layer)) if layer.type == "UnaryOp" else None
    if function is not None:
        read = values[layer.inputs[0]].array
        ends = (read == 0) | np.isinf(read)
    else:
        pair = _operands(layer, values)
        if pair is None:
            return None
        first, second = pair
        # 0 or inf to the power of 0 or less is left as it is
        by_power = op_type(layer) in (Binary.POW, Binary.RPOW)
        edge, also = (first, second > 0) if by_power else (second, True)
        ends = ((edge == 0) | np.isinf(edge)) & also
    if not ends.any():
        return None
    with np.errstate(all="ignore"):
        true = function(read) if function is not None else _applied(layer)(first, second)
    return ends, true.astype(np.float32)


def _applied(layer: Layer) -> Callable[[Array, Array], Array]:
    """What a BinaryOp makes of its `_operands`."""
    return np.power if op_type(layer) in (Binary.POW, Binary.RPOW) else np.divide


def _operands(layer: Layer, values: Made) -> tuple[Array, Array] | None:
    """Dividend and divisor, or base and exponent, broadcast as ncnn does it."""
    kind = op_type(layer)
    if layer.type != "BinaryOp" or kind not in (Binary.DIV, Binary.RDIV, Binary.POW, Binary.RPOW):
        return None
    first = values[layer.inputs[0]].array
    if has_number(layer):
        try:
            second: Array = np.full_like(first, decimal(layer, 2, 0.0))
        except NotANumber:
            return None
    else:
        second = values[layer.inputs[1]].array
    first, second = np.broadcast_arrays(
        first.reshape(expanded(first.shape, second.shape)),
        second.reshape(expanded(second.shape, first.shape)),
    )
    return (first, second) if kind in (Binary.DIV, Binary.POW) else (second, first)


def _softmax(layer: Layer, values: Made, outputs: Made) -> Made:
    """Rows with +inf become nan: inf - inf is nan, and so is their sum."""
    (read,), (blob,) = values.values(), outputs
    axis = softmax_axis(layer, read.array.ndim)
    if not read.infinite or axis is None or outputs[blob].shape != read.shape:
        return outputs
    lost = np.isposinf(read.array).any(axis=axis, keepdims=True)
    return {blob: Blob.of(np.where(lost, np.float32(np.nan), outputs[blob].array))}


def _quotients(layer: Layer, values: Made, outputs: Made, run: Callable[[Layer, Made], Made]) -> Made:
    """`outputs` with 0 where something finite is divided by inf, whatever the shapes are.

    The kernels multiply by an approximate reciprocal of the divisor, and for inf this gives nan.
    """
    divisor = values.get(_divisor(layer) or "")
    if divisor is None or not np.isinf(divisor.array).any():
        return outputs
    ends = Blob.of(np.clip(divisor.array, -FP32_MAX, FP32_MAX))
    by_ends = run(layer, {**values, str(_divisor(layer)): ends})
    true = {}
    for blob, value in outputs.items():
        by_inf = np.isnan(value.array) & np.isfinite(by_ends[blob].array)
        true[blob] = Blob.of(np.where(by_inf, np.float32(0.0), value.array))
    return true


def _divisor(layer: Layer) -> str | None:
    """The blob by which a BinaryOp divides, if any."""
    kind = op_type(layer) if layer.type == "BinaryOp" else ""
    if kind == Binary.RDIV:
        return layer.inputs[0]
    return layer.inputs[1] if kind == Binary.DIV and not has_number(layer) else None
