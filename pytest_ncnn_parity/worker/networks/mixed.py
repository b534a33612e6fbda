"""A network with masks it was not loaded with: each layer runs in a network loaded with its mask."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.engine.steps import RunOn
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.networks.checkpoints import Checkpoints
from pytest_ncnn_parity.worker.networks.execution import Execution, Misread, misread
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk


class MixedNet:
    """Acts like a `LoadedNet` of `graph`, with the masks of `graph`, without loading it.

    `nets` holds, by mask, a network whose layers all have that mask. A layer that is fed from host
    memory computes the same whatever its neighbours' masks are, so the outputs are bitwise those of the
    masked network (from ncnn 1.0.20260526 on; a test checks it). The one exception is a CPU layer that
    takes its neighbour's 16-bit values for fp32: see `execution.misread`.
    """

    def __init__(
        self,
        spec: NetSpec,
        model: Model,
        graph: Graph,
        own: Graph,
        nets: Mapping[int, LoadedNet],
        int8: Int8Values,
        checkpoints: Checkpoints,
    ) -> None:
        """`own` is the graph of `model` with its own masks; `checkpoints` are those of earlier runs."""
        self.spec = spec
        self.setup = spec.setup
        self.label = f"{self.setup} (patched)"
        self._model = model
        self._graph = graph
        self._own = own
        self._nets = nets
        self._int8 = int8
        self._checkpoints = checkpoints

    def _of(self, layer: Layer) -> LoadedNet:
        return self._nets[self._graph.masks[layer.number]]

    @property
    def device_name(self) -> str:
        return next(iter(self._nets.values())).device_name

    @property
    def dropped(self) -> tuple[str, ...]:
        return next(iter(self._nets.values())).dropped

    def counterpart(self, layer: Layer) -> None:
        """Return None: the layers are the spec's own, so that none has a counterpart."""

    def execution(self, layer: Layer) -> Execution:
        return self._of(layer).execution(layer)

    def misread(self, layer: Layer, graph: Graph) -> Misread | None:
        return misread(self, layer, graph)

    def run_layer(
        self, layer: Layer, inputs: Mapping[str, Blob], feed: str | None = None, on: RunOn = ""
    ) -> Made:
        return self._of(layer).run_layer(layer, inputs, feed, on, among=self)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str], on: RunOn = "") -> Made:
        """Step through the network, and return `outputs`. Raises StepFailed.

        It goes on where an earlier run under the same masks was kept.
        """
        wanted = list(outputs)
        layers = self._graph.fed(inputs).running(wanted)
        masks, own = ([of.masks[layer.number] for layer in layers] for of in (self._graph, self._own))
        run = (self._model, self.label, *(value.digest for value in inputs.values()), *wanted)
        start, blobs = self._checkpoints.last(run, masks)
        places = self._checkpoints.places(start, masks, own)
        for at, layer in enumerate(walk(layers[start:], blobs, wanted, self._int8.reads), start):
            if at in places:
                self._checkpoints.keep(run, masks[:at], blobs)
            if layer.type == "Input":
                blobs.update(fed(layer, inputs))
                continue
            blobs.update(self.run_layer(layer, blobs, on=on))
        return {blob: blobs[blob] for blob in wanted}

    def run_one(self, inputs: Mapping[str, Blob], output: str) -> Made:
        return self.run(inputs, [output])

    def time(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> float:
        before = time.perf_counter()
        self.run(inputs, outputs)
        return 1000.0 * (time.perf_counter() - before)
