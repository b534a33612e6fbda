"""Which units of two networks read the same, where a view that only one of them has is none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.versions.matchable import Output
from pytest_ncnn_parity.network.versions.units import Units


def connected_alike(own: Units, other: Units, partner: Mapping[int, int]) -> frozenset[int]:
    """The units here whose partners compute the same operators from what partners of theirs make."""

    def is_alike(unit: int) -> bool:
        there = partner.get(unit)
        if there is None or own.units[unit].computed != other.units[there].computed:
            return False
        made = [(partner.get(maker), slot) for maker, slot in _makers(own, unit)]
        makers = list(_makers(other, there))
        return Counter(made) == Counter(makers) if unit in own.commuting else made == makers

    return frozenset(filter(is_alike, range(len(own.units))))


def computing(units: Units) -> frozenset[int]:
    """The units that are no views."""
    return frozenset(n for n, kind in enumerate(units.types) if kind not in VIEWS)


def _makers(units: Units, unit: int) -> Iterator[Output]:
    """What `unit` reads, and in place of a view what that reads."""
    for made in units.producers[unit]:
        while units.types[made[0]] in VIEWS and units.producers[made[0]]:
            made = units.producers[made[0]][0]  # noqa: PLW2901
        yield made
