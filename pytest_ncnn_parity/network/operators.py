"""The name under which tolerances know what a layer computes.

Mostly that is its type. Where one type computes in ways that are right to other degrees, each has a name
of its own: in int8, by winograd in fp16 on a CPU, and the functions of an UnaryOp that ncnn takes from
the processor's approximations.
A kind is added here, its tolerance in `compare/tolerance.py`.
"""

from __future__ import annotations

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8
from pytest_ncnn_parity.network.winograd import may_use_winograd

RSQRT = "UnaryOp rsqrt"
_FUNCTIONS = {"6": RSQRT}  # by op_type, from src/layer/unaryop.h


def operator(layer: Layer, setup: Setup | None = None) -> str:
    """The key of `layer`, as it runs under `setup`, in `compare.tolerance.OPERATORS`.

    `int8 TYPE` where it multiplies int8 by int8, `winograd TYPE` where a CPU may compute it so in fp16,
    `UnaryOp rsqrt` for that function, else its type.
    """
    if layer.type == "UnaryOp":
        function = layer.params.get("0", "0")
        return _FUNCTIONS.get(function, layer.type)
    if computes_in_int8(layer):
        return f"int8 {layer.type}"
    if setup is not None and _in_fp16_by_winograd(layer, setup):
        return f"winograd {layer.type}"
    return layer.type


def _in_fp16_by_winograd(layer: Layer, setup: Setup) -> bool:
    """Whether a CPU may compute it so."""
    on_cpu = setup.device == "cpu" and setup.precision == "fp16"
    winograd = bool(setup.options.get("use_winograd_convolution", True))
    return on_cpu and winograd and may_use_winograd(layer)
