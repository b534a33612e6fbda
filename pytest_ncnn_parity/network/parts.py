"""Finds which layers produced which parts of a value: boxes in pixels beside scores from 0 to 1.

Concat joins values of different layers, and Reshape, Permute and Slice move their elements. To follow
them, these layers are run on labels of the elements in place of the elements, so that no operator is
written a second time here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.integers import integers
from pytest_ncnn_parity.network.natural_scale import (
    Scale,
    keeps_unit,
    levels_off,
    natural_scales,
    softmax_axis,
)
from pytest_ncnn_parity.network.operator_kinds import ELEMENTWISE, copies

Shape = tuple[int, ...]
# a function that runs a layer with some of its inputs replaced, and returns its outputs
Copy = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class Parts:
    """Follows the values that end up in `outputs` through the layers of a run, in running order.

    A label is a number from 1 for each value that a layer produces. The labels of a value are one
    number if a single layer produced all of it, and otherwise an array.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Iterable[str] | None = None,
        scales: Mapping[str, Scale] | None = None,
    ) -> None:
        """`scales`: the natural scales, if more is known than follows from the graph alone."""
        self._graph = graph
        self._scales = natural_scales(graph) if scales is None else scales
        self._integers = integers(graph).keys()
        self._tail = _tail(graph, graph.outputs if outputs is None else outputs)
        self._labels: dict[str, int | Array] = {}
        self._units: list[float] = [0.0]  # by label; label 0 is for what Padding adds

    @cached_property
    def layers(self) -> set[int]:
        """The numbers of the layers that must be followed; none if no values are joined."""
        makers = [self._graph.producer[blob] for blob in self._tail]
        mixed = any(layer.type == "Concat" and len(layer.inputs) > 1 for layer in makers)
        return {layer.number for layer in makers} if mixed else set()

    def follow(self, layer: Layer, shapes: Mapping[str, Shape], copy: Copy) -> None:
        """Label the outputs of `layer`, which have these `shapes`; `copy` runs it on labels."""
        outputs = [blob for blob in layer.outputs if blob in self._tail]
        if not outputs:
            return
        labels = self._carried(layer, shapes, copy)
        for blob in outputs:
            self._labels[blob] = labels[blob] if blob in labels else self._new(blob)

    def nature(self, blob: str, dimensions: int) -> Nature:
        """What is known of the value of `blob`, which has `dimensions` axes."""
        if blob in self._integers:
            return Nature(integers=True)
        scale = self._scales.get(blob)
        labels = self._labels.get(blob)
        if isinstance(labels, np.ndarray):
            units = {int(label): self._units[label] for label in np.unique(labels)}
            return Nature(parts=_narrowed(labels), units=units)
        if scale is None:
            return Nature()
        maker = self._graph.producer[blob]
        if maker.type != "Softmax":
            return Nature(scale.unit, sums_to_one=scale.sums_to_one)
        along = softmax_axis(maker, dimensions)
        return Nature() if along is None else Nature(scale.unit, sums_to_one=True, along=along)

    def _new(self, blob: str) -> int:
        scale = self._scales.get(blob)
        self._units.append(0.0 if scale is None else scale.unit)
        return len(self._units) - 1

    def _carried(
        self, layer: Layer, shapes: Mapping[str, Shape], copy: Copy
    ) -> Mapping[str, int | Array]:
        """The labels that outputs take over from inputs; nothing for what the layer produces itself."""
        if copies(layer):
            return self._copied(layer, shapes, copy)
        if layer.type in ELEMENTWISE:
            blob = layer.outputs[0]
            for source in layer.inputs:
                labels = self._labels.get(source)
                if isinstance(labels, np.ndarray) and labels.shape == shapes[blob]:
                    return {blob: self._relabelled(layer, labels)}
        return {}

    def _copied(
        self, layer: Layer, shapes: Mapping[str, Shape], copy: Copy
    ) -> Mapping[str, int | Array]:
        # further inputs of a Reshape or Crop are shapes, not values
        sources = layer.inputs if layer.type == "Concat" else layer.inputs[:1]
        known = {blob: self._labels[blob] for blob in sources if blob in self._labels}
        if len(known) < len(set(sources)):
            return {}
        first, *rest = known.values()
        alike = isinstance(first, int) and all(isinstance(n, int) and n == first for n in rest)
        if alike or layer.type == "Split":
            return dict.fromkeys(layer.outputs, first)
        arrays = {b: np.full(shapes[b], label, np.float32) for b, label in known.items()}
        return self._checked(copy(arrays))

    def _checked(self, copies: Mapping[str, Array]) -> Mapping[str, Array]:
        """`copies` as labels, without values that are no labels, such as padding."""
        checked = {}
        for blob, copied in copies.items():
            labels = copied.astype(np.int32)
            if (labels == copied).all() and labels.min() >= 0 and labels.max() < len(self._units):
                checked[blob] = labels
        return checked

    def _relabelled(self, layer: Layer, labels: Array) -> Array:
        """The same parts under new labels, because `layer` has changed their units."""
        renamed = np.zeros(len(self._units), np.int32)
        for label in np.unique(labels):
            keeps = len(layer.inputs) == 1 and keeps_unit(layer)
            unit = self._units[label] if keeps else 0.0
            self._units.append(1.0 if levels_off(layer) else unit)
            renamed[label] = len(self._units) - 1
        relabelled: Array = renamed[labels]
        return relabelled


def _tail(graph: Graph, outputs: Iterable[str]) -> set[str]:
    """The blobs whose elements can still be told apart in `outputs`."""
    tail: set[str] = set()
    waiting = list(outputs)
    while waiting:
        blob = waiting.pop()
        if blob not in tail:
            tail.add(blob)
            layer = graph.producer[blob]
            if copies(layer) or layer.type in ELEMENTWISE:
                waiting.extend(layer.inputs)
    return tail


def _narrowed(labels: Array) -> Array:
    """`labels`, reduced to length 1 along each axis on which they are all the same."""
    for axis in range(labels.ndim):
        first = labels.take([0], axis)
        if (labels == first).all():
            labels = first
    return labels
