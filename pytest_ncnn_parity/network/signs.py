"""Which values are never negative, or never positive, by the way they are computed. Pure."""

from __future__ import annotations

from collections.abc import Container
from math import copysign

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import (
    Binary,
    Reduction,
    Unary,
    copies,
    has_number,
    op_type,
)
from pytest_ncnn_parity.network.parameters import decimal_or_inf, differs

_NOT_NEGATIVE = frozenset("Sigmoid HardSigmoid Softmax Softplus AbsVal Exp".split())
_NOT_NEGATIVE_OPERATIONS = {
    "UnaryOp": {Unary.ABS, Unary.SQUARE, Unary.EXP},
    "Reduction": {Reduction.ASUM, Reduction.SUMSQ, Reduction.L1, Reduction.L2},
}
_KEEPING = frozenset({Reduction.SUM, Reduction.MEAN, Reduction.MAX, Reduction.MIN})
_SCALING = frozenset({Binary.MUL, Binary.DIV})


class Signs:
    """The sign of each value that has one: 1 if it is never negative, -1 if it is never positive."""

    def __init__(self) -> None:
        self._signs: dict[str, float] = {}
        self._copied: dict[str, str] = {}  # of a copy, the value that was copied

    def of(self, blob: str) -> float:
        """1, -1, or 0 if nothing is known."""
        return self._signs.get(blob, 0.0)

    def follow(self, layer: Layer, up_to_1: Container[str]) -> None:
        """Take note of `layer`, the next one; `up_to_1`: values that are known to be no larger."""
        if layer.type == "Split":
            source = self._copied.get(layer.inputs[0], layer.inputs[0])
            self._copied.update(dict.fromkeys(layer.outputs, source))
        sign = self._made(layer, up_to_1)
        if sign:
            self._signs.update(dict.fromkeys(layer.outputs, sign))

    def _made(self, layer: Layer, up_to_1: Container[str]) -> float:
        read = [self.of(blob) for blob in layer.inputs]
        if layer.type in _NOT_NEGATIVE or op_type(layer) in _NOT_NEGATIVE_OPERATIONS.get(layer.type, ()):
            return 1.0
        if layer.type == "ReLU" and not differs(layer, 0, 0.0):
            return 1.0
        if layer.type == "UnaryOp" and op_type(layer) == Unary.LOG:
            return -1.0 if layer.inputs[0] in up_to_1 else 0.0
        if layer.type == "UnaryOp" and op_type(layer) == Unary.NEG:
            return -read[0]
        if layer.type == "BinaryOp":
            return self._of_number(layer, read[0]) if has_number(layer) else self._of_two(layer, read)
        keeps = (
            layer.type == "Reduction"
            and op_type(layer) in _KEEPING
            and decimal_or_inf(layer, 2, 1.0) > 0
        )
        keeps |= copies(layer) and layer.type != "Padding"  # which may add other values
        return read[0] if keeps and len(set(read)) == 1 else 0.0

    def _of_number(self, layer: Layer, read: float) -> float:
        second = decimal_or_inf(layer, 2)
        sign = copysign(1.0, second)
        if op_type(layer) == Binary.POW and second % 2.0 == 0.0:
            return 1.0
        if op_type(layer) in _SCALING:
            return read * sign
        return read if op_type(layer) == Binary.ADD and read == sign else 0.0

    def _of_two(self, layer: Layer, read: list[float]) -> float:
        one, other = (self._copied.get(blob, blob) for blob in layer.inputs)
        if op_type(layer) in _SCALING:
            return 1.0 if one == other else read[0] * read[1]
        return read[0] if op_type(layer) == Binary.ADD and read[0] == read[1] else 0.0
