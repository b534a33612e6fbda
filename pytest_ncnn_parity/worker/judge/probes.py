"""Gathers evidence about a failed case by repeating its step with one suspect removed at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Trial, TrialName
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made

REPEATS = 2

# options with which the CPU uses its plainest kernels (src/option.h)
PLAIN = {
    "use_packing_layout": False,
    "use_winograd_convolution": False,
    "use_sgemm_convolution": False,
}
WITHOUT_PLAIN = "without packing, winograd and sgemm"
OTHER_FILES_ON_CPU = "the other model in fp32 on the CPU"


Measure = Callable[[Made, Made], tuple[Metrics, str]]


class Probe:
    """Repeats the step of one failed case under other conditions.

    `run` runs the step in a network, or returns what is already known of it; `again` always runs it
    once more, which should give the same bits. `measure` compares outputs with expected ones.
    `winograd`: whether a layer of the step may use winograd, so that a run without it is worth its
    time. `measure_fp32` compares fp32 on a device with the CPU's; None: as `measure` does.
    """

    def __init__(
        self,
        job: Job,
        nets: JobNets,
        case: CaseSpec,
        run: Callable[[Net], Made],
        again: Callable[[Net], Made],
        measure: Measure,
        winograd: bool,
        measure_fp32: Measure | None = None,
    ) -> None:
        self._job = job
        self._nets = nets
        self._case = case
        self._run = run
        self._again = again
        self._measure = measure
        self._measure_fp32 = measure_fp32 or measure
        self._winograd = winograd

    def evidence(self, seen: Evidence, expected: Made, kept: Made | None = None) -> Evidence:
        """`seen` with the outcome of each trial of the candidate, measured against `expected`.

        `kept`: the expected values as 16 bits store them, where a 16-bit candidate should give these.
        The reference is checked as well: does it agree with itself?
        """
        trials = {**self._plain(), **self._repeated()}
        for name, how, spec in self._relaxed():
            right = expected if kept is None or spec.precision == "fp32" else kept
            measure = self._measure_fp32 if name == "fp32_on_device" else self._measure
            trials[name] = self._tried(how, spec, right, measure)
        trials |= self._reference_on_device(expected)
        half = self._case.half
        rounding = None
        if half is not None:
            rounding = max(
                compare(blob.rounded(half).array, blob.array, Tolerance()).scaled
                for blob in expected.values()
            )
        return replace(seen, trials=trials, rounding=rounding)

    def of_another_shape(self, seen: Evidence) -> Evidence:
        """`seen` with whether the reference agrees with itself about the shape."""
        return replace(seen, trials=self._plain())

    def _tried(self, how: str, spec: NetSpec, expected: Made, measure: Measure) -> Trial:
        try:
            metrics, _ = measure(self._run(self._nets.other(spec)), expected)
        except (StepFailed, Unavailable) as problem:
            return untried(how, problem)
        return tried(how, metrics)

    def _repeated(self) -> dict[TrialName, Trial]:
        """Whether the candidate gives other bits when it runs again; empty if it does not."""
        assert self._case.candidate is not None
        how = "the same once more, which gave other bits"
        candidate = self._nets[self._case.candidate]
        first = self._run(candidate)
        for _ in range(REPEATS):
            try:
                other = self._again(candidate)
                metrics, _ = self._measure(other, first)
            except StepFailed as problem:
                return {"repeated": untried(how, problem)}
            if any(other[blob].digest != first[blob].digest for blob in first):
                return {"repeated": tried(how, metrics)}
        return {}

    def _plain(self) -> dict[TrialName, Trial]:
        """Whether the CPU disagrees with itself when it uses its plainest kernels."""
        try:
            usual = self._run(self._nets[self._job.trajectory])
            plain = self._run(self._nets.other(plain_cpu(self._job)))
        except (StepFailed, Unavailable):  # then a case of the reference reports it
            return {}
        try:
            metrics, _ = self._measure(plain, usual)
        except StepFailed as other:
            return {"plain_cpu": Trial(WITHOUT_PLAIN, False, math.inf, problem=other.death.detail)}
        if metrics.agrees or metrics.is_rounding_of_fp32:
            return {}
        return {"plain_cpu": tried(WITHOUT_PLAIN, metrics)}

    def _reference_on_device(self, expected: Made) -> dict[TrialName, Trial]:
        """Whether a reference that runs in fp32 on a device agrees with the CPU's fp32."""
        reference = self._job.nets[self._case.reference]
        if reference.precision != "fp32":
            return {}
        if reference.device == "cpu" and reference.worker is None:
            return {}
        how = "in fp32 on the same device, against the right values"
        try:
            right = self._run(self._nets[self._job.trajectory])
            metrics, _ = self._measure_fp32(expected, right)
        except (StepFailed, Unavailable) as problem:
            return {"fp32_on_device": untried(how, problem)}
        return {"fp32_on_device": tried(how, metrics)}

    def _relaxed(self) -> Iterator[tuple[TrialName, str, NetSpec]]:
        """Name, wording and network of each relaxation of the candidate."""
        assert self._case.candidate is not None
        spec, reference = (self._job.nets[n] for n in (self._case.candidate, self._case.reference))
        if spec.precision == "fp16":
            storage = replace(spec, precision="fp16-storage", mixed=False)
            yield "without_arithmetic", "without fp16 arithmetic", storage
        if spec.precision != "fp32" or (spec.device == "cpu" and spec.worker is not None):
            plainer = replace(spec, mixed=False)
            if spec.device == "cpu":
                options = {**spec.options, "use_packing_layout": False}
                yield "without_packing", "without packing", replace(plainer, options=options)
            if self._winograd:
                options = {**spec.options, "use_winograd_convolution": False}
                yield "without_winograd", "without winograd", replace(plainer, options=options)
        fp32 = replace(spec, precision="fp32", mixed=False)
        plain = in_fp32_on_cpu(spec)
        if spec.other and plain != spec:
            yield "other_files", OTHER_FILES_ON_CPU, plain
        if spec.precision != "fp32" and fp32 != reference:
            yield "fp32_on_device", "in fp32 on the same device", fp32


def runs_plainly(job: Job, run: Callable[[NetSpec], Made]) -> dict[TrialName, Trial]:
    """Whether the CPU, with its plainest kernels, runs what it refuses otherwise."""
    try:
        run(plain_cpu(job))
    except (StepFailed, Unavailable):
        return {}
    return {"plain_cpu": Trial(WITHOUT_PLAIN, True)}


def plain_cpu(job: Job) -> NetSpec:
    """The trajectory's network with the CPU's plainest kernels."""
    spec = job.nets[job.trajectory]
    return replace(spec, options=PLAIN)


def in_fp32_on_cpu(spec: NetSpec) -> NetSpec:
    """The network of `spec` as the CPU of this machine runs it in fp32."""
    return replace(spec, precision="fp32", mixed=False, device="cpu", options={}, worker=None)


def tried(how: str, metrics: Metrics) -> Trial:
    """The result of a trial that ran."""
    return Trial(how, metrics.agrees, metrics.scaled, metrics.nan + metrics.inf)


def untried(how: str, problem: StepFailed | Unavailable) -> Trial:
    """The result of a trial that could not be run."""
    detail = f": {problem.death.detail}" if isinstance(problem, StepFailed) else ""
    return Trial(how, None, problem=f"{problem}{detail}")
