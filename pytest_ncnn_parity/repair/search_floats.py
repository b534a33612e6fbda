"""The search for the layers of an int8 model that must stay in floats. Pure.

It knows layers only by number, and nothing of ncnn: an oracle runs the model with some layers in
floats. The losses of layers add up to the error of the outputs, roughly as squares do. So a layer is
ranked by what the outputs lose if it alone is in int8, where no other layer's error hides any of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.repair.search import Spent

MOST_GROUPS = 40  # into which the layers are divided to be ranked, one run for each
SPLITS = 10  # of the costliest groups into halves, two runs for each
FOR_GROUPS = 0.25  # of the runs that there are, at most
FOR_RANKING = 0.5  # of the budget, at most


class FloatsOracle(Protocol):
    def holds(self, in_float: Collection[int]) -> bool:
        """Whether all outputs are right with these layers in floats. Raises Spent."""
        ...

    def sqnr_db(self, in_float: Collection[int]) -> float:
        """The least signal to noise of the outputs that were red, in dB. Raises Spent."""
        ...

    def spent(self) -> float:
        """The share of the budget that is spent."""
        ...


class Group(Frozen):
    """Adjacent layers, and the outputs' sqnr in dB with only these in int8."""

    layers: tuple[int, ...]
    sqnr_db: float

    @property
    def cost(self) -> float:
        """The share of noise in the outputs' power that each of its layers causes, on average."""
        return float(10.0 ** (-self.sqnr_db / 10.0)) / len(self.layers)


@dataclass
class FloatsSearch:
    """The result of a search, and how far it got.

    `layers` are all those that can be put back in floats, in running order; `red` those that are wrong
    by themselves, which are always put back; `runs` is the limit on their number. `chosen`: the
    smallest set that held; None if none did. `minimal`: without any layer of `chosen` that is not red,
    the outputs are wrong. `ended`: the budget was enough. `tried` holds how many of the costliest
    layers were in floats, and whether that held. `ranked`: the costliest first.
    """

    layers: Sequence[int]
    red: Sequence[int]
    oracle: FloatsOracle
    runs: int
    chosen: list[int] | None = None
    minimal: bool = False
    ended: bool = False
    ranked: list[Group] = field(default_factory=list)
    tried: dict[int, bool] = field(default_factory=dict)

    def run(self) -> None:
        """Search until it is complete, or the budget is used up."""
        try:
            if self.oracle.holds(self.layers):
                self._find()
            self.ended = True
        except Spent:
            pass

    def prefix(self, count: int) -> list[int]:
        """The red layers and the `count` costliest others, in running order."""
        return sorted({*self.red, *self._order[:count]})

    @property
    def _order(self) -> list[int]:
        order = [layer for group in self.ranked for layer in group.layers]
        known = {*order, *self.red}
        return [n for n in [*order, *(n for n in self.layers if n not in known)] if n not in self.red]

    def _find(self) -> None:
        enough = self._holds(0)
        self._rank()
        if enough:
            self.chosen, self.minimal = self.prefix(0), True
            return
        count, below = 1, 0
        most = len(self.layers) - len(self.red)
        while not self._holds(min(count, most)):
            below, count = count, 2 * count
        count = min(count, most)
        self.chosen = self.prefix(count)
        while count - below > 1:
            middle = (below + count) // 2
            if self._holds(middle):
                count = middle
                self.chosen = self.prefix(count)
            else:
                below = middle
        self._shrink(self._order[:count])

    def _holds(self, count: int) -> bool:
        if count not in self.tried:
            self.tried[count] = self.oracle.holds(self.prefix(count))
        return self.tried[count]

    def _shrink(self, others: Sequence[int]) -> None:
        """Leave out each of `others` that is not needed, the cheapest first."""
        assert self.chosen is not None
        for layer in reversed(others):
            fewer = [one for one in self.chosen if one != layer]
            if self.oracle.holds(fewer):
                self.chosen = fewer
        self.minimal = True

    def _rank(self) -> None:
        """Measure what layers cost, first in groups; then the costliest groups are halved."""
        groups = max(1, min(MOST_GROUPS, int(FOR_GROUPS * self.runs)))
        size = -(-len(self.layers) // groups)
        for at in range(0, len(self.layers), size):
            if self.oracle.spent() >= FOR_RANKING:
                return
            self.ranked.append(self._measured(self.layers[at : at + size]))
        self.ranked.sort(key=_by_cost)
        for _ in range(SPLITS):
            largest = next((group for group in self.ranked if len(group.layers) > 1), None)
            if largest is None or self.oracle.spent() >= FOR_RANKING:
                return
            half = len(largest.layers) // 2
            halves = map(self._measured, (largest.layers[:half], largest.layers[half:]))
            others = [group for group in self.ranked if group is not largest]
            self.ranked = sorted([*others, *halves], key=_by_cost)

    def _measured(self, layers: Sequence[int]) -> Group:
        others = [one for one in self.layers if one not in layers]
        return Group(tuple(layers), self.oracle.sqnr_db(others))


def _by_cost(group: Group) -> float:
    return -group.cost
