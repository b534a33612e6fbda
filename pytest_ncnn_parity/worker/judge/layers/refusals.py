"""Layer cases that are not judged: there is nothing to compare, or another layer is at fault."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from pytest_ncnn_parity.engine.evidence import Distrust, Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import Skip
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.cut_short import CutShort
from pytest_ncnn_parity.worker.judge.not_finite import NotFinite
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.judge.shape_faults import ShapeFaults
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.plain_shapes import gives_another_shape
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import Chain


class Refusals:
    """Refuses cases of the layer that the trajectory has just run, or failed to run."""

    def __init__(
        self,
        sample: SampleRun,
        trajectory: Chain,
        shape_faults: ShapeFaults,
        not_finite: NotFinite,
        red: Container[tuple[str, int]],
    ) -> None:
        """`red`: the layers that have failed so far, by comparison and number."""
        self._sample = sample
        self._trajectory = trajectory
        self._shape_faults = shape_faults
        self._not_finite = not_finite
        self._red = red
        self._cut_short = CutShort(sample)
        self._distrust: dict[int, Distrust | None] = {}  # by layer, of those that were asked about

    def of(self, case: CaseSpec, layer: Layer) -> Result | None:
        """Return the result of `case` if the reference refuses `layer`; None if it can be judged.

        Raises Skip or StepFailed if there are no values to judge it by.
        """
        self._shape_faults.refuse_lost(case, layer.outputs)
        if refused := self._refused(case, layer):
            return refused
        self._lost(layer)
        self._not_finite.refuse_behind_broken(layer)
        if layer.number not in self._distrust:
            self._distrust[layer.number] = self._wrong_in_shape(layer)
        if distrust := self._distrust[layer.number]:
            return Result(case.id, "failed", evidence=Evidence(distrust=distrust))
        blobs = self._trajectory.blobs
        self._not_finite.refuse_empty(layer, {blob: blobs[blob] for blob in layer.outputs})
        return None

    def _refused(self, case: CaseSpec, layer: Layer) -> Result | None:
        lost = self._trajectory.lost
        own = next((lost[blob] for blob in layer.outputs if blob in lost), None)
        if own is None or own.step.layer != layer.number or own.death.kind != "refused":
            return None
        evidence = Evidence(death=own.death)
        if self._sample.job.probe:
            nets, blobs = self._sample.nets, self._trajectory.blobs
            trials = probes.runs_plainly(
                self._sample.job, lambda spec: nets.other(spec).run_layer(layer, blobs)
            )
            evidence = replace(evidence, trials=trials)
        return Result(case.id, "failed", evidence=evidence)

    def _wrong_in_shape(self, layer: Layer) -> Distrust | None:
        """Why the reference is not trusted where it gives `layer` a shape that plain kernels do not."""
        blobs, nets = self._trajectory.blobs, self._sample.nets

        def run_plainly() -> Made:
            return nets.other(probes.plain_cpu(self._sample.job)).run_layer(layer, blobs)

        wrong = gives_another_shape(layer, blobs, blobs, run_plainly)
        return Distrust(layer.name, layer.type, "shape") if wrong else None

    def _lost(self, layer: Layer) -> None:
        """Raise the failure of the trajectory at `layer` or before it, Skip if a case reports that."""
        lost, nets = self._trajectory.lost, self._sample.nets
        for blob in layer.inputs:
            if blob in lost:
                nets.refuse(lost[blob], f"the reference has no input for it: {lost[blob].step} failed")
        for blob in layer.outputs:
            if blob in lost:
                raise lost[blob].with_traceback(None)

    def hints(self, case: CaseSpec, layer: Layer, nets: tuple[Net, Net]) -> None:
        """Raise the reason if one of `nets` would compute `layer` for another shape."""
        if any(self._shape_faults.of_hint(net, layer) for net in nets):
            self._shape_faults.refuse_hints(case, layer.outputs, nets)

    def poisoned(self, layer: Layer) -> None:
        """Raise Skip if `layer` reads nan."""
        self._not_finite.refuse_poisoned(layer)

    def cut_short(self, layer: Layer, pair: tuple[Net, Net]) -> None:
        """Raise Skip if `layer` differs because llvmpipe, in one of `pair`, ends its loops too early."""
        self._cut_short.refuse([layer], pair)

    def behind_red(self, case: CaseSpec, layer: Layer, pair: tuple[Net, Net]) -> None:
        """Raise Skip if a red layer runs again in front of `layer`: its fault is in the output then."""
        for net in pair:
            for maker in self._sample.nets.run_before(net, layer, self._trajectory.blobs):
                if (case.comparison, maker.number) in self._red:
                    raise Skip(
                        f"its int8 input cannot be fed on {net.label}: {maker.name} ({maker.type}) "
                        "makes it there, which fails itself",
                        Evidence(origin=maker.name),
                    )
