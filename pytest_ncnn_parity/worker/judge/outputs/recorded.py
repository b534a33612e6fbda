"""Judges output cases whose reference is a recording, made by the framework that a model came from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.noise import NO_EXCUSE, Conditioning
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.int8 import Int8Outputs
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.outputs import golden
from pytest_ncnn_parity.worker.judge.outputs.whole_runs import WholeRuns
from pytest_ncnn_parity.worker.judge.outputs.worth import with_worth
from pytest_ncnn_parity.worker.judge.rounding import OutputRounding
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob


class RecordedOutputs:
    """Judges the outputs of one sample, and blobs inside it, that have a recording."""

    def __init__(
        self,
        sample: SampleRun,
        runs: WholeRuns,
        natures: Natures,
        int8: Int8Outputs,
        rounding: OutputRounding,
    ) -> None:
        self._sample = sample
        self._runs = runs
        self._natures = natures
        self._int8 = int8
        self._rounding = rounding
        # in running order, the blobs compared with recordings, and whether they agree
        self._as_recorded: dict[str, bool] = {}

    def judge(self, case: CaseSpec, net: Net) -> Result:
        """Return the result of a case that has a recording, for the network `net`."""
        output = str(case.output)

        def measure(candidate: Array, expected: Array) -> Metrics:
            return self._natures.compare(output, candidate, expected, case.tolerance, whole=True)

        value = self._runs.without_others(net, output)[output]
        other = net.spec.other
        again = self._again(net, output) if self._sample.job.probe else None

        def own() -> Blob:
            return self._runs.without_others(self._sample.trajectory, output)[output]

        def noise(expected: Array) -> Conditioning:
            if case.half or other:
                return NO_EXCUSE
            return self._rounding.of(case, output, value, expected)

        given_out = not self._sample.graph.consumers[output]
        forgiving = partial(self._int8.forgiving, case)
        listed = self._natures.is_listed(output)
        of_own = own if other else None
        result = golden.judge(case, value, again, of_own, measure, forgiving, noise, given_out, listed)
        ran = replace(result.evidence, setup=net.label, execution=str(net.setup), device=net.device_name)
        if result.outcome == "passed" and result.metrics is not None:
            depends = output in self._sample.graph.depending
            result = replace(result, metrics=with_worth(case, result.metrics, value, value, depends))
        if other:
            return replace(result, evidence=replace(ran, in_int8=self._sample.nets.in_int8(net.spec)))
        self._as_recorded[output] = result.outcome == "passed"
        if result.outcome == "failed":
            ran = self._with_recordings_before(output, ran)
        return replace(result, evidence=ran)

    def _again(self, net: Net, output: str) -> golden.Again | None:
        """What else computes `output`: the plainest kernels of the CPU, or other files in fp32 on it."""
        other = net.spec.other
        plain = probes.in_fp32_on_cpu(net.spec) if other else probes.plain_cpu(self._sample.job)
        if plain == net.spec:
            return None

        def run() -> Blob:
            return self._sample.nets.other(plain).run(self._sample.inputs, [output])[output]

        if other:
            return golden.Again("other_files", probes.OTHER_FILES_ON_CPU, run)
        return golden.Again("plain_cpu", probes.WITHOUT_PLAIN, run)

    def _with_recordings_before(self, output: str, evidence: Evidence) -> Evidence:
        """Return `evidence` with the recorded blobs upstream between which something goes wrong."""
        ancestors = self._sample.graph.ancestors([output])
        before = [
            blob
            for blob in self._as_recorded
            if blob != output and self._sample.graph.producer[blob].number in ancestors
        ]
        alike = [blob for blob in before if self._as_recorded[blob]]
        unlike = [blob for blob in before if not self._as_recorded[blob]]
        return replace(
            evidence,
            alike_before=alike[-1] if alike else None,
            unlike_before=unlike[0] if unlike else None,
        )
