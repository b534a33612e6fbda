"""Values of a candidate that are not what fp16 makes of the reference's, and harm nobody all the same.

Where a reference value is beyond fp16, a sum or a factor on the way to its neighbours may be as well: a
layer that multiplies by 1e6 makes inf of 40,000 too. In front of a Clip or a Sigmoid that is no fault.
Whether it is one, the readers say: they are run on the candidate's own values.
"""

from __future__ import annotations

from dataclasses import replace

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Made

HANDED_ON = frozenset({"Split", "Noop", "Dropout"})  # as they are


class OwnValues:
    """Follows such values to their readers, copies of them too. One per sample."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._own: dict[str, Made] = {}  # by comparison
        self._right: set[tuple[str, int]] = set()  # readers that are right, by comparison and number

    def keep(self, case: CaseSpec, outputs: Made) -> None:
        """Take note of what the candidate made in `case`, whose result waits for the readers."""
        self._own.setdefault(case.comparison, {}).update(outputs)

    def look(self, layer: Layer) -> None:
        """Find out, while its inputs are there, whether `layer` is right with such values."""
        for comparison, own in self._own.items():
            read = own.keys() & set(layer.inputs)
            if not read:
                continue
            if layer.type in HANDED_ON:
                own.update(dict.fromkeys(layer.outputs, own[layer.inputs[0]]))
            elif self._is_right(layer, own, self._reference.tolerance(comparison, layer)):
                self._right.add((comparison, layer.number))

    def _is_right(self, layer: Layer, own: Made, tolerance: Tolerance) -> bool:
        if not self._reference.has_all_of(layer):
            return False
        values = {blob: own.get(blob, self._reference.blobs[blob]) for blob in layer.inputs}
        try:
            outputs = self._reference.run(layer, values)
        except StepFailed:
            return False
        expected = {blob: self._reference.blobs[blob] for blob in layer.outputs}
        return all(
            outputs[blob].array.shape == value.array.shape
            and compare(outputs[blob].array, value.array, tolerance).agrees
            for blob, value in expected.items()
        )

    def settled(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        """`result`, now that all readers have run: passed where each of them is right."""
        kept = self._own.get(case.comparison, {})
        metrics, evidence = result.metrics, result.evidence
        if result.outcome != "failed" or metrics is None or any(b not in kept for b in layer.outputs):
            return result
        if evidence.unrepresentable is not None or evidence.misread or evidence.reference_nan:
            return result
        if not all(self._is_harmless(case.comparison, blob) for blob in layer.outputs):
            return result
        forgiven = (
            f"{metrics.mismatched} of {metrics.total} elements are off, and no reader is wrong for it"
        )
        metrics = replace(metrics, agrees=True, used=1.0, failed=(), forgiven=forgiven)
        return Result(case.id, "passed", metrics, evidence=replace(evidence, trials={}))

    def _is_harmless(self, comparison: str, blob: str) -> bool:
        """Whether `blob` has readers, and all of them, those of copies too, are right."""
        readers = self._reference.graph.consumers[blob]
        return bool(readers) and all(
            all(self._is_harmless(comparison, copy) for copy in reader.outputs)
            if reader.type in HANDED_ON
            else (comparison, reader.number) in self._right
            for reader in readers
        )
