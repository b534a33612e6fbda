"""Runs the current layer once in each network, and holds the outputs for all comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.engine.protocol import CaseSpec, NetSpec
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.ieee import corrected
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.recalled import RecalledTrajectory


class LayerRuns:
    """The outputs of the current layer in each network, or how it failed there.

    `blobs`: the trajectory's values, which layers are fed with. `recalled` gives these values in a
    trial of a search.
    """

    def __init__(self, sample: SampleRun, blobs: Made, recalled: RecalledTrajectory | None) -> None:
        self._sample = sample
        self._blobs = blobs
        self._recalled = recalled
        self._known: dict[tuple[NetSpec, str | None], Made | StepFailed] = {}

    def run(self, net: Net, layer: Layer, feed: str | None) -> Made:
        """Return `layer`'s outputs in `net`, fed with values rounded to `feed`. Raises StepFailed."""
        key = (net.spec, feed)
        if key not in self._known:
            try:
                self._known[key] = self._made(net, layer, feed)
            except StepFailed as failed:
                self._known[key] = failed
        outputs = self._known[key]
        if isinstance(outputs, StepFailed):
            raise outputs.with_traceback(None)
        return outputs

    def expected(self, reference: Net, candidate: Net, layer: Layer, feed: str | None) -> Made:
        """Return the outputs that the candidate should give; of folded layers, run all of them.

        If inputs are rounded, it matters whether those of the first or of the last of them are.
        """
        at = candidate.counterpart(layer)
        if at is None or feed is None or len(at.replaced) < 2:
            return self.run(reference, layer, feed)
        inner = {blob for one in at.replaced for blob in one.outputs}
        read = {blob for one in at.replaced for blob in one.inputs} - inner
        if not read <= self._blobs.keys():
            return self.run(reference, layer, feed)
        values = {blob: self._blobs[blob].rounded(feed) for blob in read}
        for one in at.replaced:
            values.update(reference.run_layer(one, values, on="changed"))
        return {blob: values[blob] for blob in layer.outputs}

    def makes_nan_by_the_cast(self, net: Net, layer: Layer, feed: str | None) -> bool:
        """Whether `net` makes nan of inputs rounded to `feed` only because ncnn's cast makes values 0.

        The scalar code after its SIMD loop does so with subnormals (src/mat.h, float32_to_float16), as
        with an epsilon of 1e-5 beside a dividend of 0. Kernels keep them in 16 bits.
        """
        values = {blob: self._blobs[blob] for blob in layer.inputs}
        if feed != "fp16" or not any(value.floating and value.flushed for value in values.values()):
            return False
        kept = {b: value.stored() if value.floating else value for b, value in values.items()}
        try:
            outputs = net.run_layer(layer, kept, on="changed")
        except StepFailed:
            return False
        return not any(value.nan for value in outputs.values())

    def _made(self, net: Net, layer: Layer, feed: str | None) -> Made:
        job, nets, blobs = self._sample.job, self._sample.nets, self._blobs
        if feed is None and net.spec == job.nets[job.trajectory]:
            if self._recalled is not None:
                return self._recalled.outputs(layer)
            return nets.in_trajectory(layer, lambda: net.run_layer(layer, blobs))
        outputs = net.run_layer(layer, blobs, feed)
        if net.counterpart(layer) is not None:
            # a global Pooling, and one whose window is as large as its input, give the same values
            outputs = {blob: value.in_shape(blobs[blob].shape) for blob, value in outputs.items()}
        if feed is None or net.setup != CPU_FP32:
            return outputs
        fed = {blob: blobs[blob].rounded(feed) for blob in layer.inputs}
        return corrected(layer, fed, outputs, partial(net.run_layer, on="changed"))

    def forget(self, layer: Layer, waiting: Iterable[CaseSpec]) -> None:
        """Drop the outputs that no case in `waiting` needs: they set the peak of memory use."""
        wanted = set()
        for case in waiting:
            if case.candidate is not None:
                with suppress(StepFailed, Unavailable):
                    feed = self._sample.nets[case.candidate].execution(layer).feed
                    numbers = (case.reference, case.candidate, self._sample.job.trajectory)
                    wanted |= {(self._sample.job.nets[number], feed) for number in numbers}
        self._known = {key: outputs for key, outputs in self._known.items() if key in wanted}

    def clear(self) -> None:
        """Drop all outputs, before the next layer is run."""
        self._known.clear()
