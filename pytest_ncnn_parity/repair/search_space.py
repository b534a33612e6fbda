"""Causes -> where a search for masks starts, and what it may choose from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.compare.fp16 import FP16_OVERFLOW
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, NO_VULKAN, strong_mask, weak_mask
from pytest_ncnn_parity.network.param import COPYING, Graph, Layer
from pytest_ncnn_parity.repair.search import Space


@dataclass(frozen=True)
class Fault:
    """A red layer: what a mask must cure.

    `died`: it killed or hung the worker on the device. `without_arithmetic`: it is right once fp16
    arithmetic is off. `reader`: for underflow, the layer that breaks. `misread`: the blob whose
    16-bit values it takes for fp32.
    """

    layer: Layer
    cause: str
    died: bool = False
    without_arithmetic: bool = False
    reader: str | None = None
    misread: str | None = None


@dataclass(frozen=True)
class Survey:
    """What all samples together show.

    `absmax`: the largest magnitude of each blob. `lost`: by layer, how far rounding its inputs alone
    puts it off, as a share of its largest output. `fp32`: layers that the candidate runs on the CPU
    in fp32 already, so that no mask would change them. `half`: those it runs there in 16 bits.
    """

    absmax: Mapping[str, float]
    lost: Mapping[int, float] = field(default_factory=dict)
    fp32: frozenset[int] = frozenset()
    half: frozenset[int] = frozenset()


def space(
    graph: Graph, faults: Sequence[Fault], survey: Survey, candidate: Setup | None, budget: float
) -> Space:
    """Where to search. `budget`: the error an output may have, as a share of its largest value."""
    full, light = strong_mask(candidate), weak_mask(candidate)
    free = [n.number for n in graph.layers if n.type != "Input" and n.number not in survey.fp32]
    required = {
        fault.layer.number: NO_VULKAN
        for fault in faults
        if (candidate is None or candidate.on_vulkan)
        and (fault.died or (fault.cause == "unsafe-mask" and fault.misread is None))
    }
    seed: dict[int, int] = {}
    for fault in faults:
        if light is not None and fault.without_arithmetic and fault.cause != "storage-overflow":
            seed[fault.layer.number] = light
    for layer in (*_region(graph, faults, survey), *_sensitive(graph, faults, survey, budget)):
        seed[layer.number] = seed.get(layer.number, 0) | full
    return Space(
        layers=free,
        seed={number: mask for number, mask in sorted(seed.items()) if number in free},
        required=required,
        strong=full,
        weak=light,
        price=lambda masks: _price(graph, masks),
        neighbours={layer.number: [n.number for n in _around(graph, layer)] for layer in graph.layers},
        makers={
            layer.number: [
                n.number
                for n in (graph.producer[b] for b in layer.inputs)
                if n.number in survey.half and n.type != "Input"
            ]
            for layer in graph.layers
        },
    )


def _region(graph: Graph, faults: Sequence[Fault], survey: Survey) -> Iterator[Layer]:
    """The layers that must stay out of 16 bits: makers and readers of what those cannot hold.

    An upload casts by the network's options and not by the layer's mask, so a mask on the maker
    alone leaves its value to overflow on the way to its reader.
    """
    if any(fault.cause in ("storage-overflow", "nan") for fault in faults):
        for blob, absmax in survey.absmax.items():
            if absmax >= FP16_OVERFLOW:
                yield graph.producer[blob]
                yield from graph.consumers[blob]
    for fault in faults:
        if fault.misread is not None:
            yield from (graph.producer[blob] for blob in fault.layer.inputs)
        elif fault.cause == "underflow":
            yield fault.layer
            yield from _down_to(graph, fault.layer, fault.reader)
        elif fault.cause == "storage-overflow" or not (
            fault.died or fault.without_arithmetic or fault.cause == "unsafe-mask"
        ):
            yield fault.layer


def _sensitive(graph: Graph, faults: Sequence[Fault], survey: Survey, budget: float) -> Iterator[Layer]:
    """Where no layer is wrong by itself: those that rounding their inputs puts off, and the makers."""
    if faults:
        return
    for layer in graph.layers:
        if survey.lost.get(layer.number, 0.0) > budget / 2:
            yield from (graph.producer[blob] for blob in layer.inputs)
            yield layer


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


def _price(graph: Graph, masks: Mapping[int, int]) -> float:
    """Trips between GPU and CPU first, then layers off the GPU, then lines to keep in mind."""
    off = {number for number, mask in masks.items() if mask & ~NO_FP16_ARITHMETIC}
    trips = sum(
        (graph.producer[blob].number in off) != (layer.number in off)
        for layer in graph.layers
        for blob in layer.inputs
    )
    return trips + 0.1 * len(off) + 0.001 * len(masks)


def _around(graph: Graph, layer: Layer) -> Iterator[Layer]:
    yield from (graph.producer[blob] for blob in layer.inputs)
    yield from (reader for blob in layer.outputs for reader in graph.consumers[blob])
