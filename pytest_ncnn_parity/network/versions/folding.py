"""What a converter may fold into a layer, and which of the layer's parameters that changes. Pure.

ncnnoptimize folds factors and activations into layers with weights (tools/ncnnoptimize.cpp). Exporters
differ in whether the factors and offsets of a norm, or the bias of a product, are layers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import INT8_TERM
from pytest_ncnn_parity.network.operator_kinds import ELEMENTWISE
from pytest_ncnn_parity.network.param_line import MASK_ID, SHAPE_HINT_ID
from pytest_ncnn_parity.network.parameters import differs

# Operators with weights into which a following layer can be folded: the ids of the parameters that this
# changes, for the bias and the activation, and those of the weights' size and of int8.
CHANGED_BY_FOLDING = {
    **dict.fromkeys(
        (
            f"{kind}{depthwise}{dimensions}"
            for kind in ("Convolution", "Deconvolution")
            for depthwise in ("", "DepthWise")
            for dimensions in ("", "1D", "3D")
        ),
        frozenset({"5", "8", "9", "-23310"}),
    ),
    "InnerProduct": frozenset({"1", "8", "9", "-23310"}),
}
_WINDOWED = CHANGED_BY_FOLDING.keys() - {"InnerProduct"}
# Operators with factors or offsets of their own, which may be layers behind them instead, and the ids
# that say so. An activation is not folded into them.
WITH_OFFSETS = {
    **dict.fromkeys(("LayerNorm", "RMSNorm", "InstanceNorm"), frozenset({"2"})),
    "GroupNorm": frozenset({"3"}),
    "Gemm": frozenset({"6", "10"}),
}
# By operator with windows, by parameter the one that it repeats by default, as a height does a width;
# and those that are 1 by default: strides and dilations
_CONVOLVED = {"11": "1", "12": "2", "13": "3", "14": "4", "15": "4", "16": "14"}
_REPEATED: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys((*_WINDOWED, "DeformableConv2D", "Unfold"), _CONVOLVED),
    **dict.fromkeys(("Deconvolution", "DeconvolutionDepthWise"), _CONVOLVED | {"19": "18", "21": "20"}),
    "Pooling": {"11": "1", "12": "2", "13": "3", "14": "3", "15": "13", "18": "8"},
}
_ONES = {**dict.fromkeys(_REPEATED, frozenset("23")), "Pooling": frozenset("2")}
ACTIVATION_ID = "9"
ACTIVATIONS = frozenset("ReLU Clip Sigmoid Mish HardSwish".split())
FACTORS = frozenset("BatchNorm Scale Dropout".split())  # a Dropout that scales
_FUNCTIONS = ELEMENTWISE - frozenset("Scale Bias BatchNorm BinaryOp Eltwise Dropout".split())
# they give the same for all values beyond an end
_LIMITING = frozenset({"ReLU", "Clip", "HardSigmoid", "Threshold"})


def is_activation(layer: Layer) -> bool:
    """Whether a layer with weights may compute `layer` as well; a PReLU of one slope is a leaky ReLU."""
    return layer.type in ACTIVATIONS or (layer.type == "PReLU" and not differs(layer, 0, 1.0))


def applies_function(layer: Layer) -> bool:
    """Whether `layer` computes a function of each element that is more than a factor and an offset."""
    return layer.type in _FUNCTIONS or _activates(layer)


def _activates(layer: Layer) -> bool:
    return layer.type in CHANGED_BY_FOLDING and layer.params.get(ACTIVATION_ID, "0") != "0"


def limits(layer: Layer) -> bool:
    """Whether different inputs of `layer` may give one output."""
    return layer.type in _LIMITING or _activates(layer)


def lasting(layer: Layer) -> tuple[tuple[str, str], ...]:
    """The parameters of `layer` that folding and quantizing keep, numbers in one notation.

    Writers differ in whether they state what goes without saying. So a 0 counts as not stated, though
    not all defaults are 0, and so does a height that is the width.
    """
    changed = {
        MASK_ID,
        SHAPE_HINT_ID,
        *CHANGED_BY_FOLDING.get(layer.type, ()),
        *WITH_OFFSETS.get(layer.type, ()),
    }
    changed |= {INT8_TERM[layer.type]} if layer.type in INT8_TERM else set()
    plain = {key: ",".join(map(_plain, value.split(","))) for key, value in layer.params.items()}
    return tuple(
        (key, value)
        for key, value in sorted(plain.items())
        if key not in changed and value != "0" and not _goes_without_saying(layer, key, plain)
    )


def _goes_without_saying(layer: Layer, key: str, params: Mapping[str, str]) -> bool:
    """Whether a layer with windows that does not state this parameter has it."""
    return layer.type in _REPEATED and params[key] == _by_default(layer.type, key, params)


def _by_default(kind: str, key: str, params: Mapping[str, str]) -> str:
    repeated = _REPEATED[kind].get(key)
    if repeated is None:
        return "1" if key in _ONES[kind] else "0"
    return params.get(repeated) or _by_default(kind, repeated, params)


def _plain(number: str) -> str:
    try:
        return f"{float(number):.6g}"
    except ValueError:
        return number
