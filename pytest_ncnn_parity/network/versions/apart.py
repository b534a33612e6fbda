"""What one network has behind a unit, and the other as part of that unit. Pure.

A BatchNorm behind a Convolution may be folded into its weights, but not if the Convolution has an
activation. So where only one file has the activation, the same BatchNorm is a unit of its own in one
network alone, and neither layer would be compared with its counterpart.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.versions.folding import lasting
from pytest_ncnn_parity.network.versions.units import Units


def apart(own: Units, other: Units, partner: Mapping[int, int]) -> frozenset[int]:
    """The numbers of layers in `other` that begin units of their own as they do in `own`.

    `partner`: by unit of `own` its match in `other`.
    """
    found: set[int] = set()
    for unit, there in partner.items():
        inside = other.units[there].layers
        behind = list(_behind(own, unit, partner)) if len(inside) > 1 else []
        for first in range(1, len(inside)):
            rest = inside[first:]
            if len(behind) >= len(rest) and all(map(_are_alike, behind, rest)):
                found.add(rest[0].number)
                break
    return frozenset(found)


def _behind(units: Units, unit: int, matched: Container[int]) -> Iterator[Layer]:
    """Yield what reads `unit` alone, and what reads that alone, as far as none of it is matched."""
    while True:
        readers = {reader for reader, *_ in units.consumers[unit]}
        if len(readers) != 1:
            return
        (unit,) = readers
        if unit in matched:
            return
        yield from units.units[unit].layers


def _are_alike(one: Layer, other: Layer) -> bool:
    return (one.type, lasting(one)) == (other.type, lasting(other))
