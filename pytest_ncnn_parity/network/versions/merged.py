"""Where a layer of one network computes what several layers of the other one compute together. Pure.

Convolutions of one value that are added up become one convolution, with the sums of weights (RepVGG).
It is built like one of them, but what reads it reads their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING, is_activation
from pytest_ncnn_parity.network.versions.read_in_place import read_in_place
from pytest_ncnn_parity.network.versions.units import Units

LINEAR = frozenset((*CHANGED_BY_FOLDING, *"BatchNorm Scale Dropout BinaryOp Eltwise MemoryData".split()))


class Merged(Frozen):
    """The unit `several` is the last of those that compute together what the unit `one` computes.

    `alike` is one of them, which is built like `one`. `blobs`: by blob of the former, that of `one`.
    """

    alike: int
    several: int
    one: int
    blobs: Mapping[str, str]


def merged(own: Units, other: Units, partner: Mapping[int, int]) -> Iterator[Merged]:
    """Yield the units of `other` that stand for several of `own`. `partner`: the pairs of units.

    Of layers in a row it is not certain which of two neighbours another one was merged with.
    """
    known = dict(partner)
    back = {there: here for here, there in partner.items()}
    for alike, one in sorted(partner.items()):
        if own.units[alike].core.type not in CHANGED_BY_FOLDING:
            continue
        last = read_in_place(own, other, back, one)
        if last is None or last in known:
            continue
        region, read = _region(own, known, last, alike)
        fed = {back.get(maker) for maker, _ in other.producers[one]}
        readers = {reader for reader, _, _ in own.consumers[alike]}
        linear = all(_is_linear(own, unit, unit == last) for unit in region)
        joined = any(len(set(own.producers[unit])) > 1 for unit in region)
        if joined and linear and alike in region and readers <= region and read == fed:
            del known[alike]
            known[last], back[one] = one, last  # what follows reads this one
            yield Merged(alike, last, one, _blobs(own, other, last, one))


def _region(own: Units, partner: Mapping[int, int], last: int, alike: int) -> tuple[set[int], set[int]]:
    """The units without a partner, and `alike`, from which `last` is computed, and those they read."""
    region, read = set[int](), set[int]()
    waiting = [last]
    while waiting:
        unit = waiting.pop()
        if unit in partner and unit != alike:
            if own.units[unit].core.type != "MemoryData":
                read.add(unit)
        elif unit not in region:
            region.add(unit)
            waiting += [maker for maker, _ in own.producers[unit]]
    return region, read


def _is_linear(own: Units, unit: int, is_last: bool) -> bool:
    """Whether the sum of such units is one with weights; at the end there may be an activation."""
    layers = own.units[unit].layers
    if is_last:
        return all(layer.type in LINEAR or is_activation(layer) for layer in layers)
    return all(layer.type in LINEAR for layer in layers) and not own.units[unit].activates


def _blobs(own: Units, other: Units, several: int, one: int) -> dict[str, str]:
    """The equivalent blobs: those at the end, and those in front of an activation that both have."""
    ours, theirs = own.units[several], other.units[one]
    blobs = dict(zip(ours.outputs, theirs.outputs, strict=False))
    its = theirs.linear
    if theirs.activates and its is not None and is_activation(ours.core):
        blobs |= {own.sources[ours.core.inputs[0]]: its.outputs[0]}
    return blobs
