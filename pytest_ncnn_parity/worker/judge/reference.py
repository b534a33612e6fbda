"""The reference's values and layers, for the modules that follow values from layer to layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.metrics import agrees_but_for_ends, agrees_but_for_inf, compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.values.blob import Blob, Made

FP32_MAX = np.finfo(np.float32).max  # a float32, so that an array of such stays one


class Reference(Frozen):
    """The values of the trajectory while it steps, and a way to run its layers on other values.

    `blobs`: those of its values that still have a reader. `runs` runs one of its layers on other
    values. `tolerance` gives the tolerance of a layer in a comparison.
    """

    graph: Graph
    blobs: Made
    runs: Callable[[Layer, Made], Made]
    tolerance: Callable[[str, Layer], Tolerance]

    def run(self, layer: Layer, values: Made) -> Made:
        """What `layer` computes from `values`."""
        return true_quotients(layer, values, self.runs(layer, values), self.runs)

    def has_all_of(self, layer: Layer) -> bool:
        """Whether everything that `layer` reads and writes is still held."""
        return all(blob in self.blobs for blob in (*layer.inputs, *layer.outputs))


def true_quotients(
    layer: Layer, values: Made, outputs: Made, run: Callable[[Layer, Made], Made]
) -> Made:
    """`outputs` of the CPU, corrected so that x / inf is 0, as on other devices.

    ncnn's kernels for x86 are built with -ffast-math. They multiply by an approximate reciprocal of the
    divisor, and for inf this gives nan. Layers read inf where it stands for a value that 16 bits cannot
    hold. `run` runs the layer on other values.
    """
    divisor = values.get(_divisor(layer) or "")
    if divisor is None or not np.isinf(divisor.array).any():
        return outputs
    ends = Blob.of(np.clip(divisor.array, -FP32_MAX, FP32_MAX))
    by_ends = run(layer, {**values, str(_divisor(layer)): ends})
    corrected = {}
    for blob, value in outputs.items():
        by_inf = np.isnan(value.array) & np.isfinite(by_ends[blob].array)
        corrected[blob] = Blob.of(np.where(by_inf, np.float32(0.0), value.array))
    return corrected


def _divisor(layer: Layer) -> str | None:
    """The blob by which `layer` divides, if any (src/layer/unaryop.h, binaryop.h)."""
    kind = layer.type, layer.params.get("0", "0")
    if kind in (("UnaryOp", "15"), ("BinaryOp", "8")):
        return layer.inputs[0]
    with_number = layer.params.get("1", "0") == "1"
    return layer.inputs[1] if kind == ("BinaryOp", "3") and not with_number else None


def difference(
    output: Blob | None, expected: Blob | None, tolerance: Tolerance
) -> Literal["none", "inf", "wrong"]:
    """How an `output` that was computed from changed values differs from the reference's.

    `inf`: only by inf of the right sign in place of finite values, or by values near the end of fp32's
    range; the readers decide whether that matters.
    """
    if output is None or expected is None or output.shape != expected.shape:
        return "wrong"
    if compare(output.array, expected.array, tolerance).agrees:
        return "none"
    arrays = output.array, expected.array
    alike = agrees_but_for_inf(*arrays, tolerance) or agrees_but_for_ends(*arrays, tolerance)
    return "inf" if alike else "wrong"
