"""Values beyond fp16's range: who made them, who keeps or reads them in fp16, and who is innocent."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.engine.evidence import Evidence, Unrepresentable
from pytest_ncnn_parity.network.masks import loses_fp16
from pytest_ncnn_parity.network.param import Graph, Layer
from pytest_ncnn_parity.worker.failures import Skip
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

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._absmax: dict[str, float] = {}  # of blobs beyond fp16's range

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        for name, blob in values.items():
            if blob.overflows("fp16"):
                self._absmax[name] = blob.absmax

    def is_read_in_16_bits(self, layer: Layer, candidate: Net) -> bool:
        readers = (reader for blob in layer.outputs for reader in self._graph.consumers[blob])
        return any(candidate.execution(reader).feed is not None for reader in readers)

    def of_outputs(self, layer: Layer, candidate: Net | None) -> Unrepresentable | None:
        """What fp16 cannot hold of this layer's outputs, where the candidate has it hold them."""
        for blob in layer.outputs:
            if blob not in self._absmax:
                continue
            readers = tuple(
                f"{reader.name} ({reader.type})"
                for reader in self._graph.consumers[blob]
                if reads_fp16(reader, candidate)
            )
            stored = stores_fp16(layer, candidate)
            if stored or readers:
                return Unrepresentable(blob, self._absmax[blob], stored, readers)
        return None

    def refuse_inputs(self, layer: Layer, candidate: Net | None) -> None:
        """Skip a layer whose inputs fp16 cannot hold: their maker fails, this layer is innocent."""
        for blob in layer.inputs:
            if blob in self._absmax:
                origin = self._origin(blob, candidate)
                raise Skip(
                    f"input not representable: {blob} reaches {self._absmax[blob]:.10g} > "
                    f"{FP16_MAX:.0f}, made by {origin.name} ({origin.type}), which fails itself",
                    Evidence(origin=origin.name),
                )

    def _origin(self, blob: str, candidate: Net | None) -> Layer:
        """The first layer upstream whose own inputs fp16 holds, or which takes them in fp32."""
        layer = self._graph.producer[blob]
        if layer.type != "Input" and reads_fp16(layer, candidate):
            for source in layer.inputs:
                if source in self._absmax:
                    return self._origin(source, candidate)
        return layer
