"""Computes the shapes of all blobs from those of the inputs, up to the first layer that does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.shapes.rules.outcomes import outcome
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.rules.table import of_another_size


class Misfit(Frozen):
    """A layer whose inputs do not fit, and the reason: `gets [4, 8, 8], of 4 channels; its ...`."""

    layer: Layer
    reason: str

    def __str__(self) -> str:
        return f"{self.layer.name} ({self.layer.type}) {self.reason}"


class Flow(Frozen):
    """The `shapes` of the blobs as far as they are known, and the first layer that they do not fit."""

    shapes: Mapping[str, Shape]
    misfit: Misfit | None = None


def flow(graph: Graph, fed: Mapping[str, Shape], last: Layer | None = None) -> Flow:
    """Compute the shapes that follow from those `fed`, up to the first misfit or the layer `last`.

    Shapes stay unknown behind an input that is not fed, and behind an operator whose output shape
    depends on more than shapes.
    """
    shapes: dict[str, Shape] = {}
    for layer in graph.layers:
        inputs = [shapes[blob] for blob in layer.inputs if blob in shapes]
        if len(inputs) == len(layer.inputs):
            reason = of_another_size(layer, inputs)
            if reason:
                return Flow(shapes, Misfit(layer, reason))
            shapes.update(zip(layer.outputs, outcome(layer, inputs), strict=False))
        shapes.update((blob, fed[blob]) for blob in layer.outputs if blob in fed)
        if layer is last:
            break
    return Flow(shapes)
