"""Which values are bounded by the way they are computed, and so have a natural scale. Pure.

The scale of a probability is 1, however small the largest one is: a 1e-5 that becomes 0 is no error.
Only functions that level off give such a scale, and only layers that keep values within their bounds
hand it on. A constant has none of its own, and leaves the scale of what it meets unless it is larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from types import MappingProxyType

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.levelling import Levelling
from pytest_ncnn_parity.network.operator_kinds import (
    Binary,
    Eltwise,
    Reduction,
    Unary,
    copies,
    has_number,
    op_type,
)
from pytest_ncnn_parity.network.parameters import NotANumber, decimal_or_inf, decimals, number

# These level off towards their bounds. Swish, HardSwish, GELU and LogSoftmax do not; neither does Clip,
# which does not change values within its bounds, so that a small wrong value is as wrong as before.
LEVELLING = frozenset({"Sigmoid", "HardSigmoid", "TanH", "Erf", "Softmax"})
_FUSED_SIGMOID = ("9", "4")  # activation_type of convolutions and inner products (fused_activation.h)

_SELECTIONS = frozenset("Slice Crop Tile Unfold CopyTo Diag".split())
# they read values of the first input, and give means of these at most; the second says where to read
_SAMPLING = frozenset("GridSample ROIAlign ROIPooling PSROIPooling".split())
# every element lies between elements of the input; with Interp's cubic kind slightly outside
MEANS = frozenset("Pooling Pooling1D Pooling3D Interp".split())
_STATISTICS = frozenset({"StatisticsPooling"})  # no standard deviation is larger than all the values
# x times a function of x that levels off at 0 and 1
SELF_GATED = frozenset({"Swish", "HardSwish", "GELU", "Mish"})
# what they give is no larger than what they read, or little, as of SELU
SHRINKING = SELF_GATED | frozenset("ReLU PReLU ELU CELU SELU AbsVal Clip Shrink".split())
FLAT_UNARY = frozenset((Unary.ATAN, Unary.ASINH, Unary.LOG1P))  # they rise from 0 at 0, and flatten
_SHRINKING_UNARY = FLAT_UNARY | {Unary.ABS, Unary.NEG, Unary.SQUARE, Unary.SIN, Unary.EXPM1}
_REDUCING = frozenset((Reduction.MEAN, Reduction.MAX, Reduction.MIN))

_WITHIN = frozenset((Binary.MUL, Binary.MAX, Binary.MIN))
_LIMITS = frozenset((Binary.MAX, Binary.MIN))
_SUMS = frozenset((Binary.ADD, Binary.SUB, Binary.RSUB))


Largest = Callable[[Layer], float]  # gives the largest absolute value of a MemoryData


def _unknown(_: Layer) -> float:
    return math.inf


class Scale(Frozen):
    """The natural scale of a value. `sums_to_one`: a Softmax's output, or a copy of all of it.

    `is_share`: it comes from a Softmax, so that values that are small beside its unit are ordinary.
    """

    unit: float
    sums_to_one: bool = False
    is_share: bool = field(default=False, compare=False)


def natural_scales(graph: Graph, largest: Largest = _unknown) -> Mapping[str, Scale]:
    """The natural scale of every value that has one, by blob."""
    scales: dict[str, Scale] = {}
    constants: dict[str, Layer] = {}  # by blob, the MemoryData of which it is a copy
    levelling = Levelling()
    for layer in graph.layers:
        known = ((blob, scales.get(blob)) for blob in layer.inputs)
        unit = levelling.follow(
            layer, {blob: one.unit for blob, one in known if one and not one.is_share}
        )
        scale = _made(layer) or (None if unit is None else Scale(unit))
        scale = scale or _carried(layer, _read(layer, scales, constants, largest))
        if layer.type == "MemoryData":
            constants.update(dict.fromkeys(layer.outputs, layer))
        elif copies(layer) and len(layer.inputs) == 1 and layer.inputs[0] in constants:
            constants.update(dict.fromkeys(layer.outputs, constants[layer.inputs[0]]))
        if scale is not None:
            scales.update(dict.fromkeys(layer.outputs, scale))
    return scales


def levels_off(layer: Layer) -> bool:
    """Whether the layer's outputs are bounded for all inputs."""
    return _made(layer) is not None


