"""What fp16 cannot hold: values too large, values that become 0 and are missed, and who made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.masks import loses_fp16
from pytest_ncnn_parity.network.param import COPYING, Graph, Layer
from pytest_ncnn_parity.worker.networks.loaded import Net
from pytest_ncnn_parity.worker.networks.pool import Skip
from pytest_ncnn_parity.worker.values.blob import Blob


class Representable:
    """Follows the reference's values through the layers. One per sample.

    A candidate of None stands for any device with fp16: what the masks alone tell.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._absmax: dict[str, float] = {}  # of blobs beyond fp16's range
        self._tiny: dict[str, int] = {}  # blob -> how many of its values fp16 makes 0
        self._sensitivity: dict[object, dict[str, Any] | None] = {}

    def observe(self, made: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        for name, blob in made.items():
            if blob.overflows("fp16"):
                self._absmax[name] = blob.absmax
            if blob.tiny:
                self._tiny[name] = blob.tiny

    def has_tiny(self, layer: Layer) -> bool:
        return any(blob in self._tiny for blob in layer.outputs)

    @staticmethod
    def reads_fp16(layer: Layer, candidate: Net | None) -> bool:
        if candidate is None:
            return not loses_fp16(layer.mask)
        return candidate.execution(layer).feed == "fp16"

    @staticmethod
    def stores_fp16(layer: Layer, candidate: Net | None) -> bool:
        if layer.type == "Input":
            return False  # an input is what its readers take it for
        if candidate is None:
            return not loses_fp16(layer.mask)
        return candidate.execution(layer).storage == "fp16"

    def tiny_in_fp16(self, layer: Layer, candidate: Net | None) -> bool:
        """Whether what fp16 makes 0 is in fp16 on its way into `layer`: at its maker, or in between."""
        tiny = [blob for blob in layer.inputs if blob in self._tiny]
        makers = [m for b in tiny for m in (self._graph.producer[b], self._origin_of_underflow(b))]
        stored = any(self.stores_fp16(maker, candidate) for maker in makers)
        return bool(tiny) and (stored or self.reads_fp16(layer, candidate))

    def is_read_in_16_bits(self, layer: Layer, candidate: Net) -> bool:
        readers = (reader for blob in layer.outputs for reader in self._graph.consumers[blob])
        return any(candidate.execution(reader).feed is not None for reader in readers)

    def output(self, layer: Layer, candidate: Net | None) -> dict[str, Any] | None:
        """What fp16 cannot hold of this layer's outputs, where the candidate has it hold them."""
        for blob in layer.outputs:
            if blob not in self._absmax:
                continue
            readers = [
                f"{reader.name} ({reader.type})"
                for reader in self._graph.consumers[blob]
                if self.reads_fp16(reader, candidate)
            ]
            stored = self.stores_fp16(layer, candidate)
            if stored or readers:
                absmax = self._absmax[blob]
                return {"blob": blob, "absmax": absmax, "stored": stored, "readers": readers}
        return None

    def refuse_inputs(
        self,
        layer: Layer,
        candidate: Net | None,
        underflow: Mapping[str, Any] | None,
    ) -> None:
        """Skip a layer whose inputs fp16 cannot hold: their maker fails, this layer is innocent."""
        for blob in layer.inputs:
            if blob in self._absmax:
                origin = self._origin_of_overflow(blob, candidate)
                raise Skip(
                    f"input not representable: {blob} reaches {self._absmax[blob]:.10g} > "
                    f"{FP16_MAX:.0f}, made by {origin.name} ({origin.type}), which fails itself",
                    origin=origin.name,
                )
        if underflow is not None:
            raise Skip(
                f"input not representable: {underflow['count']} values of {underflow['blob']} "
                f"become 0 in fp16, which alone breaks this layer; made by {underflow['origin']}, "
                "which fails itself",
                origin=underflow["origin"],
            )

    def _origin_of_overflow(self, blob: str, candidate: Net | None) -> Layer:
        """The first layer upstream whose own inputs fp16 holds, or which takes them in fp32."""
        layer = self._graph.producer[blob]
        if layer.type != "Input" and self.reads_fp16(layer, candidate):
            for source in layer.inputs:
                if source in self._absmax:
                    return self._origin_of_overflow(source, candidate)
        return layer

    def _origin_of_underflow(self, blob: str) -> Layer:
        layer = self._graph.producer[blob]
        if layer.type in COPYING:
            for source in layer.inputs:
                if source in self._tiny:
                    return self._origin_of_underflow(source)
        return layer

    def underflow(
        self,
        layer: Layer,
        trajectory: Net,
        blobs: Mapping[str, Blob],
        tolerance: Mapping[str, Any],
    ) -> dict[str, Any] | None:
        """Whether inputs that fp16 makes 0 break this layer even in fp32; then which, and whose.

        Runs the layer on its inputs rounded to fp16, on the CPU in fp32, and compares with what it
        makes of them as they are. Small values are common and mostly harmless; these are not.
        """
        culprits = [blob for blob in layer.inputs if blob in self._tiny]
        if not culprits or layer.type in COPYING:
            return None
        key = (layer.number, tuple(sorted(tolerance.items(), key=str)))
        if key not in self._sensitivity:
            self._sensitivity[key] = self._run_rounded(
                layer, trajectory, blobs, Tolerance(**tolerance), culprits[0]
            )
        return self._sensitivity[key]

    def _run_rounded(
        self,
        layer: Layer,
        trajectory: Net,
        blobs: Mapping[str, Blob],
        tolerance: Tolerance,
        blob: str,
    ) -> dict[str, Any] | None:
        stored = {b: blobs[b].stored() if blobs[b].floating else blobs[b] for b in layer.inputs}
        rounded = trajectory.run_layer(layer, stored)
        for output, made in rounded.items():
            if made.array.shape != blobs[output].array.shape:
                continue  # as of what a detector finds: the case of the layer itself tells
            metrics = compare(made.array, blobs[output].array, tolerance)
            if not metrics.agrees:
                return {
                    "blob": blob,
                    "origin": self._origin_of_underflow(blob).name,
                    "count": self._tiny[blob],
                    "reader": layer.name,
                    "reader_type": layer.type,
                    "scaled": metrics.scaled,
                    "nonfinite": metrics.nan + metrics.inf,
                }
        return None
