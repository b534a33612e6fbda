"""A network under masks that it was not loaded with: each layer runs in a network that has its mask."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.networks.execution import Execution
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk


class MixedNet:
    """Like a `LoadedNet` of `graph`, whose masks it has, without its being loaded.

    `nets` holds a network for every mask, with that mask on all its layers. A layer fed with host
    memory computes the same whatever its neighbours' masks are, so what comes out is bitwise what
    the masked network gives (from ncnn 1.0.20260526 on; a test pins it). The one exception is a CPU
    layer that takes its neighbour's 16-bit values for fp32: see `execution.misread`.
    """

    def __init__(
        self, spec: NetSpec, graph: Graph, nets: Mapping[int, LoadedNet], int8: Int8Values
    ) -> None:
        self.spec = spec
        self.setup = spec.setup
        self.label = f"{self.setup} (patched)"
        self._graph = graph
        self._nets = nets
        self._int8 = int8

    def _of(self, layer: Layer) -> LoadedNet:
        return self._nets[self._graph.masks[layer.number]]

    @property
    def device_name(self) -> str:
        return next(iter(self._nets.values())).device_name

    @property
    def dropped(self) -> tuple[str, ...]:
        return next(iter(self._nets.values())).dropped

    def counterpart(self, layer: Layer) -> None:
        """None: the layers are the spec's own."""

    def execution(self, layer: Layer) -> Execution:
        return self._of(layer).execution(layer)

    def run_layer(
        self, layer: Layer, inputs: Mapping[str, Blob], feed: str | None = None, own: bool = False
    ) -> Made:
        return self._of(layer).run_layer(layer, inputs, feed, own, among=self)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        """The outputs of the whole network, stepped from its inputs."""
        wanted = list(outputs)
        blobs: Made = {}
        layers = self._graph.fed(inputs).running(wanted)
        for layer in walk(layers, blobs, wanted, self._int8.reads):
            if layer.type == "Input":
                blobs.update(fed(layer, inputs))
                continue
            blobs.update(self.run_layer(layer, blobs))
        return {blob: blobs[blob] for blob in wanted}

    def time(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> float:
        before = time.perf_counter()
        self.run(inputs, outputs)
        return 1000.0 * (time.perf_counter() - before)
