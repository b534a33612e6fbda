"""Values beyond fp16's range: who made them, who keeps or reads them in fp16, and whether it matters.

fp16 makes such a value inf. That is a fault of its maker where a reader is wrong with it, and none where
every reader is right: a mask of -1e9 in front of a Softmax, a Sigmoid or a Clip behind. Whether it is
one is known only when the readers have run, so results upstream are held until then.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Unrepresentable
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import COPYING, Layer
from pytest_ncnn_parity.network.masks import loses_fp16
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge.apart import Apart
from pytest_ncnn_parity.worker.judge.reference import Reference
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob


def reads_fp16(layer: Layer, candidate: Net | None) -> bool:
    """Whether `layer` takes its inputs in fp16. Without a candidate: what its mask alone says."""
    if candidate is None:
        return not loses_fp16(layer.mask)
    return candidate.execution(layer).feed == "fp16"


def stores_fp16(layer: Layer, candidate: Net | None) -> bool:
    """Whether `layer` keeps its outputs in fp16. Without a candidate: what its mask alone says."""
    if layer.type == "Input":
        return False  # an input is what its readers take it for
    if candidate is None:
        return not loses_fp16(layer.mask)
    return candidate.execution(layer).storage == "fp16"


class Fp16Range:
    """Follows the reference's values that fp16 cannot hold through the layers. One per sample."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._apart = Apart(reference)
        self._absmax: dict[str, float] = {}  # of blobs beyond fp16's range
        self._right: dict[
            tuple[int, Tolerance, bool], bool
        ] = {}  # by layer: right with what fp16 makes of them
        self._held: dict[str, Result] = {}  # by case, what its result is if the values do no harm

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        for name, blob in values.items():
            if blob.overflows("fp16"):
                self._absmax[name] = blob.absmax

    def is_read_in_16_bits(self, layer: Layer, candidate: Net) -> bool:
        readers = (reader for blob in layer.outputs for reader in self._reference.graph.consumers[blob])
        return any(candidate.execution(reader).feed is not None for reader in readers)

    def of_outputs(self, layer: Layer, candidate: Net | None) -> Unrepresentable | None:
        """What fp16 cannot hold of this layer's outputs, where the candidate has it hold them."""
        for blob in layer.outputs:
            if blob not in self._absmax:
                continue
            readers = tuple(
                f"{reader.name} ({reader.type})"
                for reader in self._reference.graph.consumers[blob]
                if reads_fp16(reader, candidate)
            )
            stored = stores_fp16(layer, candidate)
            if stored or readers:
                return Unrepresentable(blob, self._absmax[blob], stored, readers)
        return None

    def near(self, layer: Layer, limit: float) -> Unrepresentable | None:
        """The largest of this layer's outputs from `limit` on, where its mask has fp16 hold it."""
        largest = max(layer.outputs, key=lambda blob: self._reference.blobs[blob].absmax, default=None)
        if largest is None or self._reference.blobs[largest].absmax < limit:
            return None
        names = tuple(
            f"{reader.name} ({reader.type})"
            for reader in self._reference.graph.consumers[largest]
            if reads_fp16(reader, None)
        )
        stored = stores_fp16(layer, None)
        if not (stored or names):
            return None
        return Unrepresentable(largest, self._reference.blobs[largest].absmax, stored, names)

    def reads_beyond(self, layer: Layer) -> bool:
        """Whether an input of `layer` is beyond fp16."""
        return any(blob in self._absmax for blob in layer.inputs)

    def refuse_inputs(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Skip a layer that is wrong with what fp16 makes of its inputs: their maker fails."""
        if self.reads_beyond(layer) and not self._is_right(comparison, layer, candidate):
            raise self._skip(comparison, layer, candidate)

    def _skip(self, comparison: str, layer: Layer, candidate: Net | None) -> Skip:
        beyond = [blob for blob in layer.inputs if blob in self._absmax]
        guilty = self._apart.guilty(comparison, layer)
        blob = next((blob for blob in beyond if blob in guilty), beyond[0])
        origin = self._origin(blob, candidate)
        return Skip(
            f"input not representable: > {FP16_MAX:.0f}, made by {origin.name} ({origin.type}), which "
            "fails itself",
            Evidence(origin=origin.name),
        )

    def _origin(self, blob: str, candidate: Net | None) -> Layer:
        """The first layer upstream whose own inputs fp16 holds, or which takes them in fp32."""
        layer = self._reference.graph.producer[blob]
        if layer.type != "Input" and reads_fp16(layer, candidate):
            for source in layer.inputs:
                if source in self._absmax:
                    return self._origin(source, candidate)
        return layer

    # -- whether it matters ----------------------------------------------------------------------

    def look(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Find out, while its inputs are there, whether `layer` is right with them in fp16."""
        self._apart.look(comparison, layer)
        if self.reads_beyond(layer) and layer.type not in COPYING:
            self._is_right(comparison, layer, candidate)

    def _is_right(self, comparison: str, layer: Layer, candidate: Net | None) -> bool:
        """Whether `layer` in fp32 makes the right thing of its inputs as fp16 holds them.

        Where the layer keeps its outputs in fp16, as fp16 holds them: so -1e9 + x is right as -inf, for
        both are -inf there; rsqrt(inf) is 0 and wrong.
        """
        if layer.type in COPYING:
            return True
        key = self._key(comparison, layer, candidate)
        if key not in self._right:
            self._right[key] = self._measured(layer, *key[1:])
        if self._reference.has_all_of(layer):
            self._apart.meet(comparison, layer, (blob for blob in layer.inputs if blob in self._absmax))
        return self._right[key]

    def _key(self, comparison: str, layer: Layer, candidate: Net | None) -> tuple[int, Tolerance, bool]:
        return layer.number, self._reference.tolerance(comparison, layer), stores_fp16(layer, candidate)

    def _measured(self, layer: Layer, tolerance: Tolerance, kept_in_fp16: bool) -> bool:
        if not self._reference.has_all_of(layer):
            return False
        values = {blob: self._reference.blobs[blob] for blob in layer.inputs}
        stored = {blob: v.stored() if v.floating else v for blob, v in values.items()}
        try:
            outputs = self._reference.run(layer, stored)
        except StepFailed:
            return False
        for blob, output in outputs.items():
            value, expected = output, self._reference.blobs[blob]
            if not value.floating or value.array.shape != expected.array.shape:
                return False
            if kept_in_fp16:
                value, expected = value.stored(), expected.stored()
            if not compare(value.array, expected.array, tolerance).agrees:
                return False
        return True

    def _does_harm(
        self, comparison: str, blob: str, candidate: Net | None, was_stored: bool = False
    ) -> bool:
        """Whether somebody is wrong, near or far, with what fp16 makes of `blob`.

        `was_stored`: it is a copy of what was in fp16 already, wherever the copy is kept.
        """
        stored = was_stored or stores_fp16(self._reference.graph.producer[blob], candidate)
        readers = self._reference.graph.consumers[blob]
        if not readers:
            return True  # it is an output of the network
        return any(
            self._breaks(comparison, blob, reader, candidate, stored)
            for reader in readers
            if stored or reads_fp16(reader, candidate)
        )

    def _breaks(
        self, comparison: str, blob: str, reader: Layer, candidate: Net | None, stored: bool
    ) -> bool:
        was_stored = False
        if reader.type in COPYING:
            was_stored = stored or reads_fp16(reader, candidate)
        else:
            right = self._right.get(self._key(comparison, reader, candidate), False)
            if self._apart.clears(comparison, reader, blob, right):
                return False
            if not right:
                return True
        beyond = (output for output in reader.outputs if output in self._absmax)
        return any(self._does_harm(comparison, output, candidate, was_stored) for output in beyond)

    def hold(self, case: CaseSpec, otherwise: Result) -> None:
        """Keep for `settled` the result that `case` has if what fp16 cannot hold does no harm."""
        self._held[case.id] = otherwise

    def waits(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether the result of `case` depends on what readers further down make of its values."""
        return case.id in self._held or (case.half == "fp16" and self.reads_beyond(layer))

    def settled(self, case: CaseSpec, layer: Layer, result: Result, candidate: Net | None) -> Result:
        """`result`, now that all readers have run."""
        if case.id in self._held:
            beyond = [blob for blob in layer.outputs if blob in self._absmax]
            if not any(self._does_harm(case.comparison, blob, candidate) for blob in beyond):
                result = self._held[case.id]
        harmful = [
            blob
            for blob in layer.inputs
            if blob in self._absmax and self._does_harm(case.comparison, blob, candidate)
        ]
        if harmful and result.outcome != "skipped" and reads_fp16(layer, candidate):
            skip = self._skip(case.comparison, layer, candidate)
            return Result(case.id, "skipped", reason=str(skip), evidence=skip.evidence)
        return result
