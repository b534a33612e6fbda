"""Matches the layers of two networks by name, by structure and by position. Pure.

A new export may number all layers afresh, so that `conv_17` is the former name of another layer. So
names alone are not trusted: layers are paired twice, by name first and by structure first, and the
pairing that keeps more parameters and edges is used. If both keep as many, it is the one by name.

Where no pairing by name keeps them all, layers with weights that no other layer has may be paired first.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from pytest_ncnn_parity.network.versions.cones import Numbering, cones_above, cones_below, views_of
from pytest_ncnn_parity.network.versions.matchable import Matchable

MatchedBy = Literal["name", "structure", "place"]

NAME: Final = "name"
STRUCTURE: Final = "structure"
PLACE: Final = "place"

# Two operands of a Concat that have changed places lose two edges, which counts less than their equal
# weights. Two layers that have exchanged their weights would lose three or more if they were paired by
# these. Equal weights of namesakes count more than two edges by themselves.
_KEPT, _EQUAL_WEIGHTS, _AND_NAMES = 4, 5, 4
# old layer -> new layer, and what they were matched by; layers are numbered from 0
Match = dict[int, tuple[int, MatchedBy]]


def match(old: Matchable, new: Matchable, equal: Callable[[], Mapping[int, int]] | None = None) -> Match:
    """Pairs of layers; one without a pair was removed, or is new. Equal names match by `name`.

    `equal` gives those pairs whose weights are the same, and those of no other layer.
    """
    by_name, by_structure = _Pairing(old, new), _Pairing(old, new)
    by_name.pair_names()
    by_name.pair_structure()
    by_name.pair_places()
    by_structure.pair_structure()
    by_structure.pair_names()
    by_structure.pair_places()
    pairings = [by_name, by_structure]
    same = {} if equal is None or any(one.is_certain for one in pairings) else equal()
    if same:
        by_weights = _Pairing(old, new)
        by_weights.pair_equal_weights(same)
        by_weights.pair_structure()
        by_weights.pair_names()
        by_weights.pair_places()
        pairings.append(by_weights)
    best = max(pairings, key=lambda pairing: pairing.score(same))  # of several the first
    return {o: (n, best.reason(o, n)) for o, n in sorted(best.pairs.items())}


class _Pairing:
    """The pairs found so far, from old layer to new layer. Each step only adds pairs.

    Outputs of the network tell layers apart if both networks name theirs alike: a program knows them by
    these names.
    """

    def __init__(self, old: Matchable, new: Matchable) -> None:
        self.old = old
        self.new = new
        names = [sorted(name for some in network.extracted for name in some) for network in (old, new)]
        self._outputs_count = names[0] == names[1]
        self.pairs: dict[int, int] = {}
        self._back: dict[int, int] = {}  # the same matches, new layer -> old layer

    def _add(self, old: int, new: int) -> None:
        self.pairs[old] = new
        self._back[new] = old

    def pair_equal_weights(self, same: Mapping[int, int]) -> None:
        """Pair layers whose weights are the same, if they are the same operators."""
        for o, n in same.items():
            if self.old.operators[o] == self.new.operators[n]:
                self._add(o, n)

    def pair_names(self) -> None:
        """Pair layers that have the same name and operator, if both networks have as many of them."""
        ours, theirs = (
            list(zip(network.names, network.types, strict=True)) for network in (self.old, self.new)
        )
        self._pair_equal(ours, theirs)

    def pair_structure(self) -> None:
        """Pair layers whose cones are equal both upwards and downwards, then those with one equal cone.

        A cone is everything above or below a layer. A single change in the network leaves every layer
        at least one unchanged cone, because nothing is both above and below it. Cones end at layers
        that are already paired, so pairs lead to further pairs.
        """
        self._pair_cones()
        self._align(self.old.operators, self.new.operators)
        self._pair_cones()

    def pair_places(self) -> None:
        """Pair the rest by operator alone between equal neighbours: their parameters changed."""
        ours, theirs = ([("type", type_) for type_ in network.types] for network in (self.old, self.new))
        self._align(ours, theirs)

    def _pair_cones(self) -> None:
        """First what only one layer can be, then what is between views; at last, layers in their order.

        Layers that are alike in both networks are told apart by what is paired above or below them. So
        nothing is paired by its order as long as anything can be paired without.
        """
        before = -1
        while len(self.pairs) > before:
            before = len(self.pairs)
            for alone, through in ((True, False), (True, True), (False, False), (False, True)):
                self._pair_equal_cones(alone, through)
                if len(self.pairs) > before:
                    break

    def _pair_equal_cones(self, alone: bool, through: bool) -> None:
        """`alone`: only cones that one layer in each network has. `through`: views are seen through."""
        numbering: Numbering = {}
        sides = ((self.old, self._known_old()), (self.new, self._back))
        views = [views_of(network) - known.keys() if through else set() for network, known in sides]
        above, below = (
            [cones(*side, numbering, own) for side, own in zip(sides, views, strict=True)]
            for cones in (cones_above, partial(cones_below, self._outputs_count))
        )
        both = [list(zip(up, down, strict=True)) for up, down in zip(above, below, strict=True)]
        kinds: tuple[Sequence[Sequence[Hashable]], ...] = (both, above, below)
        for keys in kinds:
            ours, theirs = (
                [("view", side, n) if n in own else key for n, key in enumerate(some)]
                for side, (some, own) in enumerate(zip(keys, views, strict=True))
            )
            self._pair_equal(ours, theirs, alone)

    def _known_old(self) -> dict[int, int]:
        """The paired old layers, under the numbers that `_back` gives to their counterparts."""
        return {o: o for o in self.pairs}

    def _pair_equal(
        self, ours: Sequence[Hashable], theirs: Sequence[Hashable], alone: bool = False
    ) -> None:
        """Pair the remaining layers that have equal keys, if both networks have as many of them.

        `ours` and `theirs` hold a key for each old and each new layer. Of several layers with one key
        those of equal names are paired, and the others in their order; none of them if `alone`.
        """
        new_by_key = _unpaired(theirs, self._back)
        for key, old_layers in _unpaired(ours, self.pairs).items():
            new_layers = new_by_key.get(key, [])
            if len(old_layers) == len(new_layers) and not (alone and len(old_layers) > 1):
                namesakes = self._namesakes(old_layers, new_layers)
                rest = iter([n for n in new_layers if n not in namesakes.values()])
                for o in old_layers:
                    self._add(o, namesakes[o] if o in namesakes else next(rest))

    def _namesakes(self, old_layers: Iterable[int], new_layers: Iterable[int]) -> dict[int, int]:
        """Pairs of equal names; none if two old layers would get the same new one."""
        by_name = {self.new.names[n]: n for n in new_layers}
        names = {o: self.old.names[o] for o in old_layers}
        same = {o: by_name[name] for o, name in names.items() if name in by_name}
        return same if len(set(same.values())) == len(same) else {}

    def _align(self, old_tokens: Sequence[Hashable], new_tokens: Sequence[Hashable]) -> None:
        """Pair the rest by order, like the lines of a diff, in which paired layers are equal lines.

        difflib ignores elements that occur very often, and would take minutes with them. So from each
        pair, and from both ends, equal neighbours are paired as well.
        """
        known = self._known_old()
        ours = [("pair", known[o]) if o in known else token for o, token in enumerate(old_tokens)]
        theirs = [
            ("pair", self._back[n]) if n in self._back else token for n, token in enumerate(new_tokens)
        ]
        for block in difflib.SequenceMatcher(None, ours, theirs).get_matching_blocks():
            for i in range(block.size):
                if block.a + i not in self.pairs:
                    self._add(block.a + i, block.b + i)
        self._extend(ours, theirs, 1, [(-1, -1), *sorted(self.pairs.items())])
        last = (len(ours), len(theirs))
        self._extend(ours, theirs, -1, [last, *sorted(self.pairs.items(), reverse=True)])

    def _extend(
        self,
        ours: Sequence[Hashable],
        theirs: Sequence[Hashable],
        step: int,
        anchors: Iterable[tuple[int, int]],
    ) -> None:
        """From each anchor, pair neighbours in the direction of `step` for as long as they are equal."""
        for old, new in anchors:
            o, n = old + step, new + step
            while (
                0 <= o < len(ours)
                and 0 <= n < len(theirs)
                and o not in self.pairs
                and n not in self._back
                and ours[o] == theirs[n]
            ):
                self._add(o, n)
                o, n = o + step, n + step

    @property
    def is_certain(self) -> bool:
        """Whether nothing has changed, and no layer is paired with another than its namesake."""
        count = len(self.old.names)
        ends = sum(not readers for readers in self.old.consumers)
        everything = count + sum(map(len, self.old.producers)) + ends
        named = {name: n for n, name in enumerate(self.new.names)}
        other_names = any(named.get(self.old.names[o], n) != n for o, n in self.pairs.items())
        return count == len(self.new.names) and self._kept() == everything and not other_names

    def score(self, same: Mapping[int, int]) -> int:
        """How much is kept: layers and edges that are unchanged, and the `same` weights."""
        equal = [(o, n) for o, n in same.items() if self.pairs.get(o) == n]
        namesakes = sum(self.old.names[o] == self.new.names[n] for o, n in equal)
        return _KEPT * self._kept() + _EQUAL_WEIGHTS * len(equal) + _AND_NAMES * namesakes

    def _kept(self) -> int:
        """How many paired layers are unchanged, plus how many of their edges are."""
        kept = sum(self.old.operators[o] == self.new.operators[n] for o, n in self.pairs.items())
        edges = 0
        for o, n in self.pairs.items():
            inputs = [(self.pairs.get(maker), slot) for maker, slot in self.old.producers[o]]
            theirs = self.new.producers[n]
            if o in self.old.commuting:
                edges += (Counter(inputs) & Counter(theirs)).total()
            else:
                edges += sum(one == other for one, other in zip(inputs, theirs, strict=False))
            # an output of one network is an output of the other
            edges += not self.old.consumers[o] and not self.new.consumers[n]
        return kept + edges

    def reason(self, old: int, new: int) -> MatchedBy:
        if self.old.names[old] == self.new.names[new]:
            return NAME
        return STRUCTURE if self.old.operators[old] == self.new.operators[new] else PLACE


def _unpaired(keys: Sequence[Hashable], paired: Mapping[int, int]) -> dict[Hashable, list[int]]:
    """The layers that are not yet paired, by key."""
    by_key: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        if number not in paired:
            by_key.setdefault(key, []).append(number)
    return by_key
