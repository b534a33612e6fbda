"""Functions that level off in layers of their own: 1 / (1 + exp(-x)), exp(-x * x), p / (p + 0.01). Pure.

Where p is a probability, p / (p + c) is no larger than 1, however small c is, and exp(p) - 1 is as small
as p, like an EXPM1. A power of e whose exponent is never positive is no larger than 1, as in a Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, Unary, copies, has_number, op_type
from pytest_ncnn_parity.network.parameters import decimal_or_inf
from pytest_ncnn_parity.network.signs import Signs

# 1 / (d + exp(x)) levels off, but for a small d its bound is far from what it gives
LEAST_DIVISOR = 0.5
_NOT_NEGATIVE = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})


class Levelling:
    """What is known of the values that such functions consist of, by blob."""

    def __init__(self) -> None:
        self._least: dict[str, float] = {}  # what no element is below, as far as that is known
        self._copied: dict[str, str] = {}  # of a copy, the value that was copied
        self._sums: dict[str, tuple[str, float]] = {}  # of x + c, the value x and the number c
        self._powers: dict[str, float] = {}  # of exp(p), the unit of p
        self._signs = Signs()

    def follow(self, layer: Layer, units: Mapping[str, float]) -> float | None:
        """Take note of `layer`, the next one; return its unit if such a function ends in it.

        `units`: those of its inputs that have a natural scale, and do not come from a Softmax.
        """
        self._note(layer, units)
        self._signs.follow(layer, {blob for blob, unit in units.items() if unit <= 1.0})
        if len(layer.inputs) == 1:
            if layer.type == "UnaryOp" and _is_exp(layer) and self._signs.of(layer.inputs[0]) < 0.0:
                return 1.0
            return self._reciprocal(layer) or self._power_less_1(layer)
        return self._share_of_sum(layer, units)

    def _note(self, layer: Layer, units: Mapping[str, float]) -> None:
        least = self._bound(layer)
        if least is not None:
            self._least.update(dict.fromkeys(layer.outputs, least))
        if len(layer.inputs) != 1:
            return
        (read,) = layer.inputs
        if layer.type == "Split":
            self._copied.update(dict.fromkeys(layer.outputs, self._value(read)))
            if read in self._powers:
                self._powers.update(dict.fromkeys(layer.outputs, self._powers[read]))
        elif has_number(layer) and op_type(layer) == Binary.ADD:
            self._sums[layer.outputs[0]] = self._value(read), decimal_or_inf(layer, 2)
        elif _is_exp(layer) and read in units:
            self._powers[layer.outputs[0]] = units[read]

    def _value(self, blob: str) -> str:
        return self._copied.get(blob, blob)

    def _bound(self, layer: Layer) -> float | None:
        """What no output of `layer` is below: exp(x) is above 0, and 1 + exp(x) above 1."""
        if _is_exp(layer) or layer.type in _NOT_NEGATIVE:
            return 0.0
        if len(layer.inputs) != 1 or layer.inputs[0] not in self._least:
            return None
        least = self._least[layer.inputs[0]]
        if copies(layer) and layer.type not in {"Padding", "Unfold"}:  # these may add zeros
            return least
        is_sum = has_number(layer) and op_type(layer) == Binary.ADD
        return least + decimal_or_inf(layer, 2) if is_sum else None

    def _reciprocal(self, layer: Layer) -> float | None:
        """The unit of 1 / (1 + exp(-x)), a Sigmoid in layers of its own."""
        least = self._least.get(layer.inputs[0])
        if least is None or not LEAST_DIVISOR <= least < math.inf:
            return None
        if layer.type == "UnaryOp" and op_type(layer) == Unary.RECIPROCAL:
            return 1.0 / least
        divides = has_number(layer) and op_type(layer) == Binary.RDIV
        dividend = abs(decimal_or_inf(layer, 2))
        return dividend / least if divides and dividend < math.inf else None

    def _power_less_1(self, layer: Layer) -> float | None:
        """The unit of exp(p) - 1: that of p, as for an EXPM1."""
        if not has_number(layer):
            return None
        subtracted = {Binary.SUB: 1.0, Binary.ADD: -1.0}.get(op_type(layer))
        is_that = subtracted is not None and decimal_or_inf(layer, 2) == subtracted
        return self._powers.get(layer.inputs[0]) if is_that else None

    def _share_of_sum(self, layer: Layer, units: Mapping[str, float]) -> float | None:
        """The unit of p / (p + c), which rises with p."""
        if layer.type != "BinaryOp" or op_type(layer) != Binary.DIV:
            return None
        dividend, divisor = layer.inputs
        value, number = self._sums.get(divisor, ("", 0.0))
        if self._value(dividend) != value or self._least.get(dividend, -1.0) < 0.0:
            return None
        unit = units.get(dividend)
        return unit / (unit + number) if unit is not None and 0.0 < number < math.inf else None


def _is_exp(layer: Layer) -> bool:
    return layer.type == "Exp" or (layer.type == "UnaryOp" and op_type(layer) == Unary.EXP)
