"""Output cases: networks run from input to output as their users run them, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec, Result
from pytest_ncnn_parity.network.param import Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge import golden, probes
from pytest_ncnn_parity.worker.networks.loaded import Net, misread
from pytest_ncnn_parity.worker.networks.pool import JobNets, Skip, death
from pytest_ncnn_parity.worker.values.blob import Blob, Made


def refuse_misread(net: Net, layer: Layer, graph: Graph) -> None:
    """Not run what takes 16-bit bytes for fp32: it may corrupt the worker, and is wrong anyway."""
    blob = misread(net, layer, graph)
    if blob is not None:
        detail = f"31={layer.mask} makes it take the 16-bit values of {blob} for fp32"
        step = f"layer {layer.number} {layer.name} on {net.label}"
        raise StepFailed(step, {"kind": "misread", "detail": detail})


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
        self._made: dict[tuple[NetSpec, int], Made | StepFailed] = {}

    def know(self, spec: NetSpec, blobs: Made) -> None:
        """Take `blobs` for what a run of `spec` would give."""
        self._made[spec, 0] = {blob: blobs[blob] for blob in self.outputs}

    def _of(self, net: Net, turn: int = 0) -> Made:
        """The outputs of the `turn`-th run of `net`."""
        if (net.spec, turn) not in self._made:
            try:
                if not net.spec.model:  # a patched file's masks are not known, and were tried before
                    for layer in self._graph.layers:
                        refuse_misread(net, layer, self._graph)
                self._made[net.spec, turn] = net.run(self._inputs, self.outputs)
            except StepFailed as failed:
                self._made[net.spec, turn] = failed
        made = self._made[net.spec, turn]
        if isinstance(made, StepFailed):
            raise made
        return made

    def _refuse_same(self, output: str, reference: Net, candidate: Net) -> None:
        """Skip where no layer on the way to `output` runs otherwise in the candidate.

        Not under masks that are tried: there it is the answer that nothing is left to go wrong.
        """
        if candidate.spec.mixed or candidate.spec.model:
            return
        for number in self._graph.ancestors([output]):
            layer = self._graph.layers[number]
            execution = candidate.execution(layer)
            same = execution.where == "cpu" and execution == reference.execution(layer)
            if layer.type != "Input" and not same:
                return
        raise Skip(
            "every layer runs on the CPU in the same way on both sides: nothing would be tested",
            alike=True,
        )

    def judge(self, case: CaseSpec) -> Result:
        assert case.output is not None
        assert case.candidate is not None
        candidate = self._nets.of(case, case.candidate)
        reference = self._nets.of(case, case.reference)
        if case.golden is not None:
            return self._judge_golden(case, candidate)
        self._refuse_same(case.output, reference, candidate)
        evidence: dict[str, Any] = {
            "whole": True,
            "setup": candidate.label,
            "execution": str(candidate.setup),
            "device": candidate.device_name,
            "dropped": (*candidate.dropped, *reference.dropped),
        }
        expected = {case.output: self._of(reference)[case.output]}
        try:
            turns = [self._of(candidate, turn) for turn in range(self._job.repeats)]
            metrics, blob = max(
                (probes.worst(made, expected, case.tolerance) for made in turns), key=probes.badness
            )
        except StepFailed as failed:
            return Result(case.id, "failed", evidence={**evidence, "death": death(failed)})
        value = expected[blob]
        evidence |= {"blob": blob, "shape": list(value.array.shape)}
        if value.nan:
            evidence["reference_nan"] = value.nan
        if metrics.agrees and not value.nan:
            return Result(case.id, "passed", dict(vars(metrics)), evidence=evidence)
        if self._job.probe and not metrics.agrees:
            own = [case.output]
            evidence |= probes.evidence(
                self._job,
                self._nets,
                case,
                lambda net: {blob: self._of(net)[blob] for blob in own},
                lambda net: net.run(self._inputs, own),
                expected,
            )
        return Result(case.id, "failed", dict(vars(metrics)), evidence=evidence)

    def _judge_golden(self, case: CaseSpec, net: Net) -> Result:
        output = str(case.output)

        def plain() -> Blob:
            return self._nets.other(probes.plain_cpu(self._job)).run(self._inputs, [output])[output]

        result = golden.judge(case, self._of(net)[output], plain if self._job.probe else None)
        where = {"setup": net.label, "execution": str(net.setup), "device": net.device_name}
        return replace(result, evidence={**where, **result.evidence})
