"""Output cases: networks run from input to output as their users run them, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_ncnn_parity.engine import probe
from pytest_ncnn_parity.engine.blob import Made
from pytest_ncnn_parity.engine.nets import LoadedNet, StepFailed
from pytest_ncnn_parity.engine.pool import JobNets, Skip, death
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec, Result
from pytest_ncnn_parity.param import Graph


class WholeRuns:
    """One run of each network for all the outputs wanted of it."""

    def __init__(
        self, job: Job, graph: Graph, nets: JobNets, inputs: Made, cases: Sequence[CaseSpec]
    ) -> None:
        self._job = job
        self._graph = graph
        self._nets = nets
        self._inputs = inputs
        self.outputs = list(dict.fromkeys(case.output for case in cases if case.output is not None))
        self._made: dict[NetSpec, Made | StepFailed] = {}

    def know(self, spec: NetSpec, blobs: Made) -> None:
        """Take `blobs` for what a run of `spec` would give."""
        self._made[spec] = {blob: blobs[blob] for blob in self.outputs}

    def _of(self, net: LoadedNet) -> Made:
        if net.spec not in self._made:
            try:
                self._made[net.spec] = net.run(self._inputs, self.outputs)
            except StepFailed as failed:
                self._made[net.spec] = failed
        made = self._made[net.spec]
        if isinstance(made, StepFailed):
            raise made
        return made

    def _refuse_same(self, output: str, reference: LoadedNet, candidate: LoadedNet) -> None:
        """Skip where no layer on the way to `output` runs otherwise in the candidate."""
        for number in self._graph.ancestors([output]):
            layer = self._graph.layers[number]
            execution = candidate.execution(layer)
            same = execution.where == "cpu" and execution == reference.execution(layer)
            if layer.type != "Input" and not same:
                return
        raise Skip("every layer runs on the CPU in the same way on both sides: nothing would be tested")

    def judge(self, case: CaseSpec) -> Result:
        assert case.output is not None
        assert case.candidate is not None
        candidate = self._nets.of(case, case.candidate)
        reference = self._nets.of(case, case.reference)
        self._refuse_same(case.output, reference, candidate)
        evidence: dict[str, Any] = {
            "whole": True,
            "setup": candidate.label,
            "execution": str(candidate.setup),
            "device": candidate.device_name,
        }
        expected = {case.output: self._of(reference)[case.output]}
        try:
            metrics, blob = probe.worst(self._of(candidate), expected, case.tolerance)
        except StepFailed as failed:
            return Result(case.id, "failed", evidence={**evidence, "death": death(failed)})
        value = expected[blob]
        evidence |= {"blob": blob, "shape": list(value.array.shape)}
        if value.nan:
            evidence["reference_nan"] = value.nan
        if metrics.agrees and not value.nan:
            return Result(case.id, "passed", dict(vars(metrics)), evidence=evidence)
        if self._job.probe and not metrics.agrees:
            evidence |= probe.evidence(self._job, self._nets, case, self._of, expected)
        return Result(case.id, "failed", dict(vars(metrics)), evidence=evidence)
