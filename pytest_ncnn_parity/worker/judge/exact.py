"""Finds layers of which the reference is wrong, and not the candidate, by what float64 gives."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.norms import exact
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# of the reference's error in a channel, what the candidate may be off by if the reference alone is wrong
SHARE = 0.1


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
        outputs: Made,
        expected: Made,
    ) -> Distrust | None:
        """Why the reference is not trusted, if `outputs` are right and `expected` is wrong."""
        true = self.of(layer, feed) if reference.setup == CPU_FP32 else None
        if true is None:
            return None
        (blob,) = layer.outputs
        exact_value = true[blob].array
        if not exact_value.shape == outputs[blob].shape == expected[blob].shape:
            return None
        own, theirs = (
            np.abs(side[blob].array - exact_value).max((1, 2)) for side in (outputs, expected)
        )
        allowed = case.tolerance.atol + case.tolerance.scaled * float(np.abs(exact_value).max())
        if not (own <= np.maximum(allowed, SHARE * theirs)).all():
            return None
        distrust = Distrust(layer.name, layer.type, "sums")
        self._distrusted.setdefault(case.comparison, {})[layer.number] = distrust
        return distrust

    def behind(self, case: CaseSpec) -> Distrust | None:
        """The first distrust that was found in a layer on the way to the output of `case`."""
        found = self._distrusted.get(case.comparison, {})
        on_the_way = self._graph.ancestors([str(case.output)]) if found else ()
        return next((found[number] for number in sorted(found) if number in on_the_way), None)
