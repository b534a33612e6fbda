"""Judges output cases: runs whole networks as users do, and compares their outputs."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.noise import NO_EXCUSE, is_nearly_right
from pytest_ncnn_parity.engine.evidence import Evidence, Infinite
from pytest_ncnn_parity.engine.protocol import CaseSpec, NetSpec, Result
from pytest_ncnn_parity.network.winograd import may_use_winograd
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.cut_short import CutShort
from pytest_ncnn_parity.worker.judge.int8 import Int8Outputs
from pytest_ncnn_parity.worker.judge.natures import Natures, badness
from pytest_ncnn_parity.worker.judge.not_finite import NotFinite, with_remark
from pytest_ncnn_parity.worker.judge.outputs.golden import GoldenOutputs
from pytest_ncnn_parity.worker.judge.outputs.pictures import GreySteps
from pytest_ncnn_parity.worker.judge.outputs.recomputed import RecomputedOutputs
from pytest_ncnn_parity.worker.judge.outputs.whole_runs import WholeRuns
from pytest_ncnn_parity.worker.judge.outputs.worth import with_worth
from pytest_ncnn_parity.worker.judge.rounding import OutputRounding
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.judge.shape_faults import ShapeFaults
from pytest_ncnn_parity.worker.judge.stand_in import name_of, stand_in
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class OutputJudge:
    """Judges the output cases of one sample, whose networks run for all of them at once."""

    def __init__(
        self,
        sample: SampleRun,
        cases: Sequence[CaseSpec],
        shape_faults: ShapeFaults,
        natures: Natures,
        not_finite: NotFinite,
        fits: Callable[[str], bool],
    ) -> None:
        """`fits`: whether fp16 is known to hold all values on the way to an output."""
        self._sample = sample
        self._fits = fits
        self._not_finite = not_finite
        self._shape_faults = shape_faults
        self._natures = natures
        asked = {case.output for case in cases if case.output is not None}
        # in running order, because lightmode drops an earlier blob once a later one was computed
        self.outputs = [blob for blob in sample.graph.producer if blob in asked]
        self._runs = WholeRuns(sample, self.outputs)
        self._int8 = Int8Outputs(sample, self._runs.of)
        self._recomputed = RecomputedOutputs(sample, self.outputs, natures)
        self._grey_steps = GreySteps(sample, self.outputs, natures)
        self._rounding = OutputRounding(
            sample.graph, sample.inputs, self.outputs, sample.run_reference, natures
        )
        self._golden = GoldenOutputs(sample, self._runs, natures, self._int8, self._rounding)
        self._cut_short = CutShort(sample)

    def know(self, spec: NetSpec, blobs: Made) -> None:
        """Use `blobs`, which must have all outputs, instead of a run of `spec`."""
        self._runs.know(spec, blobs)

    def _refuse_same(self, output: str, reference: Net, candidate: Net) -> None:
        """Raise Skip if no layer on the way to `output` runs differently in the candidate.

        This does not apply while masks are tried, where that nothing is left to go wrong is an answer.
        """
        if candidate.spec.mixed or candidate.spec.patched or candidate.spec.other:
            return
        for number in self._sample.graph.ancestors([output]):
            layer = self._sample.graph.layers[number]
            execution = candidate.execution(layer)
            same = execution.where == "cpu" and execution == reference.execution(layer)
            if layer.type != "Input" and not same:
                return
        raise Skip(
            "every layer runs on the CPU in the same way on both sides: nothing would be tested",
            Evidence(alike=True, lasting=True),
        )

    def judge(self, case: CaseSpec, red: Container[tuple[str, int]] = ()) -> Result:
        """Return the result of an output case. `red`: failed layers, by comparison and number.

        Behind a red layer no error is taken for rounding, because what the layer spoilt may look like
        it. Raises Skip, Unavailable or StepFailed if the case cannot be judged.
        """
        assert case.output is not None
        assert case.candidate is not None
        self._shape_faults.refuse_lost(case, [case.output])
        candidate = self._sample.nets.needed(case.candidate)
        reference = stand_in(self._sample, case, candidate) or self._sample.reference(case)
        if case.kind == "golden":
            self._shape_faults.refuse_hints(case, [case.output], (candidate, reference))
            result = self._golden.judge(case, candidate)
            if result.outcome == "failed":
                self._refuse_cut_short(case, candidate)
            return result
        above = self._sample.graph.ancestors([case.output])
        behind_red = any((case.comparison, number) in red for number in above)
        return self._pair(case, reference, candidate, behind_red)

    def _refuse_cut_short(self, case: CaseSpec, *nets: Net) -> None:
        """Raise Skip if the output differs because llvmpipe ends the loops of a layer too early."""
        above = sorted(self._sample.graph.ancestors([str(case.output)]))
        self._cut_short.refuse((self._sample.graph.layers[number] for number in above), nets)

    def _pair(self, case: CaseSpec, reference: Net, candidate: Net, behind_red: bool) -> Result:
        """Judge a pair of setups. If a stand-in for the reference disagrees, the reference decides."""
        assert case.output is not None
        self._shape_faults.refuse_hints(case, [case.output], (candidate, reference))
        self._refuse_same(case.output, reference, candidate)
        evidence = self._how_it_runs(case, reference, candidate)
        output, runs = case.output, self._runs
        of = runs.of if behind_red else partial(runs.without_others, output=output)
        expected = {output: of(reference)[output]}
        try:
            turns = [of(candidate, turn=turn) for turn in range(self._sample.job.repeats)]
            measured = [(self._measured(case, outputs, expected), outputs) for outputs in turns]
        except StepFailed as problem:
            if evidence.stand_in:
                return self._pair(case, self._sample.reference(case), candidate, behind_red)
            return Result(case.id, "failed", evidence=replace(evidence, death=problem.death))
        (metrics, blob), outputs = max(measured, key=lambda pair: badness(pair[0]))
        value = expected[blob]
        evidence = self._with_facts(evidence, blob, value)
        fault = value.nan or value.inf
        if evidence.stand_in and (fault or not metrics.agrees):
            return self._pair(case, self._sample.reference(case), candidate, behind_red)
        if not metrics.agrees:
            self._refuse_cut_short(case, reference, candidate)
        if not behind_red:
            metrics = self._int8.forgiving(case, metrics, outputs[blob].array, value.array)
            if reference.setup == CPU_FP32:
                metrics = self._recomputed.forgiving(case, candidate, outputs[blob], metrics)
        if not (metrics.agrees or behind_red or fault):
            metrics, noise = self._excused(case, candidate, outputs[blob], value, metrics)
            evidence = replace(evidence, noise=noise)
        if metrics.agrees and not fault:
            remarked = with_remark(metrics, value.array)
            depends = blob in self._sample.graph.depending
            metrics = with_worth(case, remarked, outputs[blob], value, depends)
            return Result(case.id, "passed", metrics, evidence=evidence)
        decided = self._natures.threshold_decides(blob, outputs[blob].array, value.array, case.tolerance)
        evidence = replace(evidence, threshold_decides=decided, fits_up_to_here=self._fits(blob))
        if self._sample.job.probe:
            if not fault:
                distrust = self._recomputed.distrust(case, reference, outputs[blob], value, metrics)
                evidence = replace(evidence, distrust=distrust)
            evidence = self._probe(case, of, behind_red).evidence(evidence, expected)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _how_it_runs(self, case: CaseSpec, reference: Net, candidate: Net) -> Evidence:
        """Return what is known of the output before the networks run."""
        return Evidence(
            whole=True,
            setup=candidate.label,
            execution=str(candidate.setup),
            device=candidate.device_name,
            stand_in=name_of(reference, self._sample, case),
            dropped=(*candidate.dropped, *reference.dropped),
            in_int8=self._sample.nets.in_int8(candidate.spec),
            only_rounded=case.only_rounded,
            behind_int8=self._int8.is_behind_int8(str(case.output)),
            perhaps_pictures=self._grey_steps.untold(case),
        )

    def _with_facts(self, evidence: Evidence, blob: str, value: Blob) -> Evidence:
        """Return `evidence` with the compared `blob` and what is known of the reference's `value`."""
        given_out = Infinite(value.inf, self._not_finite.maker_of_inf(blob)) if value.inf else None
        return replace(
            evidence,
            blob=blob,
            shape=value.shape,
            reference_nan=value.nan,
            reference_inf=given_out,
        )

    def _probe(self, case: CaseSpec, of: Callable[[Net], Made], behind_red: bool) -> probes.Probe:
        """The probe of a case for which a network makes what `of` gives."""
        output = case.output
        assert output is not None
        return probes.Probe(
            self._sample.job,
            self._sample.nets,
            case,
            lambda net: {output: of(net)[output]},
            lambda net: self._runs.again(net, output),
            lambda outputs, expected: self._measured(case, outputs, expected),
            not behind_red and self._may_use_winograd(output),
            lambda outputs, expected: self._measured_in_fp32(case, outputs, expected),
        )

    def _excused(
        self, case: CaseSpec, candidate: Net, output: Blob, reference: Blob, metrics: Metrics
    ) -> tuple[Metrics, float | None]:
        """Return `metrics`, as agreeing if rounding or less than a grey step explains the error.

        Also returns the error as a multiple of how far the reference itself moves, if that explains it.
        """
        if metrics.integers:
            return metrics, None
        if case.only_rounded:  # weights that were rounded to fp16 move it as values in fp16 would
            case = replace(case, half="fp16")
        name = str(case.output)
        residue = case.half is not None and self._is_residue(case, output, reference)
        # users get what 16 bits lose, and masks fix it, so it does not excuse a whole run
        coarse = case.half is not None or self._sample.nets.in_int8(candidate.spec)
        noise = NO_EXCUSE
        if self._sample.job.probe or not coarse or residue or is_nearly_right(metrics):
            noise = self._rounding.of(case, name, output, reference.array)
        inherent = noise.explains if case.half is None else noise.is_inherent(metrics)
        if inherent or residue:
            return noise.excused(metrics), noise.factor
        if case.half is not None:
            metrics = self._grey_steps.forgiving(case, output, reference.array, metrics)
        return metrics, noise.factor if noise.explains and not metrics.agrees else None

    def _is_residue(self, case: CaseSpec, output: Blob, reference: Blob) -> bool:
        """Whether all that is wrong is what rounding leaves of terms that cancel, in fp32 as well."""
        name = str(case.output)
        right = self._rounding.without_residues(case, name, output, reference.array)
        return right is not None and self._measured(case, {name: right}, {name: reference})[0].agrees

    def _may_use_winograd(self, output: str) -> bool:
        return any(
            may_use_winograd(self._sample.graph.layers[n])
            for n in self._sample.graph.ancestors([output])
        )

    def _measured(self, case: CaseSpec, outputs: Made, expected: Made) -> tuple[Metrics, str]:
        return self._natures.worst(outputs, expected, case.tolerance, whole=True)

    def _measured_in_fp32(self, case: CaseSpec, outputs: Made, expected: Made) -> tuple[Metrics, str]:
        """Measure one run in fp32 against another, which may differ by rounding.

        That is, as an int8 network does on any device, and where terms cancel.
        """
        metrics, blob = self._measured(case, outputs, expected)
        metrics = self._int8.forgiving(case, metrics, outputs[blob].array, expected[blob].array)
        if metrics.agrees:
            return metrics, blob
        noise = self._rounding.of(replace(case, half=None), blob, outputs[blob], expected[blob].array)
        return (noise.excused(metrics) if noise.explains else metrics), blob
