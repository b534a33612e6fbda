"""Runs a detector without non-maximum suppression, in fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping

import ncnn

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.detectors import without_suppression
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import failed
from pytest_ncnn_parity.worker.networks.one_layer import one_layer, run
from pytest_ncnn_parity.worker.values.blob import Blob


def unsuppressed(layer: Layer, inputs: Mapping[str, Blob]) -> Array:
    """Return all boxes, suppressed or not, that the detector `layer` finds in `inputs`: (n, 6).

    Raises StepFailed.
    """
    step = Step("layer", "cpu fp32 without suppression", layer.number, layer.name)
    params = " ".join(f"{key}={value}" for key, value in without_suppression(layer).items())
    blobs = " ".join((*layer.inputs, *layer.outputs))
    counts = f"{len(layer.inputs)} {len(layer.outputs)}"
    net = one_layer(layer, f"{layer.type} detector {counts} {blobs} {params}", step)
    rc = net.load_model(ncnn.DataReaderFromEmpty())
    if rc != 0:
        raise failed(step, "refused", f"load_model: {rc}")
    return run(net, layer, inputs, step)[layer.outputs[0]].array
