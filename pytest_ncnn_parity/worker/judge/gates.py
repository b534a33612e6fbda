"""Values that are multiplied by a probability: b * Sigmoid(x), as where a mask is applied to a spectrum.

A Swish is such a product of its own input, x * Sigmoid(x), and so in effect are GELU and its like. A GLU
is one of the halves of its input. Behind another gate they have the unit of that.

A probability of 1e-5 that becomes 0 is no error, and neither is its product. The unit of such a
product, element by element, is the multiplied value times the probability's own scale. So a small
product of a large value is judged by that large unit, and a product of a small value by a small one.
Sums of such values have a unit as well where all of them are nothing: see `mixes`. So have a Softplus
and ELU(x) + 1, which are small only where they level off at 0. A norm makes nothing of a flat channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.scales import GATE_UNIT
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.natural_scale import (
    FLAT_UNARY,
    MEANS,
    SELF_GATED,
    SHRINKING,
    Scale,
    adds,
    limits,
    natural_scales,
    weights_of_sum,
)
from pytest_ncnn_parity.network.operator_kinds import (
    Binary,
    Eltwise,
    Reduction,
    Unary,
    copies,
    has_number,
    op_type,
)
from pytest_ncnn_parity.network.parameters import decimal_or_inf, differs, number
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.mixes import BY_CHANNEL, MOST_SUMS, is_nothing, mixed, response
from pytest_ncnn_parity.worker.norms import NORMS, flat
from pytest_ncnn_parity.worker.values.blob import Blob, Made

_ELU_ALPHA = 0.1  # if the file states none
_HALVES = "GLU"  # one half of its input times the Sigmoid of the other
_LEVELLING = "Softplus"  # its unit is 1: log(1 + exp(x)) is 0.7 at 0, and ELU(x) + 1 is 1 there
_NORMS = NORMS - {"MVN"}  # they make nothing of what is one number
_MAKING = SELF_GATED | {_HALVES, _LEVELLING} | _NORMS
# what they give is as large as the largest of the values that they read, or smaller
_SHRINKING = MEANS | SHRINKING | {_HALVES}
_SHRINKING_OPERATIONS = {
    "UnaryOp": FLAT_UNARY | {Unary.ABS, Unary.NEG},
    "BinaryOp": (Binary.DIV, Binary.MAX, Binary.MIN),  # of a value and a number
    "Reduction": (Reduction.MAX, Reduction.MIN),
}
_PRODUCT = {"BinaryOp": Binary.MUL, "Eltwise": Eltwise.PROD}


class Gates:
    """The units of products with a probability, of sums of those, of Softplus, and of their copies.

    Those that become one of the `outputs` are followed to it; others are computed where a layer is
    judged. `run` runs a layer in fp32 on the CPU. `natural`: the natural scales, if more is known than
    follows from the graph alone.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Iterable[str],
        run: Callable[[Layer, Made], Made],
        natural: Mapping[str, Scale] | None = None,
    ) -> None:
        self._run = run
        self._depending = graph.depending
        natural = natural_scales(graph) if natural is None else natural
        self._natural = {blob: scale.unit for blob, scale in natural.items()}
        self._raised = _raised(graph)
        self._mixed = _mixed(graph, natural)
        self._units: dict[str, Array] = {}  # by blob, of each element
        self._layer: Layer | None = None  # the current layer, with what it reads
        self._read: Made = {}
        gated = self._gated(graph)
        tail = self._tail(graph, outputs)
        self.layers = {layer.number for layer in tail if gated & {*layer.outputs}}

    def _gated(self, graph: Graph) -> set[str]:
        """The blobs that are such values, or copies of one."""
        gated: set[str] = set()
        for layer in graph.layers:
            if self._makes(layer) or (_hands_on(layer) and gated.intersection(layer.inputs)):
                gated.update(layer.outputs)
        return gated

    def _makes(self, layer: Layer) -> bool:
        """Whether `layer` makes such a value of values that are none."""
        if layer.type in _MAKING or layer.number in self._raised or self._mixes(layer):
            return True
        natural = [blob in self._natural for blob in layer.inputs]
        return _multiplies(layer) and any(natural) and not all(natural)

    def _mixes(self, layer: Layer) -> bool:
        is_sum = mixed(layer, self._depending) is not None
        return is_sum and not self._mixed.isdisjoint(layer.outputs)

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

    def _tail(self, graph: Graph, outputs: Iterable[str]) -> list[Layer]:
        """The layers between such values and `outputs` that hand them on, the last one first."""
        tail: dict[int, Layer] = {}
        waiting = [graph.producer[blob] for blob in outputs]
        while waiting:
            layer = waiting.pop()
            if layer.number in tail:
                continue
            carries = _hands_on(layer) or self._mixes(layer)
            if carries or layer.type in _MAKING or layer.number in self._raised:
                tail[layer.number] = layer
            if carries:
                waiting += graph.makers(layer)
        return list(tail.values())

    def _made(self, layer: Layer) -> Mapping[str, Array]:
        """The units of the outputs of `layer`; none if no input has one, or it cannot be run."""
        if any(blob not in self._read or not self._read[blob].floating for blob in layer.inputs):
            return {}
        if layer.type in SELF_GATED:
            return {layer.outputs[0]: self._size(layer.inputs[0])}
        if layer.type == _HALVES:
            value = self._size(layer.inputs[0])
            axis = number(layer, 0) if value.ndim > 1 else 0  # src/layer/glu.cpp
            first, *_ = np.array_split(value, 2, axis)
            return {layer.outputs[0]: first}
        if layer.type in _NORMS and (unit := self._of_flat(layer)) is not None:
            return {layer.outputs[0]: unit}
        if layer.type == _LEVELLING or layer.number in self._raised:
            return {layer.outputs[0]: np.ones_like(self._read[layer.inputs[0]].array)}
        begins = _multiplies(layer) or self._mixes(layer)
        units = {blob: self._of_input(blob, begins) for blob in layer.inputs}
        own = {blob: unit for blob, unit in units.items() if unit is not None}
        values = {blob: value.array for blob, value in self._read.items()}
        try:
            if self._mixes(layer):
                return self._sum(layer, own)
            if _joins(layer):  # as where two gated values meet
                shapes = {unit.shape for unit in own.values()}
                alone = len(own) < len(set(layer.inputs)) or len(shapes) > 1
                return {} if alone else {layer.outputs[0]: _joined(layer, own)}
            if not _multiplies(layer):
                if layer.type in ("Concat", "CopyTo"):  # elsewhere the others are shapes
                    values = {blob: np.zeros_like(array) for blob, array in values.items()}
                return self._answer(layer, {**values, **own}) if own else {}
            total: dict[str, Array] = {}
            for blob, unit in own.items():  # of a product: each factor's unit times the others
                for output, part in self._answer(layer, {**values, blob: unit}).items():
                    total[output] = total.get(output, 0.0) + part
        except StepFailed:
            return {}
        return total

    def _size(self, blob: str) -> Array:
        """The unit of each element that is read from `blob`, or its magnitude where that is larger."""
        size, unit = np.abs(self._read[blob].array), self._of_input(blob, natural=True)
        return size if unit is None else np.maximum(size, unit)

    def _of_flat(self, layer: Layer) -> Array | None:
        """The unit of a norm where its input is one number: what it makes of 1 and -1; None: nowhere."""
        blob = layer.inputs[0]
        value = self._read[blob].array
        where = flat(layer, value)
        if where is None or not where.any():
            return None
        try:
            size = response(layer, blob, np.ones_like(value), {}, self._run)
        except StepFailed:
            return None
        return np.where(where, size / GATE_UNIT, 0.0)

    def _sum(self, layer: Layer, own: Mapping[str, Array]) -> Mapping[str, Array]:
        """The unit of a sum of values with these units, if they are nothing or come of such a sum."""
        blob, (output,) = mixed(layer, self._depending), layer.outputs
        unit = None if blob is None else own.get(blob)
        if blob is None or unit is None:
            return {}
        if blob not in self._mixed and not is_nothing(self._read[blob].array, unit):
            return {}
        return {output: response(layer, blob, unit, self._read, self._run)}

    def _of_input(self, blob: str, natural: bool) -> Array | None:
        """The unit of what is read from `blob`; `natural`: its natural scale counts as one."""
        if blob in self._units:
            return self._units[blob]
        if not natural or blob not in self._natural:
            return None
        return np.full_like(self._read[blob].array, self._natural[blob])

    def _answer(self, layer: Layer, values: Mapping[str, Array]) -> dict[str, Array]:
        sizes = {blob: np.ascontiguousarray(np.abs(array)) for blob, array in values.items()}
        outputs = self._run(layer, {blob: Blob.of(array) for blob, array in sizes.items()})
        return {blob: np.abs(value.array) for blob, value in outputs.items()}


