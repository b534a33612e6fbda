"""Runs of whole networks, as users run them: one for all outputs, each of them made once."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed, failed
from pytest_ncnn_parity.worker.judge.sample import Sample
from pytest_ncnn_parity.worker.networks.execution import Net, misread
from pytest_ncnn_parity.worker.values.blob import Made

# a run that ends so may end well without some of its layers
OF_ONE_LAYER = frozenset({"crash", "refused", "misread", "raised"})


def refuse_misread(net: Net, layer: Layer, graph: Graph) -> None:
    """Raise StepFailed if `layer` would read 16-bit data as fp32, which may corrupt memory."""
    blob = misread(net, layer, graph)
    if blob is not None:
        detail = f"31={layer.mask} makes it read the 16-bit values of {blob} as fp32"
        raise failed(Step("layer", net.label, layer.number, layer.name), "misread", detail)


class WholeRuns:
    """Runs networks on the inputs of one sample for `outputs`, which are in running order.

    The order matters, because lightmode drops an earlier blob once a later one was computed.
    """

    def __init__(self, sample: Sample, outputs: Sequence[str]) -> None:
        self._sample = sample
        self._outputs = tuple(outputs)
        self._known: dict[tuple[NetSpec, int, tuple[str, ...]], Made | StepFailed] = {}

    def know(self, spec: NetSpec, blobs: Made) -> None:
        """Use `blobs`, which must have all outputs, instead of a run of `spec`."""
        self._known[spec, 0, self._outputs] = {blob: blobs[blob] for blob in self._outputs}

    def of(self, net: Net, turn: int = 0) -> Made:
        """Return all outputs of run number `turn` of `net`. Raises StepFailed."""
        return self._taken(net, turn, self._outputs)

    def without_others(self, net: Net, output: str, turn: int = 0) -> Made:
        """Like `of`, but `output` runs alone where a layer on another branch may have ended the run."""
        try:
            return self.of(net, turn)
        except StepFailed as problem:
            if len(self._outputs) == 1 or problem.death.kind not in OF_ONE_LAYER:
                raise
        return self._taken(net, turn, (output,))

    def _taken(self, net: Net, turn: int, blobs: tuple[str, ...]) -> Made:
        key = (net.spec, turn, blobs)
        if key not in self._known:
            try:
                # the masks of a patched file are unknown here, and were tried before
                if not net.spec.model:
                    for number in sorted(self._sample.graph.ancestors(blobs)):
                        refuse_misread(net, self._sample.graph.layers[number], self._sample.graph)
                self._known[key] = net.run(self._sample.inputs, blobs)
            except StepFailed as problem:
                self._known[key] = problem
        outputs = self._known[key]
        if isinstance(outputs, StepFailed):
            raise outputs.with_traceback(None)
        return outputs
