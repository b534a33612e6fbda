"""Which inputs hold certain values only: positive ones before a logarithm or a root, masks 0 and 1."""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import VIEWS, Binary, Unary, copies, has_number, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal

_HIDES = 1000.0  # a number from here on, subtracted from an attention's score, hides a place
_OF_POSITIVE = {Unary.SQRT, Unary.RSQRT, Unary.LOG, Unary.LOG10, Unary.LOG1P}


def positive_reader(graph: Graph, blob: str) -> Layer | None:
    """The first layer that takes a logarithm or a root of `blob`, or of it times or plus a constant.

    Of negative values that is nan. None if there is no such layer, or one in front, such as a square or
    an absolute value, leaves no negative values.
    """
    return next(filter(_is_of_positive, graph.readers_behind(blob, _keeps_sign)), None)


def _is_of_positive(layer: Layer) -> bool:
    """Whether `layer` gives nan for negative values."""
    try:
        if layer.type == "UnaryOp":
            return op_type(layer) in _OF_POSITIVE
        if has_number(layer) and op_type(layer) == Binary.POW:
            return not decimal(layer, 2, 0.0).is_integer()
        if layer.type == "Power":
            return not decimal(layer, 0, 1.0).is_integer() and decimal(layer, 1, 1.0) > 0
        return layer.type == "Log" and decimal(layer, 1, 1.0) > 0
    except NotANumber:
        return False


def _keeps_sign(layer: Layer) -> bool:
    """Whether positive values stay positive, and negative ones are still among the others."""
    if copies(layer):
        return True
    try:
        if not has_number(layer):
            return False
        constant = decimal(layer, 2, 0.0)
    except NotANumber:
        return False
    return constant > 0 and op_type(layer) in (Binary.ADD, Binary.MUL, Binary.DIV)


def mask_reader(graph: Graph, blob: str) -> Layer | None:
    """The layer by which `blob` is a mask of 1 and 0, as in (1 - mask) * -1e4, to be added to scores.

    None if there is no such layer.
    """
    for complement in graph.readers_behind(blob, _hands_on):
        if _is_complement(complement):
            behind = graph.readers_behind(complement.outputs[0], _hands_on)
            return next((layer for layer in behind if _hides(layer)), None)
    return None


def _hands_on(layer: Layer) -> bool:
    return copies(layer) or layer.type in VIEWS


def _is_complement(layer: Layer) -> bool:
    """Whether `layer` computes 1 - x."""
    try:
        return has_number(layer) and op_type(layer) == Binary.RSUB and decimal(layer, 2, 0.0) == 1
    except NotANumber:
        return False


def _hides(layer: Layer) -> bool:
    """Whether `layer` multiplies by a large negative number."""
    try:
        return has_number(layer) and op_type(layer) == Binary.MUL and decimal(layer, 2, 0.0) <= -_HIDES
    except NotANumber:
        return False
