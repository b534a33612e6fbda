"""Finds layers of which the reference is wrong, and not the candidate, by what float64 gives."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.norms import exact
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# how much further apart both sides may be than the reference is from the truth, if it alone is wrong
SLACK = 1.5


class Exact:
    """Compares with float64 what the CPU computes in fp32, for one sample. `blobs`: its trajectory."""

    def __init__(self, graph: Graph, nets: JobNets, blobs: Made) -> None:
        self._graph = graph
        self._nets = nets
        self._blobs = blobs
        self._distrusted: dict[str, dict[int, Distrust]] = {}  # by comparison and layer

    def of(self, layer: Layer, feed: str | None) -> Made | None:
        """The outputs of `layer`, fed with inputs rounded to `feed`; None if float64's are not known."""
        values = {blob: self._blobs[blob].rounded(feed) for blob in layer.inputs}
        true = exact(layer, values, self._nets.raw_weights)
        if true is None:
            return None
        return {layer.outputs[0]: Blob.of(np.ascontiguousarray(true, np.float32))}

    def distrust(
        self,
        case: CaseSpec,
        layer: Layer,
        feed: str | None,
        reference: Net,
        expected: Made,
        seen: Metrics,
    ) -> Distrust | None:
        """Why the reference is not trusted, if `expected` is as wrong as what was `seen`."""
        true = self.of(layer, feed) if reference.setup == CPU_FP32 else None
        if true is None:
            return None
        (blob,) = layer.outputs
        if expected[blob].shape != true[blob].shape:
            return None
        error = float(np.abs(expected[blob].array - true[blob].array).max())
        if not seen.max_abs <= SLACK * error:
            return None
        distrust = Distrust(layer.name, layer.type, "sums")
        self._distrusted.setdefault(case.comparison, {})[layer.number] = distrust
        return distrust

    def behind(self, case: CaseSpec) -> Distrust | None:
        """The first distrust that was found in a layer on the way to the output of `case`."""
        found = self._distrusted.get(case.comparison, {})
        on_the_way = self._graph.ancestors([str(case.output)]) if found else ()
        return next((found[number] for number in sorted(found) if number in on_the_way), None)
