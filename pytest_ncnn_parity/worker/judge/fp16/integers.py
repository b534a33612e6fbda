"""Tracks values that hold integers, and what becomes of them where Vulkan stores them in 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ncnn

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.evidence import Evidence, Integers
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.integers import (
    BITS,
    copying_integers,
    integer_reader,
    integers,
)
from pytest_ncnn_parity.network.masks import NO_VULKAN
from pytest_ncnn_parity.worker.failures import LASTING, Skip
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class HeldIntegers:
    """Which values of a network are integers."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._held_as = integers(graph)
        self._copying = copying_integers(graph)

    def others(self, values: Mapping[str, Blob]) -> Made:
        """Those of `values` that are not integers."""
        return {blob: value for blob, value in values.items() if blob not in self._held_as}

    def makes(self, layer: Layer) -> bool:
        """Whether all outputs of `layer` are integers."""
        return bool(layer.outputs) and all(blob in self._held_as for blob in layer.outputs)

    def feed(self, layer: Layer, feed: str | None) -> str | None:
        """The inputs of `layer` with integers unrounded: what 16 bits lose of them is its fault."""
        return None if layer.number in self._copying else feed

    def of(self, layer: Layer, blob: str) -> Integers | None:
        """What is known of `blob`, an output of `layer`; None unless it is a copy of integers."""
        if layer.number not in self._copying:
            return None
        words = integer_reader(self._graph, blob)
        return Integers(self._held_as[blob], None if words is None else f"{words.name} ({words.type})")

    def in_range(
        self,
        case: CaseSpec,
        layer: Layer,
        values: Mapping[str, Blob],
        measure: Callable[[Made, Made], tuple[Metrics, str]],
    ) -> Result:
        """Without a candidate: what 16-bit storage on Vulkan makes of integers that `layer` copies."""
        assert case.half is not None
        # ncnn reports whether an operator has a Vulkan kernel, with or without a device
        if layer.number not in self._copying or not ncnn.create_layer(layer.type).support_vulkan:
            raise Skip("holds integers, which stay as they are", LASTING)
        if layer.mask & NO_VULKAN:
            masked = f"masked with 31={layer.mask}"
            raise Skip(f"holds integers; {masked}: they stay as they are", LASTING)
        expected = {blob: values[blob] for blob in layer.outputs}
        stored = {blob: self._stored(blob, value, case.half) for blob, value in expected.items()}
        metrics, blob = measure(stored, expected)
        evidence = Evidence(
            mask=layer.mask,
            predicted=True,
            blob=blob,
            shape=expected[blob].shape,
            integers=self.of(layer, blob),
        )
        return Result(case.id, "passed" if metrics.agrees else "failed", metrics, None, evidence)

    def _stored(self, blob: str, value: Blob, half: str) -> Blob:
        return value.stored_as_floats(half) if self._held_as[blob] == BITS else value.rounded(half)
