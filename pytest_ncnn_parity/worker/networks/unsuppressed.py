"""What a detector finds before it leaves out boxes that overlap better ones, in fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping

import ncnn
import numpy as np

from pytest_ncnn_parity.compare.metrics import Array
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.detectors import without_suppression
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.worker.failures import failed
from pytest_ncnn_parity.worker.values.blob import Blob


def unsuppressed(layer: Layer, inputs: Mapping[str, Blob]) -> Array:
    """All boxes that the detector `layer` finds in `inputs`, of shape (n, 6) if there are any."""
    read = list(dict.fromkeys(layer.inputs))
    params = " ".join(f"{key}={value}" for key, value in without_suppression(layer).items())
    blobs = " ".join((*layer.inputs, layer.outputs[0]))
    line = f"{layer.type} detector {len(layer.inputs)} 1 {blobs} {params}"
    header = f"{len(read) + 1} {len(read) + 1}"
    text = "\n".join([MAGIC, header, *(f"Input {blob} 0 1 {blob}" for blob in read), line, ""])
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    step = Step("layer", "cpu fp32 without suppression", layer.number, layer.name)
    if net.load_param_mem(text) != 0 or net.load_model(ncnn.DataReaderFromEmpty()) != 0:
        raise failed(step, "refused", "load")
    extractor = net.create_extractor()
    for blob in read:
        extractor.input(blob, inputs[blob].mat)
    code, found = extractor.extract(layer.outputs[0])
    if code != 0:
        raise failed(step, "refused", f"extract: {code}")
    boxes: Array = np.array(found, np.float32)  # a copy, for the extractor goes
    return boxes
