"""Which values of two networks correspond because matched layers read them in the same places. Pure.

What reads a layer that the other file has lost reads there what is in front of it. Where two LSTMs stand
in place of one that runs in both directions, their readers tell which value is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from functools import cached_property

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import COPYING, VIEWS
from pytest_ncnn_parity.network.versions.cones import views_of
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING, is_activation
from pytest_ncnn_parity.network.versions.units import Units

# what may be folded into the weights or parameters of a layer behind it
_LINEAR = COPYING | frozenset("BatchNorm Scale Bias BinaryOp Eltwise".split())
_PRODUCTS = frozenset((*CHANGED_BY_FOLDING, "Gemm"))


def read_alike(
    own: Units,
    other: Units,
    partner: Mapping[int, int],
    same: Collection[int],
    apart: Collection[int],
) -> Iterator[tuple[str, str]]:
    """Yield blobs of both networks that correspond though they are not the outputs of a pair.

    `partner`: the units of `other` by those of `own`. `same`: those of `own` with the weights of their
    partners, byte for byte. `apart`: those that have fewer or more outputs than their partners.
    """
    back = {there: unit for unit, there in partner.items()}
    found = list(_Readers(own, other, partner, back, same, apart).found())
    alone_there = ({partner[unit] for unit in units} for units in (same, apart))
    found += [(u, t) for t, u in _Readers(other, own, back, partner, *alone_there).found()]
    found += _read_with_same_weights(own, other, partner, same)
    for unit, there in found:
        ours, theirs = own.units[unit].outputs, other.units[there].outputs
        if len(ours) == len(theirs) == 1:
            yield ours[0], theirs[0]


def read_in_place(own: Units, other: Units, back: Mapping[int, int], one: int) -> int | None:
    """The only unit of `own` that is read where `other` reads `one`, or is an output in its place.

    A Padding that only `other` has is a part of what reads it.
    """
    found: set[int] = set()
    for reader, position in _readers(other, one, back):
        here = back.get(reader)
        if here is None:
            return None
        makers = [maker for maker, _ in own.producers[here]]
        if here in own.commuting:
            taken = {back.get(maker) for maker, _ in other.producers[reader]}
            found.update(maker for maker in makers if maker not in taken)
        elif position < len(makers):
            found.add(makers[position])
    for blob in other.extracted[one]:
        found.update(unit for unit, blobs in enumerate(own.extracted) if blob in blobs)
    return found.pop() if len(found) == 1 else None


def _readers(units: Units, unit: int, matched: Container[int]) -> Iterator[tuple[int, int]]:
    """Yield what reads `unit`, and in which place, also behind a Padding that is not `matched`."""
    for reader, position, _ in units.consumers[unit]:
        if units.units[reader].core.type == "Padding" and reader not in matched:
            yield from _readers(units, reader, matched)
        else:
            yield reader, position


class _Readers(Frozen):
    """Finds units of `own` that are read where `other` reads the partner of another one.

    `partner` and `back`: the pairs of units, from each side; the rest as in `read_alike`.
    """

    own: Units
    other: Units
    partner: Mapping[int, int]
    back: Mapping[int, int]
    same: Collection[int]
    apart: Collection[int]

    def found(self) -> Iterator[tuple[int, int]]:
        """Yield such units, and those of `other` that have their values, or would without a fault."""
        for unit, there in sorted(self.partner.items()):
            outputs = [len(one.outputs) for one in (self.own.units[unit], self.other.units[there])]
            if outputs != [1, 1] or self.own.units[unit].core.type == "Input":
                continue
            last = read_in_place(self.own, self.other, self.back, there)
            if last is None or len(self.own.units[last].outputs) != 1:
                continue
            last = self._unpadded(last)
            if unit in self.apart:
                lost = last not in self.partner
            else:
                between = self._between(unit, last)
                if between is None:
                    continue
                if {layer.type for layer in between} <= _LINEAR and self._is_lost_inside(unit):
                    yield unit, there
                lost = bool(between) and self._is_lost(between, last)
            if lost:
                yield last, there

    def _unpadded(self, unit: int) -> int:
        """What is in front of `unit`, if that is a Padding in place of which readers there pad."""
        while self.own.units[unit].core.type == "Padding" and unit not in self.partner:
            readers = {reader for reader, _, _ in self.own.consumers[unit]} & self.partner.keys()
            if all(map(self._is_alike, readers)):
                break
            ((unit, _),) = self.own.producers[unit]
        return unit

    def _between(self, begin: int, end: int) -> list[Layer] | None:
        """The layers from behind `begin` to `end`, in a row without a partner; None if they are not."""
        layers: list[Layer] = []
        unit = end
        while unit != begin:
            makers = {maker for maker, _ in self.own.producers[unit]}
            if len(makers) != 1 or unit in self.partner:
                return None
            layers += self.own.units[unit].layers
            unit = makers.pop()
            if len({reader for reader, _, _ in self.own.consumers[unit]}) != 1:
                return None
        return layers

    def _is_lost_inside(self, unit: int) -> bool:
        """Whether `unit` has an activation that its partner has not, nor any other unit there."""
        lacks = not self.other.units[self.partner[unit]].activates
        return self.own.units[unit].activates and lacks and not self._activates_elsewhere

    def _is_lost(self, layers: Sequence[Layer], end: int) -> bool:
        """Whether nothing there does what `layers` do, of which the unit `end` is the last."""
        types = {layer.type for layer in layers}
        if types & (self._left | _PRODUCTS | VIEWS):
            return False
        if any(map(is_activation, layers)) and self._activates_elsewhere:
            return False
        readers = {reader for reader, _, _ in self.own.consumers[end]}
        return not types <= _LINEAR or (bool(readers) and all(map(self._is_unchanged, readers)))

    def _is_unchanged(self, unit: int) -> bool:
        """Whether neither weights nor, as from a Padding, parameters of `unit` may have changed."""
        return unit in self.same and self._is_alike(unit)

    def _is_alike(self, unit: int) -> bool:
        return self.own.operators[unit] == self.other.operators[self.partner[unit]]

    @cached_property
    def _left(self) -> set[str]:
        """The operators of `other` without a partner, or with one that reads something else."""
        return {unit.core.type for n, unit in enumerate(self.other.units) if self._is_left(n)}

    def _is_left(self, there: int) -> bool:
        if there not in self.back:
            return True
        made = Counter(maker for maker, _ in self.own.producers[self.back[there]])
        return made != Counter(self.back.get(maker) for maker, _ in self.other.producers[there])

    @cached_property
    def _activates_elsewhere(self) -> bool:
        """Whether `other` has an activation at a place where there is none in `own`."""
        return any(
            (is_activation(unit.core) and self._is_left(n))
            or (n in self.back and unit.activates and not self.own.units[self.back[n]].activates)
            for n, unit in enumerate(self.other.units)
        )


def _read_with_same_weights(
    own: Units, other: Units, partner: Mapping[int, int], same: Collection[int]
) -> Iterator[tuple[int, int]]:
    """Yield units without a partner, of both networks, whose outputs the units `same` read.

    Nothing of them was folded into these, so their values are equal, however they are computed.
    """
    back = set(partner.values())
    views = views_of(own), views_of(other)
    for reader in sorted(same):
        ours, theirs = own.producers[reader], other.producers[partner[reader]]
        cores = own.units[reader].core, other.units[partner[reader]].core
        if any(core.type == "InnerProduct" for core in cores) or len(ours) != len(theirs):
            continue  # an InnerProduct reads values of any shape
        if own.operators[reader] != other.operators[partner[reader]]:
            continue  # as where one pads what it reads, and the other is fed by a Padding
        for (unit, _), (there, _) in zip(ours, theirs, strict=True):
            alone = unit not in partner and there not in back
            if alone and unit not in views[0] and there not in views[1]:
                yield unit, there
