"""Which masks a search may choose from, and which of them the causes point at. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.integers import copying_integers
from pytest_ncnn_parity.network.masks import (
    NO_FP16_ARITHMETIC,
    NO_VULKAN,
    NO_WINOGRAD,
    strong_mask,
    weak_mask,
)
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.network.winograd import may_use_winograd
from pytest_ncnn_parity.repair.problem import Fault, Profile
from pytest_ncnn_parity.repair.search import Masks, Space


def space(
    graph: Graph,
    faults: Sequence[Fault],
    profile: Profile,
    candidate: Setup | None,
    output_tolerance: float,
    unloaded: bool = False,
) -> Space:
    """Where to search. Outputs may be off by `output_tolerance`, a share of their largest values.

    `unloaded`: the device dies while it loads the network, so that layers need only leave it.
    """
    strong = strong_mask(candidate)
    free = [
        layer.number
        for layer in graph.layers
        if layer.type != "Input" and layer.number not in profile.fp32 and layer.mask & strong != strong
    ]
    seed = _seed(graph, faults, profile, candidate, output_tolerance)
    light = {number: _light(graph.layers[number], profile, candidate) for number in free}
    # integers fit no 16 bits, whether or not the layers that copy them are judged
    for number in free if unloaded else copying_integers(graph).intersection(free):
        light[number].insert(0, _off_device(candidate))
    if candidate is None:
        light |= {
            number: [mask] for number, mask in seed.items() if mask in (NO_FP16_ARITHMETIC, NO_WINOGRAD)
        }
    return Space(
        layers=free,
        seed={number: mask for number, mask in sorted(seed.items()) if number in free},
        required=_required(faults, candidate),
        strong=strong,
        light=light,
        starts=list(_starts(light, candidate)),
        price=lambda masks: _price(graph, masks),
        neighbours={
            layer.number: [n.number for n in (*graph.makers(layer), *graph.readers(layer))]
            for layer in graph.layers
        },
        makers={
            layer.number: [
                n.number for n in graph.makers(layer) if n.number in profile.half and n.type != "Input"
            ]
            for layer in graph.layers
        },
    )


def _light(layer: Layer, profile: Profile, candidate: Setup | None) -> list[int]:
    """The masks that leave `layer` on its device and in its 16-bit format, the cheapest first.

    Without fp16 arithmetic (1) the layer computes in fp32 on values stored in fp16. Without winograd
    (64) it multiplies up to four times as often, in fp16; this is tried where its kernel may use
    winograd and its blobs fit fp16, because otherwise it would be no fix. If either is a fix, winograd
    is the one that is switched off: without arithmetic its transforms are still stored in fp16, just as
    close to 65504.
    """
    weak = weak_mask(candidate)
    masks = [] if weak is None else [weak]
    if candidate is None or not may_use_winograd(layer):
        return masks
    blobs = (*layer.inputs, *layer.outputs)
    if candidate.half == "fp16" and any(profile.absmax.get(b, 0.0) >= FP16_OVERFLOW for b in blobs):
        return masks
    return [NO_WINOGRAD] if weak is None else [NO_WINOGRAD, weak, weak | NO_WINOGRAD]


def _starts(light: Mapping[int, Sequence[int]], candidate: Setup | None) -> Iterator[tuple[str, Masks]]:
    """Every layer without fp16 arithmetic, and then without winograd as well."""
    weak = weak_mask(candidate)
    if weak is not None:
        yield "every layer without fp16 arithmetic", dict.fromkeys(light, weak)
    if any(masks and masks[-1] & NO_WINOGRAD for masks in light.values()):
        what = "winograd" if weak is None else "fp16 arithmetic and winograd"
        yield f"every layer without {what}", {n: masks[-1] for n, masks in light.items() if masks}


def _required(faults: Sequence[Fault], candidate: Setup | None) -> dict[int, int]:
    """On Vulkan, layers must leave it if they died there, or if their own mask is unsafe."""
    if candidate is not None and not candidate.on_vulkan:
        return {}
    return {
        fault.layer.number: NO_VULKAN
        for fault in faults
        if fault.died or (fault.cause == "unsafe-mask" and fault.misread is None)
    }


def _seed(
    graph: Graph,
    faults: Sequence[Fault],
    profile: Profile,
    candidate: Setup | None,
    output_tolerance: float,
) -> dict[int, int]:
    """The masks that the causes point at."""
    full, weak = strong_mask(candidate), weak_mask(candidate)
    seed: dict[int, int] = {}
    for fault in faults:
        if fault.cause == "storage-overflow":
            continue
        if fault.integers:
            seed[fault.layer.number] = _off_device(candidate)
        elif fault.without_winograd:
            seed[fault.layer.number] = NO_WINOGRAD
        elif fault.without_arithmetic and (weak is not None or candidate is None):
            seed[fault.layer.number] = NO_FP16_ARITHMETIC
    region = _region(graph, faults, profile)
    for layer in (*region, *_sensitive(graph, faults, profile, output_tolerance)):
        seed[layer.number] = seed.get(layer.number, 0) | full
    return seed


def _off_device(candidate: Setup | None) -> int:
    """The mask that only takes a layer off Vulkan: most CPUs keep what the layer copies.

    With bf16 no CPU keeps it: Split, Reshape and others store bf16 there as well.
    """
    if candidate is None or (candidate.on_vulkan and candidate.half == "fp16"):
        return NO_VULKAN
    return strong_mask(candidate)


def _region(graph: Graph, faults: Sequence[Fault], profile: Profile) -> Iterator[Layer]:
    """The layers that must stay out of 16 bits: those that write or read what 16 bits cannot hold.

    An upload casts by the network's options and not by the layer's mask. So with a mask on the layer
    that writes a value alone, the value would still overflow on its way to its reader.
    """
    if any(fault.cause in ("storage-overflow", "nan") for fault in faults):
        for blob, absmax in profile.absmax.items():
            if absmax >= FP16_OVERFLOW:
                yield graph.producer[blob]
                yield from graph.consumers[blob]
    for fault in faults:
        if fault.near:
            yield fault.layer
            yield from graph.readers(fault.layer)
        if fault.misread is not None:
            yield from graph.makers(fault.layer)
        elif fault.reader is not None:
            yield fault.layer
            yield from _down_to(graph, fault.layer, fault.reader)
            if fault.cancels:
                yield from _up_to_makers(graph, fault.layer)
        elif fault.cause == "storage-overflow" or not (
            fault.died
            or fault.integers
            or fault.without_arithmetic
            or fault.without_winograd
            or fault.cause == "unsafe-mask"
        ):
            yield fault.layer


def _sensitive(
    graph: Graph, faults: Sequence[Fault], profile: Profile, output_tolerance: float
) -> Iterator[Layer]:
    """If no layer is wrong by itself: those sensitive to rounding, and those they read from."""
    if faults:
        return
    for layer in graph.layers:
        if profile.sensitivity.get(layer.number, 0.0) > output_tolerance / 2:
            yield from graph.makers(layer)
            yield layer


def _down_to(graph: Graph, maker: Layer, reader: str) -> Iterator[Layer]:
    """The layers on the way of `maker`'s values, through copies, to the layers named `reader`."""
    reached: dict[int, Layer] = {}
    waiting = [maker]
    while waiting:
        layer = waiting.pop()
        further = {n.number: n for n in graph.readers(layer)}
        waiting += [n for n in further.values() if copies(n) and n.number not in reached]
        reached |= further
    lead_there: set[int] = set()
    for number, layer in sorted(reached.items(), reverse=True):
        if copies(layer):
            leads = not lead_there.isdisjoint(n.number for n in graph.readers(layer))
        else:
            leads = layer.name == reader
        if leads:
            lead_there.add(number)
            yield layer


def _up_to_makers(graph: Graph, reader: Layer) -> Iterator[Layer]:
    """The layers that make what `reader` reads, and those that copy it on the way."""
    waiting, seen = [reader], {reader.number}
    while waiting:
        for maker in graph.makers(waiting.pop()):
            if maker.number not in seen:
                seen.add(maker.number)
                waiting += [maker] if copies(maker) else []
                yield maker


def _price(graph: Graph, masks: Mapping[int, int]) -> float:
    """Transfers between GPU and CPU first, then layers off the GPU, then the number of masked lines."""
    off = {number for number, mask in masks.items() if mask & ~(NO_FP16_ARITHMETIC | NO_WINOGRAD)}
    trips = sum(
        (graph.producer[blob].number in off) != (layer.number in off)
        for layer in graph.layers
        for blob in layer.inputs
    )
    return trips + 0.1 * len(off) + 0.001 * len(masks)
