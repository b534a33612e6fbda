"""Two networks -> which layer of the one is which of the other. By name, by structure, by place. Pure.

A new export may number everything afresh: then `conv_17` is a name that another layer had before. So
names are not simply believed: layers are paired by name first and by structure first, and that pairing
is taken which keeps more parameters and edges; on a tie names win.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from pytest_ncnn_parity.network.param import SHAPE_HINT_ID
from pytest_ncnn_parity.report.document.regression import MatchedBy

NAME: Final = "name"
STRUCTURE: Final = "structure"
PLACE: Final = "place"

Pairs = dict[int, tuple[int, MatchedBy]]  # old layer -> new layer, and by what: numbers from 0


@dataclass(frozen=True)
class Network:
    """The layers of a report's model, as a graph. `layers` in running order."""

    layers: Sequence[Mapping[str, Any]]

    @cached_property
    def kinds(self) -> list[Hashable]:
        """What a layer is by itself: its operator and parameters, but no mask and no shape hint."""
        return [(layer["type"], _parameters(layer["params"])) for layer in self.layers]

    @cached_property
    def producers(self) -> list[list[tuple[int, int]]]:
        """For each input of each layer: the layer that makes it, and as its which output."""
        made: dict[str, tuple[int, int]] = {}
        found = []
        for number, layer in enumerate(self.layers):
            found.append([made[blob] for blob in layer["inputs"] if blob in made])
            made.update({blob: (number, i) for i, blob in enumerate(layer["outputs"])})
        return found

    @cached_property
    def consumers(self) -> list[list[tuple[int, int, int]]]:
        """For each layer: who reads it, as its which input, and which output of this one."""
        found: list[list[tuple[int, int, int]]] = [[] for _ in self.layers]
        for reader, made in enumerate(self.producers):
            for slot, (maker, output) in enumerate(made):
                found[maker].append((reader, slot, output))
        return found

    def at(self, blob: str) -> tuple[int, int] | None:
        """The layer that makes `blob`, and as its which output."""
        for number, layer in enumerate(self.layers):
            if blob in layer["outputs"]:
                return number, list(layer["outputs"]).index(blob)
        return None


def _parameters(text: str) -> tuple[str, ...]:
    return tuple(p for p in text.split() if not p.startswith(f"{SHAPE_HINT_ID}="))


def match(old: Network, new: Network) -> Pairs:
    """Pairs of layers; what is not in them vanished, or is new. Equal names are told as `name`."""
    by_name, by_structure = _Pairing(old, new), _Pairing(old, new)
    by_name.names()
    by_name.structure()
    by_structure.structure()
    by_structure.names()
    for pairing in (by_name, by_structure):
        pairing.places()
    best = by_structure if by_structure.score() > by_name.score() else by_name
    return {o: (n, best.reason(o, n)) for o, n in sorted(best.pairs.items())}


