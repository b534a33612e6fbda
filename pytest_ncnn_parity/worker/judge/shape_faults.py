"""Fails cases whose inputs do not fit the network, and skips those that depend on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Judge
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.shapes.rules.hints import contradicted
from pytest_ncnn_parity.worker.failures import Skip, StepFailed, failed
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.stepping import Chain


class ShapeFaults:
    """The layers whose inputs do not fit, and those whose shape hints contradict the trajectory.

    The first of them on the way to a blob fails. What lies behind it is skipped. If that layer has no
    case of its own, the first case behind it fails, so that something is red whatever is selected.
    """

    def __init__(self, job: Judge, graph: Graph, chain: Chain) -> None:
        self._graph = graph
        self._chain = chain
        self._judged = {(case.comparison, case.layer) for case in job.cases}
        # by comparison, the layers without a case of their own that the first case behind them has told
        self._told: set[tuple[str, int]] = set()
        self._contradicted: dict[int, str] = {}

    def observe(self, layer: Layer) -> None:
        """Compare the shape hints of `layer`, which has just run, with the shapes of its blobs."""
        if layer.type != "Input" and self._graph.hints:
            blobs = self._chain.blobs
            known = [blob for blob in (*layer.inputs, *layer.outputs) if blob in blobs]
            shapes = {blob: blobs[blob].picture_shape for blob in known}
            contradiction = contradicted(layer, self._graph.hints, shapes)
            if contradiction:
                self._contradicted[layer.number] = contradiction

    def of_hint(self, net: Net, layer: Layer) -> StepFailed | None:
        """Why `net` would compute `layer` for another shape. Only Vulkan uses hints."""
        contradiction = self._contradicted.get(layer.number)
        if contradiction is None or net.execution(layer).where != "vulkan":
            return None
        return failed(Step("layer", net.label, layer.number, layer.name), "hint", contradiction)

    def is_lost(self, blob: str) -> bool:
        """Whether `blob` has no value because the inputs of a layer on the way to it do not fit."""
        return blob in self._chain.lost and self._chain.lost[blob].death.of_shapes

    def refuse_lost(self, case: CaseSpec, blobs: Iterable[str]) -> None:
        """Raise the reason why one of `blobs` does not exist for `case`."""
        for blob in blobs:
            if self.is_lost(blob):
                self._refuse_behind(case, self._chain.lost[blob])

    def refuse_hints(self, case: CaseSpec, blobs: Iterable[str], nets: Sequence[Net]) -> None:
        """Raise the reason why one of `nets` would compute something else on the way to `blobs`."""
        for number in sorted(self._graph.ancestors(blobs) & self._contradicted.keys()):
            for net in nets:
                problem = self.of_hint(net, self._graph.layers[number])
                if problem is not None:
                    self._refuse_behind(case, problem)

    def _refuse_behind(self, case: CaseSpec, problem: StepFailed) -> None:
        number = problem.step.layer
        assert number is not None
        culprit = (case.comparison, number)
        judged = culprit in self._judged
        if case.layer == number or not (judged or culprit in self._told):
            if not case.known:
                self._told.add(culprit)
            raise problem
        layer = self._graph.layers[number]
        why = "has a shape hint for another size" if problem.death.kind == "hint" else "does not fit"
        told = "fails itself" if judged else "the first case behind it fails"
        reason = f"not run: {layer.name} ({layer.type}) upstream {why}, and {told}"
        raise Skip(reason, Evidence(death=problem.death))
