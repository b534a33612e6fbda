"""Runs a layer in a network of its own, in fp32 on the CPU, where no loaded network can be used."""

from __future__ import annotations

from collections.abc import Mapping

import ncnn

from pytest_ncnn_parity.compare.comparisons import PRECISION_FLAGS
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.worker.failures import failed
from pytest_ncnn_parity.worker.values.blob import Blob, Made


def one_layer(layer: Layer, line: str, step: Step) -> ncnn.Net:
    """Return a network of `layer` alone, described by `line` of a .param, without weights.

    Raises StepFailed with `step` if ncnn refuses it.
    """
    read = list(dict.fromkeys(layer.inputs))
    header = f"{len(read) + 1} {len(read) + len(layer.outputs)}"
    text = "\n".join([MAGIC, header, *(f"Input {blob} 0 1 {blob}" for blob in read), line, ""])
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    for flag in PRECISION_FLAGS:
        if hasattr(net.opt, flag):
            setattr(net.opt, flag, False)
    if net.load_param_mem(text) != 0:
        raise failed(step, "refused", "load_param")
    return net


def run(net: ncnn.Net, layer: Layer, values: Mapping[str, Blob], step: Step) -> Made:
    """Run such a network on `values`. An empty output means no detections. Raises StepFailed."""
    extractor = net.create_extractor()
    for blob in dict.fromkeys(layer.inputs):
        extractor.input(blob, values[blob].mat)
    blobs = {}
    for blob in layer.outputs:
        rc, mat = extractor.extract(blob)
        if rc != 0:
            raise failed(step, "refused", f"extract {blob}: {rc}")
        blobs[blob] = Blob.of_nothing() if mat.empty() else Blob(mat)
    return blobs