@dataclass
class _Pairing:
    """Pairs so far. Each step only adds to them."""

    old: Network
    new: Network
    pairs: dict[int, int] = field(default_factory=dict)
    _taken: dict[int, int] = field(default_factory=dict)  # the same, by the new one

    def add(self, old: int, new: int) -> None:
        self.pairs[old] = new
        self._taken[new] = old

    def names(self) -> None:
        """Pair layers of one name and operator, where each side has one such."""
        self._by_key(lambda net, n: (net.layers[n]["name"], net.layers[n]["type"]))

    def structure(self) -> None:
        """Pair layers with the same cone upwards and downwards, then with the same on one side.

        A change somewhere in the network leaves every layer at least one of them, for nothing is both
        above and below it. Cones end at layers that are paired already, so this goes on while it finds.
        """
        self._cones()
        self._align(lambda net, n: net.kinds[n])
        self._cones()

    def places(self) -> None:
        """Pair what is left between the same neighbours by operator alone: its parameters changed."""
        self._align(lambda net, n: ("type", net.layers[n]["type"]))

    def _cones(self) -> None:
        before = -1
        while len(self.pairs) > before:
            before = len(self.pairs)
            seeds: dict[tuple[Hashable, ...], int] = {}  # one numbering for both networks
            up, down = (
                {id(net): look(net, known, seeds) for net, known in self._sides()}
                for look in (_up, _down)
            )
            self._by_key(lambda net, n, u=up, d=down: (u[id(net)][n], d[id(net)][n]))  # type: ignore[misc]
            self._by_key(lambda net, n, u=up: u[id(net)][n])  # type: ignore[misc]
            self._by_key(lambda net, n, d=down: d[id(net)][n])  # type: ignore[misc]

    def _sides(self) -> Iterator[tuple[Network, dict[int, int]]]:
        """Each network, with its paired layers under numbers that are the same on both sides."""
        yield self.old, {o: o for o in self.pairs}
        yield self.new, self._taken

    def _by_key(self, key: Callable[[Network, int], Hashable]) -> None:
        """Pair the layers that are left and have equal keys, where each side has as many.

        Among several, those of equal names go together, the rest in their order.
        """
        theirs = self._left(self.new, self._taken, key)
        for found, ours in self._left(self.old, self.pairs, key).items():
            others = theirs.get(found, [])
            if len(ours) == len(others):
                named = {self.new.layers[n]["name"]: n for n in others}
                same = {o: named[name] for o in ours if (name := self.old.layers[o]["name"]) in named}
                if len(set(same.values())) < len(same):
                    same = {}
                rest = [n for n in others if n not in same.values()]
                for o in ours:
                    self.add(o, same[o] if o in same else rest.pop(0))

    def _left(
        self, net: Network, paired: Mapping[int, int], key: Callable[[Network, int], Hashable]
    ) -> dict[Hashable, list[int]]:
        found: dict[Hashable, list[int]] = {}
        for number in range(len(net.layers)):
            if number not in paired:
                found.setdefault(key(net, number), []).append(number)
        return found

    def _align(self, token: Callable[[Network, int], Hashable]) -> None:
        """Pair what is left by its order: as lines of a diff, in which paired layers are equal lines.

        difflib leaves out what stands very often, lest it take minutes; that is paired from the
        neighbours on that are paired already, and from both ends.
        """
        ours, theirs = (
            [("pair", known[n]) if n in known else token(net, n) for n in range(len(net.layers))]
            for net, known in self._sides()
        )
        for block in difflib.SequenceMatcher(None, ours, theirs).get_matching_blocks():
            for i in range(block.size):
                if block.a + i not in self.pairs:
                    self.add(block.a + i, block.b + i)
        ends = (len(ours), len(theirs))
        for step, anchors in (
            (1, [(-1, -1), *sorted(self.pairs.items())]),
            (-1, [ends, *sorted(self.pairs.items(), reverse=True)]),
        ):
            for old, new in anchors:
                o, n = old + step, new + step
                while (
                    0 <= o < ends[0] and 0 <= n < ends[1] and self._free(o, n) and ours[o] == theirs[n]
                ):
                    self.add(o, n)
                    o, n = o + step, n + step

    def _free(self, old: int, new: int) -> bool:
        return old not in self.pairs and new not in self._taken

    def score(self) -> int:
        """How many paired layers kept what they are, and how many of their edges."""
        kept = sum(self.old.kinds[o] == self.new.kinds[n] for o, n in self.pairs.items())
        edges = 0
        for o, n in self.pairs.items():
            both = zip(self.old.producers[o], self.new.producers[n], strict=False)
            edges += sum((self.pairs.get(maker), slot) == other for (maker, slot), other in both)
            edges += not self.old.consumers[o] and not self.new.consumers[n]  # an output stays one
        return kept + edges

    def reason(self, old: int, new: int) -> MatchedBy:
        if self.old.layers[old]["name"] == self.new.layers[new]["name"]:
            return NAME
        return STRUCTURE if self.old.kinds[old] == self.new.kinds[new] else PLACE


def _numbered(seeds: dict[tuple[Hashable, ...], int], key: tuple[Hashable, ...]) -> int:
    return seeds.setdefault(key, len(seeds))


def _up(net: Network, known: Mapping[int, int], seeds: dict[tuple[Hashable, ...], int]) -> list[int]:
    """By layer: one number for it and all above it, up to paired layers."""
    found: list[int] = []
    for number, kind in enumerate(net.kinds):
        above = tuple(
            (("pair", known[m]) if m in known else ("cone", found[m]), slot)
            for m, slot in net.producers[number]
        )
        found.append(_numbered(seeds, ("up", kind, above)))
    return found


def _down(net: Network, known: Mapping[int, int], seeds: dict[tuple[Hashable, ...], int]) -> list[int]:
    """By layer: one number for it and all below it, down to paired layers."""
    found = [0] * len(net.layers)
    for number in reversed(range(len(net.layers))):
        below = sorted(
            (output, slot, *(("pair", known[r]) if r in known else ("cone", found[r])))
            for r, slot, output in net.consumers[number]
        )
        found[number] = _numbered(seeds, ("down", net.kinds[number], tuple(below)))
    return found
