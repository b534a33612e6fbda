"""Everything above or below a layer, as one number that is equal for equal structures. Pure."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.versions.matchable import Matchable

# One number for each kind of cone, the same in both networks
Numbering = dict[tuple[Hashable, ...], int]


def _number(numbering: Numbering, key: tuple[Hashable, ...]) -> int:
    return numbering.setdefault(key, len(numbering))


def views_of(network: Matchable) -> set[int]:
    """The layers that give their input another shape and keep its values in their order."""
    return {
        number
        for number, (type_, inputs) in enumerate(zip(network.types, network.producers, strict=True))
        if type_ in VIEWS and len(inputs) == 1
    }


def cones_above(
    network: Matchable, known: Mapping[int, int], numbering: Numbering, views: Collection[int]
) -> list[int]:
    """For each layer a number that stands for it and everything above it, up to paired layers.

    What reads one of `views` has in its place what that reads.
    """
    cones: list[int] = []
    behind: dict[int, tuple[Hashable, int]] = {}
    for number, inputs in enumerate(network.producers):
        above = tuple(
            behind[maker]
            if maker in behind
            else (("pair", known[maker]) if maker in known else ("cone", cones[maker]), slot)
            for maker, slot in inputs
        )
        if number in views:
            behind[number] = above[0]
        if number in network.commuting:
            above = tuple(sorted(above))
        cones.append(_number(numbering, ("up", network.operators[number], above)))
    return cones


def cones_below(
    outputs_count: bool,
    network: Matchable,
    known: Mapping[int, int],
    numbering: Numbering,
    views: Collection[int],
) -> list[int]:
    """For each layer a number that stands for it and everything below it, down to paired layers.

    What one of `views` reads has in its place all that read that. The names of the network's outputs
    are part of it if `outputs_count`.
    """
    cones = [0] * len(network.names)
    readers: dict[int, list[tuple[int, int, str, int]]] = {}
    extracted: dict[int, list[str]] = {}
    for number in reversed(range(len(network.names))):
        below: list[tuple[int, int, str, int]] = []
        outputs = list(network.extracted[number]) if outputs_count else []
        for reader, place, slot in network.consumers[number]:
            position = 0 if reader in network.commuting else place
            if reader in views:
                below += [(slot, at, kind, one) for _, at, kind, one in readers[reader]]
                outputs += extracted[reader]
            elif reader in known:
                below.append((slot, position, "pair", known[reader]))
            else:
                below.append((slot, position, "cone", cones[reader]))
        readers[number], extracted[number] = sorted(below), sorted(outputs)
        key = "down", network.operators[number], tuple(extracted[number]), tuple(readers[number])
        cones[number] = _number(numbering, key)
    return cones