def _raised(graph: Graph) -> frozenset[int]:
    """The numbers of the layers that add 1 to an ELU whose alpha is 1: they level off at 0."""
    elus = {
        blob
        for layer in graph.layers
        if layer.type == "ELU" and decimal_or_inf(layer, 0, _ELU_ALPHA) == 1.0
        for blob in layer.outputs
    }
    return frozenset(
        layer.number
        for layer in graph.layers
        if has_number(layer)
        and op_type(layer) == Binary.ADD
        and decimal_or_inf(layer, 2) == 1.0
        and elus.intersection(layer.inputs)
    )


def _multiplies(layer: Layer) -> bool:
    """Whether `layer` is a product of all that it reads, or of that and a number."""
    if layer.type == "Power":  # (a + b * x) ** exponent
        return not differs(layer, 0, 1.0) and not differs(layer, 2, 0.0)
    return op_type(layer) == _PRODUCT.get(layer.type)


def _joins(layer: Layer) -> bool:
    """Whether `layer` adds up all that it reads, or gives the largest or the smallest of these."""
    largest = layer.type == "Eltwise" and op_type(layer) == Eltwise.MAX
    return largest or adds(layer) or limits(layer) or weights_of_sum(layer) is not None


def _joined(layer: Layer, units: Mapping[str, Array]) -> Array:
    """The unit of what `layer` joins: all units together, each by its weight, or the largest one."""
    weights = (1.0, 1.0) if adds(layer) else weights_of_sum(layer)
    sizes = [np.abs(units[blob]) for blob in layer.inputs]
    if weights is None:
        return np.asarray(np.max(sizes, axis=0))
    return np.asarray(sum(abs(w) * size for w, size in zip(weights, sizes, strict=True)))


