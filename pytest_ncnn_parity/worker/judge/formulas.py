"""Outputs of the reference with GELU by the tanh formula, which Vulkan uses whatever the .param says.

The exact GELU, by erf, is off that formula by up to 4.8e-4 (src/layer/vulkan/shader/gelu.comp). The
tolerance of a layer knows that, but dozens of such layers may add up to more than a whole network is
allowed in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Array
from pytest_ncnn_parity.compare.tolerance import is_default
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.sample import Sample
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import stepped

REMARK = "agrees with GELU by the tanh formula, by which Vulkan computes it"


def by_tanh(value: Array) -> Array:
    """GELU of `value` by the tanh formula, in float32."""
    x = value.astype(np.float64)
    made: Array = (0.5 * x * (1.0 + np.tanh(0.79788452 * (x + 0.044715 * x**3)))).astype(np.float32)
    return made


class VulkansFormulas:
    """The `wanted` outputs of one sample by Vulkan's formulas, computed when one is first asked for."""

    def __init__(self, sample: Sample, wanted: Sequence[str], natures: Natures) -> None:
        self._sample = sample
        self._wanted = wanted
        self._natures = natures

    def forgiving(self, case: CaseSpec, candidate: Net, output: Blob, metrics: Metrics) -> Metrics:
        """`metrics` of an output in fp32, marked as agreeing if these formulas explain its error."""
        name = str(case.output)
        if metrics.agrees or case.half is not None or not is_default(case.tolerance):
            return metrics
        true = self._outputs.get(name) if self._depends_on_one(name, candidate) else None
        if true is None or true.shape != output.shape:
            return metrics
        own = self._natures.compare(name, output.array, true.array, case.tolerance, whole=True)
        if not own.agrees:
            return metrics
        return replace(metrics, agrees=True, used=own.used, failed=(), forgiven=REMARK)

    def _depends_on_one(self, output: str, candidate: Net) -> bool:
        """Whether `output` depends on an exact GELU that `candidate` runs on Vulkan."""
        graph = self._sample.graph
        exact = (one for one in graph.layers if _is_exact(one) and _on_vulkan(candidate, one))
        return not graph.ancestors([output]).isdisjoint(layer.number for layer in exact)

    @cached_property
    def _outputs(self) -> Made:
        """Those that can be computed in this way."""
        found: Made = {}
        layers = self._sample.graph.running(self._wanted)
        for _, made in stepped(layers, self._sample.inputs, {}, self._run):
            found.update({blob: value for blob, value in made.items() if blob in self._wanted})
        return found

    def _run(self, layer: Layer, blobs: Made) -> Made:
        if _is_exact(layer) and blobs[layer.inputs[0]].floating:
            return {layer.outputs[0]: Blob.of(by_tanh(blobs[layer.inputs[0]].array))}
        return self._sample.run_reference(layer, blobs)


def _on_vulkan(net: Net, layer: Layer) -> bool:
    return net.execution(layer).where == "vulkan"


def _is_exact(layer: Layer) -> bool:
    return layer.type == "GELU" and layer.params.get("0", "0") == "0"
