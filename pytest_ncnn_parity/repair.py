"""Causes -> masks to try. Pure: it proposes, somebody else runs and judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_ncnn_parity.param import (
    COPYING,
    NO_FP16_ARITHMETIC,
    NO_FP16_STORAGE,
    NO_VULKAN,
    Graph,
    Layer,
)
from pytest_ncnn_parity.tolerance import FP16_OVERFLOW

REGION = NO_VULKAN | NO_FP16_STORAGE  # 18: in fp32 on the CPU, on any host
CURABLE = frozenset({"storage-overflow", "accumulator-overflow", "underflow", "unsafe-mask", "nan"})


@dataclass(frozen=True)
class Fault:
    """A red layer: what a mask must cure."""

    layer: Layer
    cause: str
    without_arithmetic: bool = False  # right once fp16 arithmetic is off
    reader: str | None = None  # for underflow: the layer that breaks

    @property
    def curable(self) -> bool:
        return self.cause in CURABLE or self.without_arithmetic


@dataclass(frozen=True)
class Range:
    """What a blob holds over all samples: its largest magnitude, and how many values fp16 zeroes."""

    absmax: float
    tiny: int


@dataclass(frozen=True)
class Proposal:
    """Masks by layer name, and the reasoning that led to them."""

    masks: Mapping[str, int]
    why: str


def proposals(graph: Graph, faults: Sequence[Fault], ranges: Mapping[str, Range]) -> Iterator[Proposal]:
    """Sets of masks worth a run, the likeliest and smallest first."""
    masks: dict[str, int] = {}
    for fault in faults:
        if fault.cause == "unsafe-mask":
            _add(masks, fault.layer, NO_VULKAN)
        elif fault.without_arithmetic and fault.cause != "storage-overflow":
            _add(masks, fault.layer, NO_FP16_ARITHMETIC)
    for layer in _region(graph, faults, ranges):
        _add(masks, layer, REGION)
    if not masks:
        return
    yield Proposal(masks, "closed over every reader of a value that fp16 cannot hold")
    seen = [dict(masks)]
    for hops in (1, 2):
        masks = dict(masks)
        for layer in _neighbours(graph, masks):
            _add(masks, layer, REGION)
        if masks not in seen:
            seen.append(dict(masks))
            yield Proposal(masks, f"the region and what lies {hops} layers around it")


def _add(masks: dict[str, int], layer: Layer, mask: int) -> None:
    masks[layer.name] = masks.get(layer.name, layer.mask) | mask


def _region(graph: Graph, faults: Sequence[Fault], ranges: Mapping[str, Range]) -> list[Layer]:
    """The layers that must stay out of fp16: makers and readers of what it cannot hold.

    An upload casts by the network's options and not by the layer's mask, so a mask on the maker
    alone leaves its value to overflow on the way to its reader.
    """
    chosen: dict[int, Layer] = {}

    def choose(layer: Layer) -> None:
        if layer.type != "Input":
            chosen[layer.number] = layer

    if any(fault.cause in ("storage-overflow", "nan") for fault in faults):
        for blob, found in ranges.items():
            if found.absmax >= FP16_OVERFLOW:
                choose(graph.producer[blob])
                for reader in graph.consumers[blob]:
                    choose(reader)
    for fault in faults:
        if fault.cause == "storage-overflow" or (fault.cause == "nan" and not fault.without_arithmetic):
            choose(fault.layer)
        if fault.cause == "underflow":
            choose(fault.layer)
            for layer in _down_to(graph, fault.layer, fault.reader):
                choose(layer)
    return [chosen[number] for number in sorted(chosen)]


def _down_to(graph: Graph, maker: Layer, reader: str | None) -> Iterator[Layer]:
    """The readers of `maker`'s values, through copies; those that compute only if named `reader`."""
    for blob in maker.outputs:
        for layer in graph.consumers[blob]:
            if layer.type in COPYING:
                behind = list(_down_to(graph, layer, reader))
                if behind:
                    yield layer
                    yield from behind
            elif reader is None or layer.name == reader:
                yield layer


def _neighbours(graph: Graph, masks: Mapping[str, int]) -> list[Layer]:
    near: dict[int, Layer] = {}
    for name in masks:
        layer = graph.names[name]
        around = [graph.producer[blob] for blob in layer.inputs]
        around += [reader for blob in layer.outputs for reader in graph.consumers[blob]]
        near.update({n.number: n for n in around if n.type != "Input"})
    return [near[number] for number in sorted(near)]
