"""Chooses how a value is compared by what is known of it: scale, parts, integers, detections."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.detections import match
from pytest_ncnn_parity.compare.int8 import with_steps_forgiven
from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.compare.scales import scale_of
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.detectors import SCORES_EACH_BOX, thresholds
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.natural_scale import Largest, natural_scales
from pytest_ncnn_parity.network.parts import Parts
from pytest_ncnn_parity.worker.failures import StepFailed, failed
from pytest_ncnn_parity.worker.judge.gates import Gates
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class Natures:
    """What is known about the values of one network. `run` runs one of its layers in fp32 on the CPU.

    `all_boxes` gives everything that a detector finds, including boxes that overlap a better one, and
    `largest` the largest absolute value of a MemoryData.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Iterable[str] | None,
        run: Callable[[Layer, Made], Made],
        all_boxes: Callable[[Layer], Array],
        largest: Largest,
    ) -> None:
        self._graph = graph
        self._all_boxes = all_boxes
        self._unsuppressed: dict[str, Array | None] = {}
        self._run = run
        self._batches: set[str] = set()  # blobs that are batches
        self._scales = natural_scales(graph, largest)
        self._parts = Parts(graph, outputs, self._scales)
        self._gates = Gates(graph, graph.outputs if outputs is None else outputs, run, self._scales)

    @property
    def layers(self) -> set[int]:
        """Numbers of the layers that must be stepped so that the parts of their outputs are known."""
        return self._parts.layers | self._gates.layers

    def follow(self, layer: Layer, blobs: Made) -> None:
        """Take note of what `layer` computed, which is in `blobs` with its inputs unless it failed."""
        names = (*layer.inputs, *layer.outputs)
        batches = [blob for blob in names if blob in blobs and blobs[blob].batch]
        if batches:
            self._batches.update(batches)
            return
        if any(blob not in blobs for blob in names):
            return  # the layer failed, or an input of it is lost
        self._gates.follow(layer, blobs)
        if layer.number not in self._parts.layers:
            return

        def copy(labels: Mapping[str, Array]) -> Mapping[str, Array]:
            values = {blob: blobs[blob] for blob in layer.inputs}
            values |= {blob: Blob.of(array) for blob, array in labels.items()}
            try:
                return {blob: value.array for blob, value in self._run(layer, values).items()}
            # the layer does not run on labels, so the parts of its outputs are unknown
            except StepFailed:
                return {}

        self._parts.follow(layer, {blob: blobs[blob].shape for blob in names}, copy)

    def worst(
        self,
        outputs: Mapping[str, Blob],
        expected: Mapping[str, Blob],
        tolerance: Tolerance,
        whole: bool,
    ) -> tuple[Metrics, str]:
        """The metrics and the name of the blob that agrees least. StepFailed if a shape differs.

        `whole`: they are outputs of a run of the whole network, not of one layer.
        """
        measured = []
        for blob, reference in expected.items():
            output = outputs[blob]
            if reference.batch:
                self._batches.add(blob)
            metrics = self.compare(blob, output.array, reference.array, tolerance, whole)
            if reference.int8 and output.int8:
                metrics = with_steps_forgiven(metrics, output.array, reference.array, tolerance)
            measured.append((metrics, blob))
        return max(measured, key=badness)

    def compare(
        self, blob: str, candidate: Array, reference: Array, tolerance: Tolerance, whole: bool
    ) -> Metrics:
        """The metrics of one blob. Detections are matched, however many rows each side has."""
        kept = thresholds(self._graph.producer[blob])
        if kept is not None:
            matched = match(candidate, reference, tolerance, kept).metrics
            found = None if matched.agrees or not whole else self._found(blob)
            return (
                matched if found is None else match(candidate, reference, tolerance, kept, found).metrics
            )
        if candidate.shape != reference.shape:
            detail = f"shape {candidate.shape}, the reference's is {reference.shape}"
            raise failed(Step("compare", name=blob), "shape", detail)
        nature = self._nature(blob, reference)
        metrics = judge(candidate, reference, tolerance, nature, whole)
        gate = None if metrics.agrees else self._gate(blob, reference, whole)
        if gate is None:
            return metrics
        return judge(candidate, reference, tolerance, replace(nature, gate=gate), whole)

    def _nature(self, blob: str, reference: Array) -> Nature:
        """What is known of a value; of a batch, no more than what holds for each of its elements."""
        if blob not in self._batches:
            return self._parts.nature(blob, reference.ndim)
        scale = self._scales.get(blob)
        return Nature() if scale is None else Nature(scale.unit)

    def _found(self, blob: str) -> Array | None:
        """All boxes that the detector of `blob` finds in the reference.

        None if it cannot be run, or does not say which of them has which score.
        """
        detector = self._graph.producer[blob]
        if detector.type not in SCORES_EACH_BOX:
            return None
        if blob not in self._unsuppressed:
            try:
                self._unsuppressed[blob] = self._all_boxes(detector)
            except StepFailed:
                self._unsuppressed[blob] = None
        return self._unsuppressed[blob]

    def threshold_decides(
        self, blob: str, candidate: Array, reference: Array, tolerance: Tolerance
    ) -> bool:
        """Whether two lists of detections differ only by rows that lie at a threshold."""
        kept = thresholds(self._graph.producer[blob])
        return kept is not None and match(candidate, reference, tolerance, kept).thresholds_decide

    def is_natural(self, blob: str) -> bool:
        """Whether `blob` has a natural scale, as probabilities have."""
        return blob in self._scales

    def is_listed(self, blob: str) -> bool:
        """Whether `blob` is a list of detections."""
        return thresholds(self._graph.producer[blob]) is not None

    def scale(self, blob: str, reference: Array, tolerance: Tolerance, whole: bool) -> Scale:
        """The scale by which errors of a value are measured; `whole` as in `worst`."""
        nature = self._nature(blob, reference)
        nature = replace(nature, gate=self._gate(blob, reference, whole))
        return scale_of(reference, nature, tolerance.scaled, whole)

    def scale_to_the_end(self, blob: str, reference: Array, tolerance: Tolerance) -> Scale | None:
        """The scale of a layer's output, if it holds for all that is computed from it; otherwise None.

        A probability that becomes 0 is no error, unless its logarithm is taken.
        """
        if blob not in self._natural_to_the_end:
            return None
        return self.scale(blob, reference, tolerance, whole=False)

    @cached_property
    def _natural_to_the_end(self) -> Container[str]:
        """The blobs that have a natural scale, as has all that is computed from them."""
        found = set[str]()
        for layer in reversed(self._graph.layers):
            for blob in layer.outputs:
                made = (made for reader in self._graph.consumers[blob] for made in reader.outputs)
                if blob in self._scales and all(one in found for one in made):
                    found.add(blob)
        return found

    def _gate(self, blob: str, reference: Array, whole: bool) -> Array | None:
        """The unit of each element of a gated value; None unless `reference` has its shape."""
        unit = self._gates.unit(blob, whole)
        return unit if unit is not None and unit.shape == reference.shape else None


def badness(measured: tuple[Metrics, str]) -> tuple[bool, float]:
    """A key that orders metrics by how badly they agree; the worst is the largest."""
    metrics, _ = measured
    return not metrics.agrees, metrics.used