def keeps_unit(layer: Layer) -> bool:
    """Whether no element of the output is larger than its unit if none of the inputs is."""
    keep = _KEEPING.get(layer.type)
    bounded = layer.type in SHRINKING or layer.type == "Threshold"  # which gives 0 and 1
    return bounded or (keep is not None and keep(layer))


def averages(layer: Layer) -> bool:
    """Whether each element of the output lies between elements of the input, as their mean does."""
    return layer.type in MEANS | _SAMPLING or (layer.type == "Reduction" and _reduces_within(layer))


def adds(layer: Layer) -> bool:
    """Whether `layer` adds two values, or subtracts one from the other."""
    of_two = layer.type == "BinaryOp" and not has_number(layer)
    return of_two and op_type(layer) in _SUMS


def limits(layer: Layer) -> bool:
    """Whether `layer` gives the larger or the smaller one of two values."""
    of_two = layer.type == "BinaryOp" and not has_number(layer)
    return of_two and op_type(layer) in _LIMITS


def weights_of_sum(layer: Layer) -> tuple[float, ...] | None:
    """By what an Eltwise multiplies each value that it adds up; None if that is not known, or none."""
    if layer.type != "Eltwise" or op_type(layer) != Eltwise.SUM:
        return None
    try:
        weights = tuple(decimals(layer, 1)) or (1.0,) * len(layer.inputs)
    except NotANumber:
        return None
    return weights if len(weights) == len(layer.inputs) else None


def softmax_axis(layer: Layer, dimensions: int) -> int | None:
    """The axis, in numpy's order, along which the output of a Softmax sums to one.

    None if there is no such axis, or none that can be read; ncnn then returns the input unchanged.
    """
    try:
        axis = 0 if dimensions == 1 else number(layer, 0)
    except NotANumber:
        return None
    axis += dimensions if axis < 0 else 0
    return axis if 0 <= axis < dimensions else None


def _made(layer: Layer) -> Scale | None:
    unary = layer.type == "UnaryOp" and op_type(layer) == Unary.TANH
    fused = layer.type.startswith(("Convolution", "Deconvolution", "InnerProduct"))
    name, sigmoid = _FUSED_SIGMOID
    if layer.type in LEVELLING or unary or (fused and layer.params.get(name) == sigmoid):
        softmax = layer.type == "Softmax"
        return Scale(1.0, sums_to_one=softmax, is_share=softmax)
    return None


def _read(
    layer: Layer, scales: Mapping[str, Scale], constants: Mapping[str, Layer], largest: Largest
) -> list[Scale | None]:
    """The scales of what `layer` reads, without constants that are within the bounds of the others."""
    if layer.type in _SAMPLING:
        return [scales.get(layer.inputs[0])]
    joins = layer.type in ("Concat", "CopyTo") or adds(layer) or limits(layer)
    units = [scales[blob].unit for blob in layer.inputs if blob in scales]
    within = {
        blob
        for blob in layer.inputs
        if joins and units and blob in constants and largest(constants[blob]) <= max(1.0, *units)
    }
    return [scales.get(blob) for blob in layer.inputs if blob not in within]


def _carried(layer: Layer, inputs: list[Scale | None]) -> Scale | None:
    """The scale of the layer's outputs that follows from the scales of what it reads."""
    known = [scale for scale in inputs if scale is not None]
    if len(known) < len(inputs) or not known:
        return None
    share = any(scale.is_share for scale in known)
    unit = max(scale.unit for scale in known)
    if copies(layer) and layer.type not in _SELECTIONS | {"Padding"}:
        whole = len(known) == len(layer.inputs) and all(scale.sums_to_one for scale in known)
        return Scale(unit, whole, share)
    if layer.type in _SELECTIONS | MEANS | _SAMPLING | _STATISTICS or keeps_unit(layer):
        return Scale(unit, is_share=share)
    factor = _factor(layer, known, share)
    return None if factor is None else Scale(factor, is_share=share)


