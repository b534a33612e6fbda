"""The reference as it is given to those parts that follow its values to the layers that read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.values.blob import Made


@dataclass(frozen=True)
class Reference:
    """The values of the trajectory, while it steps, and what its layers make of others.

    `blobs` are those of its values that somebody still reads; `run` runs one of its layers on other
    values; `tolerance` is what a layer is allowed in a comparison.
    """

    graph: Graph
    blobs: Made
    run: Callable[[Layer, Made], Made]
    tolerance: Callable[[str, Layer], Tolerance]

    def has_all_of(self, layer: Layer) -> bool:
        """Whether all that `layer` reads and makes is still there."""
        return all(blob in self.blobs for blob in (*layer.inputs, *layer.outputs))
