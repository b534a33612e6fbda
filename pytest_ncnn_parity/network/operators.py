"""The names under which tolerances know what a layer computes.

Mostly that is the layer's type. A type has several names if it computes in ways of different accuracy:
in int8, by winograd in fp16 on a CPU, or by a function for which ncnn uses an approximate instruction
of the processor, or which Vulkan leaves less accurate than others. A name is added here, and its
tolerance in `compare/tolerance.py`.
"""

from __future__ import annotations

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8
from pytest_ncnn_parity.network.operator_kinds import Binary, Unary, op_type
from pytest_ncnn_parity.network.winograd import may_use_winograd

RSQRT = "UnaryOp rsqrt"
WAVE = "UnaryOp sin or cos"
ANGLE = "arcus"  # asin, acos, atan and atan2
_FUNCTIONS = {
    ("UnaryOp", Unary.RSQRT): RSQRT,
    **dict.fromkeys([("UnaryOp", Unary.SIN), ("UnaryOp", Unary.COS)], WAVE),
    **dict.fromkeys([("UnaryOp", of) for of in (Unary.ASIN, Unary.ACOS, Unary.ATAN)], ANGLE),
    **dict.fromkeys([("BinaryOp", of) for of in (Binary.ATAN2, Binary.RATAN2)], ANGLE),
}


def operator(layer: Layer, setup: Setup | None = None) -> str:
    """The key of `layer`, as it runs under `setup`, in `compare.tolerance.OPERATORS`.

    `int8 TYPE` if it multiplies int8 by int8, `winograd TYPE` if a CPU may use winograd in fp16,
    `UnaryOp rsqrt` and others for some functions, and otherwise the type.
    """
    function = _FUNCTIONS.get((layer.type, op_type(layer)))
    if function is not None:
        return function
    if computes_in_int8(layer):
        return f"int8 {layer.type}"
    if setup is not None and _in_fp16_by_winograd(layer, setup):
        return f"winograd {layer.type}"
    return layer.type


def _in_fp16_by_winograd(layer: Layer, setup: Setup) -> bool:
    """Whether a CPU may compute `layer` by winograd in fp16."""
    on_cpu = setup.device == "cpu" and setup.precision == "fp16"
    winograd = bool(setup.options.get("use_winograd_convolution", True))
    return on_cpu and winograd and may_use_winograd(layer)