def _pads_within(layer: Layer) -> bool:
    return abs(decimal_or_inf(layer, 5)) <= 1.0 and layer.params.get("6", "0") == "0"


def _reduces_within(layer: Layer) -> bool:
    return op_type(layer) in _REDUCING and abs(decimal_or_inf(layer, 2, 1.0)) <= 1.0


def _one_of(operations: Iterable[str]) -> Callable[[Layer], bool]:
    return lambda layer: op_type(layer) in operations


_KEEPING: Mapping[str, Callable[[Layer], bool]] = MappingProxyType(
    {
        "Padding": _pads_within,
        "UnaryOp": _one_of(_SHRINKING_UNARY),
        "Reduction": _reduces_within,
        "Eltwise": _one_of({Eltwise.PROD, Eltwise.MAX}),
    }
)


def _factor(layer: Layer, known: list[Scale], share: bool) -> float | None:
    """The unit of a power, sum, product or quotient of values with these scales; None: it has none."""
    if layer.type == "Eltwise":
        return _weighted_sum(layer, known)
    if layer.type == "Dropout":  # one that multiplies by a number
        return _times(decimal_or_inf(layer, 0, 1.0), known[0].unit, share)
    if layer.type == "Power":
        return _power(layer, known[0].unit, share)
    exponent = _exponent(layer)
    if exponent is not None:  # a root of a class's probability times that of a box, as FCOS scores
        return float(known[0].unit ** exponent)
    if layer.type != "BinaryOp":
        return None
    operation = op_type(layer)
    units = [scale.unit for scale in known]
    if layer.params.get("1", "0") != "1":  # two blobs, such as products of probabilities
        if adds(layer):
            return sum(units)
        return max(*units, math.prod(units)) if operation in _WITHIN else None
    factor = decimal_or_inf(layer, 2)
    # 1 - p has the unit of p, and so has p limited by a number
    if operation in _SUMS | _LIMITS and abs(factor) <= max(1.0, *units):
        return units[0]
    if operation == Binary.DIV and factor:
        return _times(1.0 / factor, units[0], share)
    return _times(factor, units[0], share) if operation == Binary.MUL else None


def _times(factor: float, unit: float, share: bool) -> float | None:
    """The unit of a value times a number. Of shares of 1 among many, a multiple has none."""
    size = abs(factor)
    return unit * size if size <= 1.0 or (not share and math.isfinite(size)) else None


def _power(layer: Layer, unit: float, share: bool) -> float | None:
    """The unit of a Power: (a + b * x) ** exponent."""
    exponent, factor, shift = (
        decimal_or_inf(layer, key, usual) for key, usual in enumerate((1.0, 1.0, 0.0))
    )
    scaled = _times(factor, unit, share)
    if scaled is None or abs(shift) > max(1.0, scaled) or not 0.0 < exponent < math.inf:
        return None
    return float(scaled**exponent)


def _exponent(layer: Layer) -> float | None:
    """The power above 0 to which `layer` raises its input; None if it does not."""
    if layer.type == "UnaryOp" and op_type(layer) == Unary.SQRT:
        return 0.5
    raises = has_number(layer) and op_type(layer) == Binary.POW
    exponent = decimal_or_inf(layer, 2) if raises else 0.0
    return exponent if 0.0 < exponent < math.inf else None


def _weighted_sum(layer: Layer, known: list[Scale]) -> float | None:
    """The unit of the sum that an Eltwise makes, as of an ensemble's probabilities; None otherwise."""
    weights = weights_of_sum(layer)
    if weights is None or len(weights) != len(known):
        return None
    return sum(abs(weight) * scale.unit for weight, scale in zip(weights, known, strict=True))
