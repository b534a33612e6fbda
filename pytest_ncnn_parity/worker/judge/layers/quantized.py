"""Layers that another model computes in int8: what rounding costs them, and whether it was done right.

Both sides are fed with the reference's values, and the int8 layer rounds them as it does in a whole
run. If its output is int8, the scale of its readers gives that output a meaning; what that scale clips
is a loss of the readers, not of this layer.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.compare.int8 import judged_by_loss, loss, rounded_to_int8
from pytest_ncnn_parity.compare.measured import Loss, Metrics
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.engine.evidence import Evidence, Trial, TrialName
from pytest_ncnn_parity.engine.int8_evidence import Quantization
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import is_quantized
from pytest_ncnn_parity.network.versions.counterparts import Counterpart
from pytest_ncnn_parity.network.versions.kept_by_quantizing import Difference, differences
from pytest_ncnn_parity.network.versions.units import sources
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge.layers.layer_runs import LayerRuns
from pytest_ncnn_parity.worker.judge.natures import Natures, badness
from pytest_ncnn_parity.worker.judge.probes import (
    OTHER_FILES_ON_CPU,
    in_fp32_on_cpu,
    tried,
    untried,
)
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.weights.layer_weights import LayerWeights
from pytest_ncnn_parity.worker.weights.weight_steps import weight_steps


class QuantizedLayers:
    """Judges the layers of one sample that a candidate computes in int8.

    `blobs`: the trajectory's values, which `runs` feeds layers with.
    """

    def __init__(self, sample: SampleRun, blobs: Made, runs: LayerRuns, natures: Natures) -> None:
        self._sample = sample
        self._blobs = blobs
        self._runs = runs
        self._natures = natures
        self._sources = sources(sample.graph)

    def judge(
        self, case: CaseSpec, layer: Layer, reference: Net, candidate: Net, there: Counterpart
    ) -> Result:
        execution = candidate.execution(layer)
        evidence = Evidence(
            setup=candidate.label,
            execution=str(execution),
            device=candidate.device_name,
            counterpart=str(there),
            in_int8=True,
            dropped=(*candidate.dropped, *reference.dropped),
        )
        expected = self._runs.expected(reference, candidate, layer, execution.feed)
        try:
            outputs = self._runs.run(candidate, layer, execution.feed)
            metrics, blob = self._measured(case, there, outputs, expected)
            metrics = replace(metrics, input_steps=self._input_steps(case, there))
        except StepFailed as failed:
            return Result(case.id, "failed", evidence=replace(evidence, death=failed.death))
        evidence = replace(
            evidence,
            blob=blob,
            shape=expected[blob].shape,
            weights=weight_steps(
                self._sample.nets.weights, self._weights(case), there, self._largest(there)
            ),
            other_scale=next(filter(None, map(self._int8(case).read_otherwise, there.layers)), None),
            differences=self._differences(case, there),
        )
        if metrics.agrees and not evidence.has_wrong_files:
            return Result(case.id, "passed", metrics, evidence=evidence)
        if self._sample.job.probe:
            quantized = self._quantization(case, reference, there, expected[blob], blob)
            trials = self._on_cpu(case, layer, there, candidate, expected)
            evidence = replace(evidence, quantization=quantized, trials=trials)
        return Result(case.id, "failed", metrics, evidence=evidence)

    def _on_cpu(
        self, case: CaseSpec, layer: Layer, there: Counterpart, candidate: Net, expected: Made
    ) -> dict[TrialName, Trial]:
        """Whether the same files are right on the CPU, where the candidate runs them elsewhere."""
        plain = in_fp32_on_cpu(candidate.spec)
        if plain == candidate.spec:
            return {}
        try:
            outputs = self._runs.run(self._sample.nets.other(plain), layer, None)
            metrics, _ = self._measured(case, there, outputs, expected)
        except (StepFailed, Unavailable) as problem:
            return {"other_files": untried(OTHER_FILES_ON_CPU, problem)}
        return {"other_files": tried(OTHER_FILES_ON_CPU, metrics)}

    def _measured(
        self, case: CaseSpec, there: Counterpart, outputs: Made, expected: Made
    ) -> tuple[Metrics, str]:
        measured = []
        for blob, value in expected.items():
            scale = self._taken_by(case, there, there.outputs[blob])
            right = value if scale is None else value.with_elements(_clipped(value, scale))
            metrics, _ = self._natures.worst(
                {blob: outputs[blob]}, {blob: right}, case.tolerance, whole=False
            )
            own = loss(outputs[blob].array, right.array, scale)
            metrics = judged_by_loss(metrics, own, case.tolerance)
            measured.append((metrics, blob))
        return max(measured, key=badness)

    def _int8(self, case: CaseSpec) -> Int8Values:
        assert case.candidate is not None
        return self._sample.nets.int8_of(case.candidate)

    def _weights(self, case: CaseSpec) -> LayerWeights:
        assert case.candidate is not None
        return self._sample.nets.weights_of(case.candidate)

    def _taken_by(self, case: CaseSpec, there: Counterpart, blob: str) -> float | None:
        """The scale by which readers interpret the int8 `blob` that `there` gives; None if floats."""
        int8 = self._int8(case)
        made = any(layer.number in int8.given for layer in there.layers)
        return int8.taken_by(blob) if made and blob in int8.blobs else None

    def _differences(self, case: CaseSpec, there: Counterpart) -> tuple[Difference, ...]:
        """What `there` has otherwise than in floats, though quantizing does not change it."""
        quantized = [one for one in there.layers if is_quantized(one)]
        cores = [one for one in there.replaced if one.type in {other.type for other in quantized}]
        if not len(quantized) == len(cores) == 1:
            return ()
        (layer,), (core,) = quantized, cores
        given = self._int8(case).given.get(layer.number, 0.0)
        end = INT8_MAX / given if given > 0.0 else math.inf
        return tuple(differences(core, there.replaced, layer, there.layers, end))

    def _input_steps(self, case: CaseSpec, there: Counterpart) -> float | None:
        """The largest value of the one input of the layer in int8, times its scale; else None."""
        fed = self._int8_input(case, there)
        if fed is None:
            return None
        blob, scale = fed
        steps = float(np.abs(self._blobs[blob].array).max(initial=0.0)) * scale
        return steps if math.isfinite(steps) else None

    def _largest(self, there: Counterpart) -> float:
        """The largest finite value in floats that is fed to the layer."""
        fed = (self._blobs[blob] for blob in there.feeds.values())
        sizes = (np.abs(value.array) for value in fed if value.floating)
        return max((float(s.max(initial=0.0, where=np.isfinite(s))) for s in sizes), default=0.0)

    def _int8_input(self, case: CaseSpec, there: Counterpart) -> tuple[str, float] | None:
        """The one value of the reference that the layer rounds to int8, and by which scale."""
        layer = there.quantized[0]
        fed = [there.feeds[blob] for blob in dict.fromkeys(layer.inputs) if blob in there.feeds]
        scale = self._weights(case).int8_scale(layer)
        if scale is None or len(fed) != 1 or not self._blobs[fed[0]].floating:
            return None
        return fed[0], scale

    def _quantization(
        self, case: CaseSpec, reference: Net, there: Counterpart, expected: Blob, output: str
    ) -> Quantization | None:
        """What the scale of the layer's input costs, and what the scale of its largest value would."""
        fed = self._int8_input(case, there)
        if fed is None:
            return None
        blob, scale = fed
        value = self._blobs[blob].array
        largest = float(np.abs(value).max(initial=0.0))
        if not math.isfinite(largest) or largest == 0.0:
            return None
        best = INT8_MAX / largest
        try:
            own, by_largest = (
                self._with_input(reference, there, blob, one, expected, output) for one in (scale, best)
            )
        except (StepFailed, KeyError):
            return None
        clipped = float(np.count_nonzero(np.abs(value) > _end(scale)) / value.size)
        return Quantization(
            there.quantized[0].name,
            scale,
            best,
            clipped,
            own.sqnr_db,
            own.channels_db,
            by_largest.sqnr_db,
            by_largest.channels_db,
        )

    def _with_input(
        self,
        reference: Net,
        there: Counterpart,
        blob: str,
        scale: float,
        expected: Blob,
        output: str,
    ) -> Loss:
        """What the layer loses in floats if only its input is rounded by `scale`."""
        inner = {made for one in there.replaced for made in one.outputs}
        read = {b for one in there.replaced for b in one.inputs} - inner
        value = self._blobs[blob]
        rounded = value.with_elements(rounded_to_int8(value.array, scale))
        same = self._sources[blob]
        values = {b: rounded if self._sources[b] == same else self._blobs[b] for b in read}
        for one in there.replaced:
            values.update(reference.run_layer(one, values, on="changed"))
        return loss(values[output].array, expected.array)


def _clipped(value: Blob, scale: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    end = _end(scale)
    return np.ascontiguousarray(np.clip(value.array, -end, end), np.float32)


def _end(scale: float) -> np.float32:
    """The largest value that `scale` does not clip: inf for a scale of 0."""
    with np.errstate(divide="ignore"):
        return np.float32(INT8_MAX) / np.float32(scale)
