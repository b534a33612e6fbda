"""Judges layer cases: one layer alone in reference and candidate, both fed from the trajectory."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.noise import Conditioning
from pytest_ncnn_parity.engine.evidence import Distrust, Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.winograd import may_use_winograd
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.exact import distrust, distrust_of_function, in_float64
from pytest_ncnn_parity.worker.judge.fp16.conversions import Conversions, with_own_nan
from pytest_ncnn_parity.worker.judge.fp16.integers import HeldIntegers
from pytest_ncnn_parity.worker.judge.held_back import HeldBack
from pytest_ncnn_parity.worker.judge.int8 import takes_int8
from pytest_ncnn_parity.worker.judge.layers.layer_runs import LayerRuns
from pytest_ncnn_parity.worker.judge.layers.own_runs import OwnRuns
from pytest_ncnn_parity.worker.judge.layers.quantized import QuantizedLayers
from pytest_ncnn_parity.worker.judge.layers.refusals import Refusals
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.rounding import LayerRounding
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.judge.stand_in import name_of, stand_in
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Made


class Ran(NamedTuple):
    """A layer in both setups, fed with the same inputs in the format `feed`, and what came out."""

    case: CaseSpec
    layer: Layer
    reference: Net
    candidate: Net
    feed: str | None
    expected: Made
    outputs: Made


class LayerJudge:
    """Judges the cases of the layer that the trajectory has just run."""

    def __init__(
        self,
        sample: SampleRun,
        blobs: Made,
        runs: LayerRuns,
        refusals: Refusals,
        held: HeldBack,
        natures: Natures,
        integers: HeldIntegers,
        own_runs: OwnRuns,
    ) -> None:
        self._sample = sample
        self._blobs = blobs
        self._runs = runs
        self._refusals = refusals
        self._held = held
        self._natures = natures
        self._rounding = LayerRounding(sample.run_reference, natures)
        self._conversions = Conversions(sample.graph, sample.nets, blobs, held, integers, self._measure)
        self._quantized = QuantizedLayers(sample, blobs, runs, natures)
        self._integers = integers
        self._own_runs = own_runs

    def judge(self, case: CaseSpec) -> Result:
        """Return the result of a layer case.

        Raises Skip, Unavailable or StepFailed if it cannot be judged.
        """
        assert case.layer is not None
        layer = self._sample.graph.layers[case.layer]
        if refused := self._refusals.of(case, layer):
            return refused
        return {"pair": self._pair_case, "range": self._conversions.predict}[case.kind](case, layer)

    def _pair_case(self, case: CaseSpec, layer: Layer) -> Result:
        """Judge a layer in two setups, or what the values of an Input layer lose in 16 bits."""
        assert case.candidate is not None
        candidate = self._sample.nets.needed(case.candidate)
        half = self._sample.nets.lost_to(case)
        case = case if half == case.half else replace(case, half=half)
        reference = stand_in(self._sample, case, candidate) or self._sample.reference(case)
        if layer.type == "Input":
            return self._conversions.judge(case, layer, candidate)
        if (there := candidate.counterpart(layer)) is not None and there.quantized:
            self._refusals.poisoned(layer)
            return self._quantized.judge(case, layer, reference, candidate, there)
        if passed := self._passed_in_own_run(case, layer, reference, candidate):
            return passed
        result = self._pair(case, layer, reference, candidate)
        if result.outcome == "passed":
            self._own_runs.refuse_dead(candidate, layer)
        return result

    def _passed_in_own_run(
        self, case: CaseSpec, layer: Layer, reference: Net, candidate: Net
    ) -> Result | None:
        """Return the result if `layer` agrees in the candidate's run of the whole network, or None."""
        values = self._own_runs.values(case, layer)
        if values is None or reference.spec != self._sample.trajectory.spec:
            return None
        evidence = self._how_it_runs(case, layer, reference, candidate)
        feed = self._integers.feed(layer, candidate.execution(layer).feed)
        try:
            expected = self._own_runs.expected(case, layer, feed, reference)
            metrics, blob = self._measure(case)({b: values[b] for b in layer.outputs}, expected)
        except StepFailed:
            return None
        fault = evidence.unrepresentable or evidence.misread
        if fault or not metrics.agrees or any(v.nan or v.infinite for v in expected.values()):
            return None
        evidence = self._with_facts(evidence, layer, blob, expected, values, own_inputs=True)
        return Result(case.id, "passed", metrics, evidence=evidence)

    def _how_it_runs(self, case: CaseSpec, layer: Layer, reference: Net, candidate: Net) -> Evidence:
        """Return what is known of `layer` before it runs. Raises Skip if running it is pointless."""
        self._refusals.hints(case, layer, (candidate, reference))
        execution, counterpart = candidate.execution(layer), candidate.counterpart(layer)
        if execution.feed == case.half == "fp16":
            self._held.refuse_inputs(case.comparison, layer, candidate)
        beyond = self._held.beyond
        unrepresentable = beyond.of_outputs(layer, candidate) if case.half == "fp16" else None
        misread = candidate.misread(layer, self._sample.graph)
        alike = execution.where == "cpu" and execution == reference.execution(layer)
        fault = misread or unrepresentable
        if alike and not (fault or self._sample.nets.weights.broken(layer)):
            where = Evidence(execution=str(execution), device=candidate.device_name, lasting=True)
            raise Skip(f"runs on {execution} on both sides, so nothing would be tested", where)
        self._refusals.behind_red(case, layer, (reference, candidate))
        return Evidence(
            setup=candidate.label,
            execution=str(execution),
            device=candidate.device_name,
            mask=layer.mask if counterpart is None else counterpart.last.mask,
            counterpart=str(counterpart) if counterpart else None,
            stand_in=name_of(reference, self._sample, case),
            dropped=(*candidate.dropped, *reference.dropped),
            misread=None if misread is None else misread.blob,
            format_inside=execution.format_inside,
            unrepresentable=unrepresentable,
            takes_int8=takes_int8(layer, self._blobs),
        )

    def _with_facts(
        self,
        evidence: Evidence,
        layer: Layer,
        blob: str,
        expected: Made,
        inputs: Made,
        own_inputs: bool = False,
    ) -> Evidence:
        """Return `evidence` with the compared `blob` and what is known of its values."""
        return replace(
            evidence,
            own_inputs=own_inputs,
            blob=blob,
            shape=expected[blob].shape,
            reference_nan=expected[blob].nan if with_own_nan(layer, expected, inputs) else 0,
            integers=self._integers.of(layer, blob),
        )

    def _pair(self, case: CaseSpec, layer: Layer, reference: Net, candidate: Net) -> Result:
        """Run the layer in both setups on the same inputs, and compare the outputs.

        If they differ from those of a stand-in for the reference, the reference itself decides.
        """
        evidence = self._how_it_runs(case, layer, reference, candidate)
        feed = self._integers.feed(layer, candidate.execution(layer).feed)
        expected = self._runs.expected(reference, candidate, layer, feed)
        probe = self._probe(case, layer, feed)
        try:
            outputs = self._runs.run(candidate, layer, feed)
            of_nan = with_own_nan(layer, expected, self._blobs)
            metrics, blob = self._measure(case)(outputs, of_nan or expected)
        except StepFailed as failed:
            if evidence.stand_in:
                return self._pair(case, layer, self._sample.reference(case), candidate)
            evidence = replace(evidence, death=failed.death)
            if failed.death.kind == "shape" and self._sample.job.probe:
                evidence = probe.of_another_shape(evidence)
            return Result(case.id, "failed", evidence=evidence)
        evidence = self._with_facts(evidence, layer, blob, expected, self._blobs)
        if evidence.reference_nan and (
            self._held.underflows.breaks(case.comparison, layer)  # it made them of zeros, as an ARM does
            or self._runs.makes_nan_by_the_cast(reference, layer, feed)
        ):
            evidence = replace(evidence, reference_nan=0)
        fault = bool(evidence.unrepresentable or evidence.misread or evidence.reference_nan)
        if evidence.stand_in and (fault or not metrics.agrees):
            return self._pair(case, layer, self._sample.reference(case), candidate)
        ran = Ran(case, layer, reference, candidate, feed, expected, outputs)
        evidence = self._with_what_fp16_loses(ran, metrics, evidence, probe)
        if metrics.agrees and not fault:
            return Result(case.id, "passed", metrics, evidence=evidence)
        if not fault:
            self._refusals.poisoned(layer)
            self._refusals.cut_short(layer, (reference, candidate))
            noise = self._noise(ran, metrics, blob)
            if noise is not None and noise.explains:
                evidence = replace(evidence, noise=noise.factor)
                return Result(case.id, "passed", noise.excused(metrics), evidence=evidence)
            self._held.own_values.keep_ends(case, outputs, expected)
        return self._failed(ran, metrics, evidence, probe, fault)

    def _with_what_fp16_loses(
        self, ran: Ran, metrics: Metrics, evidence: Evidence, probe: probes.Probe
    ) -> Evidence:
        """Return `evidence` with what fp16 loses, which waits for what the readers make of it."""
        on_vulkan = ran.candidate.execution(ran.layer).where == "vulkan"
        wrong_in_fp16 = ran.case.half == "fp16" and on_vulkan and not metrics.agrees
        evidence = self._conversions.with_what_fp16_loses(ran.case, evidence, ran.layer, wrong_in_fp16)
        if evidence.unrepresentable is not None:
            saturated = self._saturated(ran.case, evidence, ran.outputs, ran.expected, probe)
            self._held.beyond.hold(ran.case, saturated)
            if saturated.outcome == "failed":
                self._held.own_values.keep(ran.case, ran.outputs)
        return evidence

    def _noise(self, ran: Ran, metrics: Metrics, blob: str) -> Conditioning | None:
        """What rounding the inputs makes of `blob`; None of integers, which are right or wrong."""
        if metrics.integers:
            return None
        fed = {b: self._blobs[b].rounded(ran.feed) for b in dict.fromkeys(ran.layer.inputs)}
        return self._rounding.of(ran.case, ran.layer, fed, ran.outputs, ran.expected, blob)

    def _failed(
        self, ran: Ran, metrics: Metrics, evidence: Evidence, probe: probes.Probe, fault: bool
    ) -> Result:
        """The result of outputs that differ, or that have a `fault` although they agree."""
        case, layer, nets = ran.case, ran.layer, self._sample.nets
        blob, asked = str(evidence.blob), self._sample.job.probe
        decided = self._natures.threshold_decides(
            blob, ran.outputs[blob].array, ran.expected[blob].array, case.tolerance
        )
        true = self._in_float64(layer, ran.feed) if asked and not fault else None
        other = ran.candidate.spec.other
        evidence = replace(
            evidence,
            threshold_decides=decided,
            without_scale=() if other else nets.weights.without_scale(layer),
            not_finite=0 if other else nets.weights.not_finite(layer),
            distrust=self._distrust(ran, true),
        )
        if asked and (not metrics.agrees or evidence.reference_nan):
            evidence = probe.evidence(evidence, ran.expected)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _distrust(self, ran: Ran, true: Made | None) -> Distrust | None:
        """Why the reference is not trusted; `true`: what float64 gives, if that is known."""
        sides = ran.outputs, ran.expected
        inputs = {blob: self._blobs[blob] for blob in ran.layer.inputs}
        return distrust(ran.case, ran.layer, ran.reference, *sides, true) or distrust_of_function(
            ran.case, ran.layer, ran.reference, inputs, *sides
        )

    def _probe(self, case: CaseSpec, layer: Layer, feed: str | None) -> probes.Probe:
        measure = self._measure(case)
        return probes.Probe(
            self._sample.job,
            self._sample.nets,
            case,
            lambda net: self._runs.run(net, layer, feed),
            lambda net: net.run_layer(layer, self._blobs, feed),
            measure,
            may_use_winograd(layer),
            lambda outputs, cpu: measure(outputs, self._in_float64(layer, feed) or cpu),
        )

    def _saturated(
        self, case: CaseSpec, seen: Evidence, outputs: Made, expected: Made, probe: probes.Probe
    ) -> Result:
        """Return the result in case every reader is right with the values as fp16 stores them."""
        evidence = replace(seen, unrepresentable=None)
        stored = {blob: value.stored() for blob, value in expected.items()}
        metrics, blob = self._measure(case)(outputs, stored)
        evidence = replace(evidence, blob=blob)
        if metrics.agrees and not evidence.misread and not evidence.reference_nan:
            return Result(case.id, "passed", metrics, evidence=evidence)
        if self._sample.job.probe:
            evidence = probe.evidence(evidence, expected, stored)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _measure(self, case: CaseSpec) -> probes.Measure:
        return lambda outputs, expected: self._natures.worst(
            outputs, expected, case.tolerance, whole=False
        )

    def _in_float64(self, layer: Layer, feed: str | None) -> Made | None:
        return in_float64(
            layer, {blob: self._blobs[blob].rounded(feed) for blob in layer.inputs}, self._sample.nets
        )
