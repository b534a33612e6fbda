"""The reference's values and layers, for the modules that follow values from layer to layer."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Literal

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.blocks import each
from pytest_ncnn_parity.compare.metrics import (
    Scale,
    agrees_but_for_ends,
    agrees_but_for_inf,
    compare,
)
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import COPYING, ELEMENTWISE
from pytest_ncnn_parity.worker.ieee import corrected
from pytest_ncnn_parity.worker.values.blob import Blob, Made

BY_ELEMENT = ELEMENTWISE | COPYING
LOST = 0.5  # the share of itself by which a value is off that is lost


class Reference(Frozen):
    """The values of the trajectory while it steps, and a way to run its layers on other values.

    `blobs`: those of its values that still have a reader. `run_by_ncnn` runs one of its layers on other
    values. `tolerance` gives the tolerance of a layer in a comparison, `scale` that of a blob, if known.
    `given_out`: outputs that are compared, which layers may read as well. `hidden_nan`: see `HiddenNan`.
    `judged`: the layers that have cases, by comparison and number.
    """

    graph: Graph
    blobs: Made
    run_by_ncnn: Callable[[Layer, Made], Made]
    tolerance: Callable[[str, Layer], Tolerance]
    scale: Callable[[str, Array, Tolerance], Scale | None]
    given_out: frozenset[str]
    hidden_nan: Callable[[Layer, Made], Array | None]
    judged: Container[tuple[str, int | None]]

    def run(self, layer: Layer, values: Made) -> Made:
        """What `layer` computes from `values`, by IEEE 754 where ncnn's kernels do not."""
        outputs = corrected(layer, values, self.run_by_ncnn(layer, values), self.run_by_ncnn)
        lost = self.hidden_nan(layer, values)
        if lost is None or any(value.batch for value in outputs.values()):
            return outputs
        return {b: Blob.of(np.where(lost, np.float32(np.nan), v.array)) for b, v in outputs.items()}

    def right(self, layer: Layer) -> Made:
        """What `layer` gives in the trajectory, by IEEE 754 where ncnn's kernels do not."""
        values = {blob: self.blobs[blob] for blob in layer.inputs}
        outputs = {blob: self.blobs[blob] for blob in layer.outputs}
        return corrected(layer, values, outputs, self.run_by_ncnn)

    def differs(
        self, blob: str, output: Blob | None, expected: Blob | None, tolerance: Tolerance
    ) -> Literal["none", "lost", "inf", "wrong"]:
        """How an `output` that was computed from changed values differs from the one `expected`.

        `lost`: no more than is allowed, but see `loses_some`; no output of the network is. `inf`: only
        by inf of the right sign in place of finite values, or by values near the end of fp32's range.
        In both cases the readers decide whether that matters.
        """
        if output is None or expected is None or output.shape != expected.shape:
            return "wrong"
        arrays = output.array, expected.array
        if compare(*arrays, tolerance, self.scale(blob, expected.array, tolerance)).agrees:
            is_lost = self.is_only_read(blob) and self.loses_some(blob, output, expected)
            return "lost" if is_lost else "none"
        alike = agrees_but_for_inf(*arrays, tolerance) or agrees_but_for_ends(*arrays, tolerance)
        return "inf" if alike else "wrong"

    def told_by(self, comparison: str, layer: Layer) -> str:
        """Whether a fault of `layer` is told, as the end of a sentence about it."""
        return "which fails itself" if (comparison, layer.number) in self.judged else "which has no case"

    def is_only_read(self, blob: str) -> bool:
        """Whether `blob` is no output of the network, so that its readers decide what it may be."""
        return bool(self.graph.consumers[blob]) and blob not in self.given_out

    def is_read_up_to(self, layer: Layer, blob: str) -> bool:
        """Whether no layer behind `layer` reads `blob`."""
        return all(reader.number <= layer.number for reader in self.graph.consumers[blob])

    def loses_some(self, blob: str, output: Blob, expected: Blob) -> bool:
        """Whether elements are 0 in place of others, or, element by element, off by half of themselves.

        Such an element may be next to nothing beside others, and all there is to a division or a
        logarithm: 1 + 100 is 1 if the 100 was computed from a value that became 0, and the reciprocal
        root of inf is 0. A sum of many terms may be anything where they cancel.
        """
        by_element = self.graph.producer[blob].type in BY_ELEMENT

        def loses(_: int, ours: Array, right: Array) -> bool:
            lost = (ours == 0.0) & (right != 0.0)
            if by_element:
                with np.errstate(invalid="ignore"):  # inf on both sides
                    lost |= np.abs(ours - right) > LOST * np.abs(right)
            return bool(lost.any())

        return any(each(loses, output.array, expected.array))

    def has_all_of(self, layer: Layer) -> bool:
        """Whether everything that `layer` reads and writes is still held."""
        return all(blob in self.blobs for blob in (*layer.inputs, *layer.outputs))
