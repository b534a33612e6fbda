"""Whether a layer's values are in fp16: where they are read, where they are stored, or on the way.

A candidate says how it runs a layer; for a prediction, which has none, the layer's mask alone decides.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, has_no_fp16_kernel, stays_in_fp32
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.networks.execution import Net


def reads_fp16(layer: Layer, candidate: Net | None) -> bool:
    """Whether `layer` takes its inputs in fp16."""
    if candidate is None:
        return not stays_in_fp32(layer.mask)
    return candidate.execution(layer).feed == "fp16"


def stores_fp16(layer: Layer, candidate: Net | None) -> bool:
    """Whether `layer` stores its outputs in fp16."""
    if layer.type == "Input":
        return False  # the readers of an input decide what it is
    if candidate is None:
        return not stays_in_fp32(layer.mask)
    return candidate.execution(layer).storage == "fp16"


def computes_in_fp16(layer: Layer, candidate: Net | None) -> bool:
    """Whether `layer` runs on Vulkan in fp16 arithmetic."""
    if candidate is None:
        return not (has_no_fp16_kernel(layer.mask) or layer.mask & NO_FP16_ARITHMETIC)
    execution = candidate.execution(layer)
    return execution.where == "vulkan" and execution.arithmetic == "fp16"


def was_in_fp16(graph: Graph, blob: str, reader: Layer, candidate: Net | None) -> bool:
    """Whether `blob` was in fp16 where it was made, where `reader` reads it, or where it was copied."""
    on_the_way, seen = [(blob, reader)], {reader.number}
    while on_the_way:
        blob, reader = on_the_way.pop()
        maker = graph.producer[blob]
        if reads_fp16(reader, candidate) or stores_fp16(maker, candidate):
            return True
        if copies(maker) and maker.number not in seen:
            seen.add(maker.number)
            on_the_way += [(source, maker) for source in maker.inputs]
    return False
