"""The name under which tolerances know what a layer computes.

Mostly that is its type. Where one type computes in ways that are right to other degrees, each has a name
of its own: in int8, and the functions of an UnaryOp that ncnn takes from the processor's approximations.
A kind is added here, its tolerance in `compare/tolerance.py`.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8

RSQRT = "UnaryOp rsqrt"
_FUNCTIONS = {"6": RSQRT}  # by op_type, src/layer/unaryop.h


def operator(layer: Layer) -> str:
    """The key of `layer` in `compare.tolerance.OPERATORS`.

    `int8 TYPE` where it multiplies int8 by int8, `UnaryOp rsqrt` for that function, else its type.
    """
    if layer.type == "UnaryOp":
        function = layer.params.get("0", "0")
        return _FUNCTIONS.get(function, layer.type)
    if computes_in_int8(layer):
        return f"int8 {layer.type}"
    return layer.type
