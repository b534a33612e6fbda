"""Runs a layer alone, in fp32 on the CPU, with its constants rounded as fp16 rounds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.constants import Parameter
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.param_line import ARRAY_IDS, COUNT, WHOLE
from pytest_ncnn_parity.worker.failures import failed
from pytest_ncnn_parity.worker.networks import one_layer
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.weights.checked_files import Reader


class _Rounding(Reader):
    """Serves the weights rounded to fp16."""

    def see(self, weights: npt.NDArray[np.float32]) -> None:
        weights[:] = in_fp16(weights)


def in_fp16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def rounded_layer(
    graph: Graph, layer: Layer, parameters: Iterable[Parameter], path: str, start: int, weights: bool
) -> ncnn.Net:
    """Return a network of `layer` alone, with `parameters` as fp16 keeps them.

    Its weights are read from the file at `path` from byte `start` on, and rounded to fp16 if `weights`
    is true. Raises StepFailed if ncnn refuses them.
    """
    net = one_layer.one_layer(layer, graph.line_of(layer), _step(layer))
    if parameters:
        net.layers()[-1].load_param(_rounded(layer, parameters))
    with Path(path).open("rb") as file:
        file.seek(start)
        # the variable keeps the reader alive, because ncnn holds no reference to it
        reader = _Rounding(file) if weights else Reader(file)
        rc = net.load_model(reader)
    if rc != 0:
        raise failed(_step(layer), "refused", f"load_model: {rc}")
    return net


def _rounded(layer: Layer, parameters: Iterable[Parameter]) -> ncnn.ParamDict:
    """Return the parameters of `layer` with some rounded, in memory: a .param cannot express inf."""
    read = ncnn.ParamDict()
    for key, text in layer.params.items():
        if COUNT.fullmatch(key):
            read.set(int(key), int(text) if WHOLE.fullmatch(text) else float(text))
        else:
            read.set(-ARRAY_IDS - int(key), _mat([float(one) for one in text.split(",")[1:]]))
    for parameter in parameters:
        kept = parameter.kept
        read.set(parameter.key, _mat(kept) if parameter.array else kept[0])
    return read


def _mat(values: Sequence[float]) -> ncnn.Mat:
    array = np.array(values, np.float32)
    return ncnn.Mat(array).clone()


def run(net: ncnn.Net, layer: Layer, values: Made) -> Made:
    """Run such a network on `values`. Raises StepFailed if it fails or an output is empty."""
    blobs = one_layer.run(net, layer, values, _step(layer))
    empty = next((blob for blob, value in blobs.items() if not value.size), None)
    if empty is not None:
        raise failed(_step(layer), "refused", f"extract {empty}: empty")
    return blobs


def _step(layer: Layer) -> Step:
    return Step("layer", "cpu fp32 with constants in fp16", layer.number, layer.name)