def _hands_on(layer: Layer) -> bool:
    return _keeps(layer) or _joins(layer)


def _keeps(layer: Layer) -> bool:
    """Whether what `layer` gives is as large as what it reads, or smaller, or multiplied."""
    of_one = op_type(layer) in _SHRINKING_OPERATIONS.get(layer.type, ()) and len(layer.inputs) == 1
    return copies(layer) or layer.type in _SHRINKING or of_one or _multiplies(layer)


def _mixed(graph: Graph, natural: Mapping[str, Scale]) -> frozenset[str]:
    """The blobs that are sums of values of natural scale or of products of such, or come of such sums.

    Sums of what a Softmax gave are none, for they are ordinary values.
    """
    sums: dict[str, int] = {}  # by blob, how many sums lie between it and such values
    for layer in graph.layers:
        known = [natural.get(blob) for blob in layer.inputs]
        summed = mixed(layer, graph.depending)
        is_sum = summed is not None
        share = any(scale is not None and scale.is_share for scale in known)
        if any(known) and natural.keys().isdisjoint(layer.outputs):
            begins = is_sum or (_multiplies(layer) and not all(known))
            found = 0 if begins and not share else None
        elif layer.type == _HALVES or layer.type in SELF_GATED:
            found = None if share else 0
        else:
            carries = _keeps(layer) or is_sum
            read = layer.inputs if summed is None else (summed,)
            behind = [sums[blob] for blob in read if blob in sums]
            found = max(behind) if carries and 0 < len(behind) == len(read) else None
        if found is not None and is_sum:
            found = max(1, found + (layer.type not in BY_CHANNEL))
        if found is not None and found <= MOST_SUMS:
            sums.update(dict.fromkeys(layer.outputs, found))
    return frozenset(blob for blob, count in sums.items() if count)
