"""Kernels of the CPU that give more elements than a layer's inputs make, as one of packed rows may."""

from __future__ import annotations

from collections.abc import Callable

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.shapes.rules.outcomes import outcome
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.values.blob import Made


def gives_another_shape(
    layer: Layer, values: Made, outputs: Made, run_plainly: Callable[[], Made]
) -> bool:
    """Whether `outputs` have not the shapes that follow from `values`, and those of plain kernels have.

    `run_plainly` runs the layer on `values` without packing, winograd and sgemm.
    """
    right = outcome(layer, [values[blob].picture_shape for blob in layer.inputs])
    if not right or right == tuple(outputs[blob].picture_shape for blob in layer.outputs):
        return False
    try:
        plain = run_plainly()
    except (StepFailed, Unavailable):
        return False
    return right == tuple(plain[blob].picture_shape for blob in layer.outputs)
