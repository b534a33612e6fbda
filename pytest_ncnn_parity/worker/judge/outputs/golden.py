"""Compares outputs with recordings: does the network give what the original framework gave?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.detections import is_list
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.evidence import Evidence, Infinite, Trial, TrialName
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.int8 import Int8Outputs
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.not_finite import with_remark
from pytest_ncnn_parity.worker.judge.outputs.whole_runs import WholeRuns
from pytest_ncnn_parity.worker.judge.outputs.worth import with_worth
from pytest_ncnn_parity.worker.judge.rounding import OutputRounding
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.inputs import InputError, recorded


class GoldenOutputs:
    """Judges the outputs of one sample, and blobs inside it, by the recordings of their cases."""

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
        """Return the result of a case that has a recording, for the network `net`.

        Raises Skip, Unavailable or StepFailed if it cannot be judged.
        """
        output = str(case.output)
        value = self._runs.without_others(net, output)[output]
        result = self._compared(case, net, value)
        ran = replace(result.evidence, setup=net.label, execution=str(net.setup), device=net.device_name)
        if result.outcome == "passed" and result.metrics is not None:
            depends = output in self._sample.graph.depending
            result = replace(result, metrics=with_worth(case, result.metrics, value, value, depends))
        if net.spec.other:
            return replace(result, evidence=replace(ran, in_int8=self._sample.nets.in_int8(net.spec)))
        self._as_recorded[output] = result.outcome == "passed"
        if result.outcome == "failed":
            ran = self._with_recordings_before(output, ran)
        return replace(result, evidence=ran)

    def _compared(self, case: CaseSpec, net: Net, output: Blob) -> Result:
        """Compare `output` with the recording.

        A recording with nan fails every case, and one with inf those of outputs that are given out, that
        is, read by no other layer. A list of detections may have any number of them on either side.
        """
        assert case.golden is not None
        evidence = Evidence(blob=case.output, shape=output.shape)
        listed = self._natures.is_listed(str(case.output))
        try:
            expected = recorded(case.golden, may_be_empty=listed)
        except InputError as error:
            return Result(case.id, "failed", evidence=Evidence(unreadable=str(error)))
        if not is_list(expected) if listed else expected.shape != output.shape:
            evidence = replace(evidence, recorded_shape=expected.shape)
            return Result(case.id, "failed", evidence=evidence)
        metrics = self._measured(case, output, expected)
        metrics = self._int8.forgiving(case, metrics, output.array, expected)
        if not (metrics.agrees or case.half or net.spec.other):
            rounding = self._rounding.of(case, str(case.output), output, expected)
            if rounding.explains:
                evidence = replace(evidence, noise=rounding.factor)
                metrics = rounding.excused(metrics)
        if metrics.agrees:
            return self._agreeing(case, metrics, expected, evidence)
        nan = 0 if listed else int(np.count_nonzero(np.isnan(expected) & ~np.isnan(output.array)))
        if nan:
            evidence = replace(evidence, reference_nan=nan)
        else:
            evidence = replace(evidence, trials=self._trials(case, net, expected))
            if net.spec.other:
                evidence = self._with_own(case, expected, evidence)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _measured(self, case: CaseSpec, output: Blob, expected: Array) -> Metrics:
        name = str(case.output)
        return self._natures.compare(name, output.array, expected, case.tolerance, whole=True)

    def _agreeing(self, case: CaseSpec, metrics: Metrics, expected: Array, evidence: Evidence) -> Result:
        """The result of an output that agrees with its recording: a broken one tests nothing."""
        nan, inf = (int(np.count_nonzero(found(expected))) for found in (np.isnan, np.isposinf))
        given_out = not self._sample.graph.consumers[str(case.output)]
        if not nan and not (inf and given_out):
            return Result(case.id, "passed", with_remark(metrics, expected), evidence=evidence)
        recorded_inf = Infinite(inf) if inf else None
        evidence = replace(evidence, reference_nan=nan, reference_inf=recorded_inf)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _trials(self, case: CaseSpec, net: Net, expected: Array) -> Mapping[TrialName, Trial]:
        """Whether the recording agrees with the plainest kernels of the CPU, or other files in fp32."""
        if not self._sample.job.probe:
            return {}
        name: TrialName = "plain_cpu"
        how, plain = probes.WITHOUT_PLAIN, probes.plain_cpu(self._sample.job)
        if net.spec.other:
            name = "other_files"
            how, plain = probes.OTHER_FILES_ON_CPU, probes.in_fp32_on_cpu(net.spec)
        if plain == net.spec:
            return {}
        output = str(case.output)
        try:
            again = self._sample.nets.other(plain).run(self._sample.inputs, [output])[output]
            return {name: probes.tried(how, self._measured(case, again, expected))}
        except (StepFailed, Unavailable) as problem:
            return {name: probes.untried(how, problem)}

    def _with_own(self, case: CaseSpec, expected: Array, evidence: Evidence) -> Evidence:
        """Return `evidence` with whether the spec's own model gives what was recorded."""
        output = str(case.output)
        with suppress(StepFailed, Unavailable):  # whose own cases report it
            own = self._runs.without_others(self._sample.trajectory, output)[output]
            return replace(evidence, own_as_recorded=self._measured(case, own, expected).agrees)
        return evidence

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
