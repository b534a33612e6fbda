"""Runs of whole networks, as users run them: one for all outputs, each of them made once."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed, failed
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Made

# a run that ends so may end well without some of its layers
OF_ONE_LAYER = frozenset({"crash", "refused", "misread", "raised"})


def refuse_misread(net: Net, layer: Layer, graph: Graph) -> None:
    """Raise StepFailed if `layer` would read 16-bit data as fp32, which may corrupt memory."""
    found = net.misread(layer, graph)
    if found is not None:
        detail = f"31={found.mask} makes it read the 16-bit values of {found.blob} as fp32"
        raise failed(Step("layer", net.label, layer.number, layer.name), "misread", detail)


class WholeRuns:
    """Runs networks on the inputs of one sample for `outputs`, which are in running order.

    The order matters, because lightmode drops an earlier blob once a later one was computed.
    """

    def __init__(self, sample: SampleRun, outputs: Sequence[str]) -> None:
        self._sample = sample
        every = {case.output for case in sample.job.cases if case.output is not None}
        self._several = len(every) > 1  # though an earlier worker may have had all but one
        self._outputs = tuple(outputs)
        self._known: dict[tuple[NetSpec, int, str], Made | StepFailed] = {}

    def know(self, spec: NetSpec, blobs: Made) -> None:
        """Use `blobs`, which must have all outputs, instead of a run of `spec`."""
        self._known[spec, 0, ""] = {blob: blobs[blob] for blob in self._outputs}

    def of(self, net: Net, turn: int = 0) -> Made:
        """Return all outputs of run number `turn` of `net`. Raises StepFailed."""
        return self._once(net, turn)

    def without_others(self, net: Net, output: str, turn: int = 0) -> Made:
        """Like `of`, but `output` runs alone where a layer on another branch may have ended the run."""
        try:
            return self.of(net, turn)
        except StepFailed as problem:
            if not self._several or problem.death.kind not in OF_ONE_LAYER:
                raise
        return self._once(net, turn, output)

    def again(self, net: Net, output: str) -> Made:
        """Return what `net` makes of `output` in one more run."""
        if self._several:
            return net.run_one(self._sample.inputs, output)
        return net.run(self._sample.inputs, [output])

    def _once(self, net: Net, turn: int, only: str = "") -> Made:
        """Return what this run gave or gives: all outputs, or `only` this one."""
        key = (net.spec, turn, only)
        if key not in self._known:
            try:
                self._refuse_misread(net, [only] if only else self._outputs)
                run = net.run(self._sample.inputs, self._outputs) if not only else self.again(net, only)
                self._known[key] = run
            except StepFailed as problem:
                self._known[key] = problem
        outputs = self._known[key]
        if isinstance(outputs, StepFailed):
            raise outputs.with_traceback(None)
        return outputs

    def _refuse_misread(self, net: Net, outputs: Sequence[str]) -> None:
        if net.spec.model and not net.spec.other:
            return  # the masks of a patched file are unknown here, and were tried before
        for number in sorted(self._sample.graph.ancestors(outputs)):
            refuse_misread(net, self._sample.graph.layers[number], self._sample.graph)
