"""What each comparison of a spec allows: the defaults, with what the spec changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.compare.tolerance import (
    BRAIN_WEIGHTS,
    DEFAULTS,
    INT8,
    OF_FOUR_BITS,
    ONLY_ROUNDED_WEIGHTS,
    OPERATORS,
    QUANTIZED,
    ROUNDED_WEIGHTS,
    Tolerance,
)
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8_tensors import blocks
from pytest_ncnn_parity.network.operators import operator
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.plan.names import matches, matches_blob
from pytest_ncnn_parity.spec.keys import ToleranceKeys


class Tolerances:
    """Those of `comparison`. `given`: what the spec says; `other`: the model that it runs besides.

    `only_rounded`: whether it is compared in fp32, and differs in nothing but the rounding of weights.
    """

    def __init__(self, given: ToleranceKeys, comparison: Comparison, other: Counterparts | None) -> None:
        self._given = given
        self._comparison = comparison
        self._other = other
        self._precision = INT8 if other is not None and other.in_int8 else comparison.precision
        in_fp32 = self._precision == "fp32"
        self._rounded = other.rounded if other is not None and in_fp32 else frozenset()
        self._only_rounded = other.only_rounded if other is not None and in_fp32 else frozenset()
        # where both files have fp16, a tool that writes one again makes 0 of subnormal weights, which no
        # layer shows, and an output may
        self._weights = self._precision
        if other is not None and in_fp32 and any(other.halves):
            self._weights = ROUNDED_WEIGHTS
        if other is not None and in_fp32 and any(other.brains) and other.rounded:
            self._weights = BRAIN_WEIGHTS
        self.only_rounded = other is not None and in_fp32 and other.nothing_else
        # the defaults with the spec's changes: each is needed for many layers
        self._changed: dict[Tolerance, Tolerance] = {}
        self._known: dict[int, Tolerance] = {}  # by the number of a layer

    @cached_property
    def common(self) -> Tolerance:
        """The tolerance of layers that the spec does not name, and of values in a whole run.

        A layer that needs another has one of its own.
        """
        return self._of_layers(DEFAULTS[self._weights].layer)

    def of_layer(self, layer: Layer) -> Tolerance:
        """The tolerance of `layer`."""
        if layer.number not in self._known:
            self._known[layer.number] = self._of_layer(layer)
        return self._known[layer.number]

    def _of_layer(self, layer: Layer) -> Tolerance:
        tolerance = self._of_layers(self._default(layer))
        for pattern, budget in self._given.layers.items():
            if matches(pattern, layer):
                tolerance = tolerance.updated(budget.given())
        if tolerance.headroom == 1.0 or self._comparison.judges_headroom:
            return tolerance
        return replace(tolerance, headroom=1.0)

    def of_output(self, blob: str) -> Tolerance:
        """The tolerance of `blob`, as a run of the whole network gives it."""
        precision = ONLY_ROUNDED_WEIGHTS if self.only_rounded else self._weights
        tolerance = self._of_precision(DEFAULTS[precision].output)
        for pattern, budget in self._given.outputs.items():
            if matches_blob(pattern, blob):
                tolerance = tolerance.updated(budget.given())
        return tolerance

    def own_of(self, layers: Iterable[Layer]) -> Mapping[int, Tolerance]:
        """By number, the tolerances of those of `layers` that have one of their own."""
        common = self.common
        each = ((layer.number, self.of_layer(layer)) for layer in layers)
        return {n: one for n, one in each if one is not common and one != common}

    def _default(self, layer: Layer) -> Tolerance:
        comparison, precision = self._comparison, self._precision
        there = None if self._other is None else self._other.of.get(layer.number)
        if precision == INT8:
            if there is not None and there.quantized:
                return OF_FOUR_BITS if any(map(_of_four_bits, there.quantized)) else QUANTIZED
            if comparison.half is None:
                return DEFAULTS[INT8].layer
            precision = comparison.precision
        if layer.number in self._only_rounded:
            return DEFAULTS[ONLY_ROUNDED_WEIGHTS].layer
        if layer.number in self._rounded:
            return DEFAULTS[self._weights].layer
        return OPERATORS.get(
            (precision, operator(layer, comparison.candidate)), DEFAULTS[precision].layer
        )

    def _of_layers(self, default: Tolerance) -> Tolerance:
        if default not in self._changed:
            tolerance, headroom = self._of_precision(default), self._given.headroom
            if self._comparison.judges_headroom and headroom is not None:
                tolerance = replace(tolerance, headroom=headroom)
            self._changed[default] = tolerance
        return self._changed[default]

    def _of_precision(self, default: Tolerance) -> Tolerance:
        return default.updated(self._given.of_precision(self._precision).given())


def _of_four_bits(layer: Layer) -> bool:
    packing = blocks(layer)
    return packing is not None and packing.bits == 4
