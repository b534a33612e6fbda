"""The reference as it is given to those parts that follow its values, and how other values differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_ncnn_parity.compare.metrics import agrees_but_for_inf, compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.values.blob import Blob, Made


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


def difference(
    output: Blob | None, expected: Blob | None, tolerance: Tolerance
) -> Literal["none", "inf", "wrong"]:
    """How an `output` that a layer made of other values differs from the reference's.

    `inf`: only by inf in place of finite values of that sign; whether that matters, its readers decide.
    """
    if output is None or expected is None or output.array.shape != expected.array.shape:
        return "wrong"
    if compare(output.array, expected.array, tolerance).agrees:
        return "none"
    return "inf" if agrees_but_for_inf(output.array, expected.array, tolerance) else "wrong"
