"""Values that are multiplied by a probability: b * Sigmoid(x), as where a mask is applied to a spectrum.

A Swish is such a product of its own input, x * Sigmoid(x), and so in effect are GELU and its like.

A probability of 1e-5 that becomes 0 is no error, and neither is its product. The unit of such a
product, element by element, is the multiplied value times the probability's own scale. So a small
product of a large value is judged by that large unit, and a product of a small value by a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import COPYING, Graph, Layer
from pytest_ncnn_parity.network.natural_scale import MEANS, natural_scales
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# x times a function of x that levels off at 0 and 1
_SELF_GATED = frozenset({"Swish", "HardSwish", "GELU", "Mish"})
# what they give is as large as the largest of the values that they read, or smaller
_SHRINKING = MEANS | {"ReLU", "AbsVal"}
_SUMS = frozenset({"0", "1", "7"})  # a + b, a - b, b - a
_PRODUCT = {"BinaryOp": "2", "Eltwise": "0"}  # op_type (src/layer/binaryop.h, eltwise.h)


class Gates:
    """The units of such products and of their copies. `run` runs a layer in fp32 on the CPU.

    Those that become one of the `outputs` are followed to it; others are computed where a layer is
    judged.
    """

    def __init__(self, graph: Graph, outputs: Iterable[str], run: Callable[[Layer, Made], Made]) -> None:
        self._run = run
        self._natural = {blob: scale.unit for blob, scale in natural_scales(graph).items()}
        self._units: dict[str, Array] = {}  # by blob, of each element
        self._layer: Layer | None = None  # the current layer, with what it reads
        self._read: Made = {}
        gated = self._gated(graph)
        self.layers = {layer.number for layer in _tail(graph, outputs) if gated & {*layer.outputs}}

    def _gated(self, graph: Graph) -> set[str]:
        """The blobs that are such products, or copies of one."""
        gated: set[str] = set()
        for layer in graph.layers:
            if self._makes(layer) or (_hands_on(layer) and gated.intersection(layer.inputs)):
                gated.update(layer.outputs)
        return gated

    def _makes(self, layer: Layer) -> bool:
        """Whether `layer` multiplies a value of natural scale by one that has none."""
        if layer.type in _SELF_GATED:
            return True
        natural = [blob in self._natural for blob in layer.inputs]
        return _multiplies(layer) and any(natural) and not all(natural)

    def follow(self, layer: Layer, blobs: Made) -> None:
        """Take note of what `layer` computed; its inputs are in `blobs`."""
        self._layer = layer
        self._read = {blob: blobs[blob] for blob in layer.inputs if blob in blobs}
        if layer.number in self.layers:
            self._units |= self._made(layer)

    def unit(self, blob: str, whole: bool) -> Array | None:
        """The unit of each element of `blob`: an output of a `whole` run, or of the current layer."""
        at_hand = None if whole or blob in self._units else self._layer
        if at_hand is not None and blob in at_hand.outputs and self._makes(at_hand):
            return self._made(at_hand).get(blob)
        return self._units.get(blob)

    def _made(self, layer: Layer) -> Mapping[str, Array]:
        """The units of the outputs of `layer`; none if no input has one, or it cannot be run."""
        if any(blob not in self._read or not self._read[blob].floating for blob in layer.inputs):
            return {}
        if layer.type in _SELF_GATED:
            return {layer.outputs[0]: np.abs(self._read[layer.inputs[0]].array)}
        own = {blob: unit for blob in layer.inputs if (unit := self._of_input(layer, blob)) is not None}
        values = {blob: value.array for blob, value in self._read.items()}
        try:
            if _adds(layer):  # as where two gated values meet
                shapes = {unit.shape for unit in own.values()}
                alone = len(own) < len(layer.inputs) or len(shapes) > 1
                return {} if alone else {layer.outputs[0]: np.abs(sum(own.values()))}
            if not _multiplies(layer):
                if layer.type == "Concat":  # elsewhere the others are shapes
                    values = {blob: np.zeros_like(array) for blob, array in values.items()}
                return self._answer(layer, {**values, **own}) if own else {}
            total: dict[str, Array] = {}
            for blob, unit in own.items():  # of a product: each factor's unit times the others
                for output, part in self._answer(layer, {**values, blob: unit}).items():
                    total[output] = total.get(output, 0.0) + part
        except StepFailed:
            return {}
        return total

    def _of_input(self, layer: Layer, blob: str) -> Array | None:
        if blob in self._units:
            return self._units[blob]
        if not _multiplies(layer) or blob not in self._natural:
            return None
        return np.full_like(self._read[blob].array, self._natural[blob])

    def _answer(self, layer: Layer, values: Mapping[str, Array]) -> dict[str, Array]:
        sizes = {blob: np.ascontiguousarray(np.abs(array)) for blob, array in values.items()}
        outputs = self._run(layer, {blob: Blob.of(array) for blob, array in sizes.items()})
        return {blob: np.abs(value.array) for blob, value in outputs.items()}


def _multiplies(layer: Layer) -> bool:
    """Whether `layer` is a product of all that it reads, or of that and a number."""
    return layer.params.get("0", "0") == _PRODUCT.get(layer.type)


def _hands_on(layer: Layer) -> bool:
    return layer.type in COPYING | _SHRINKING or _multiplies(layer) or _adds(layer)


def _adds(layer: Layer) -> bool:
    """Whether `layer` adds or subtracts two values."""
    number = layer.params.get("1", "0") == "1"
    return layer.type == "BinaryOp" and not number and layer.params.get("0", "0") in _SUMS


def _tail(graph: Graph, outputs: Iterable[str]) -> list[Layer]:
    """The layers between products and `outputs` that hand them on, the last one first."""
    tail: dict[int, Layer] = {}
    waiting = [graph.producer[blob] for blob in outputs]
    while waiting:
        layer = waiting.pop()
        if layer.number in tail:
            continue
        if _hands_on(layer) or layer.type in _SELF_GATED:
            tail[layer.number] = layer
        if _hands_on(layer):
            waiting += [graph.producer[blob] for blob in layer.inputs]
    return list(tail.values())
