"""The layers of another model that compute what a layer of this model computes. Pure.

Two blobs are equivalent if the layers that produce them are matched. Between equivalent blobs each
model has layers of its own: one in each, or one folded layer in place of several, or any other numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import rounds_to_int8
from pytest_ncnn_parity.network.versions.connected import computing, connected_alike
from pytest_ncnn_parity.network.versions.match import PLACE, STRUCTURE, MatchedBy
from pytest_ncnn_parity.network.versions.units import Units, is_copy


class Counterpart(Frozen):
    """`layers` of the other model, in running order, compute what the layers `replaced` compute here.

    `feeds`: by blob of the other model that is fed, the blob here with its value. `outputs`: by blob
    here, the equivalent blob of the other model. `by`: how they were matched. `same_weights`: whether
    the weights are known to be equal, byte for byte or once those of one are rounded to fp16.
    """

    layers: tuple[Layer, ...]
    replaced: tuple[Layer, ...]
    feeds: Mapping[str, str]
    outputs: Mapping[str, str]
    by: MatchedBy
    same_weights: bool = False

    @property
    def last(self) -> Layer:
        return self.layers[-1]

    @property
    def quantized(self) -> tuple[Layer, ...]:
        """The layers that produce int8 from their inputs or on the way to their outputs."""
        return tuple(layer for layer in self.layers if rounds_to_int8(layer))

    def __str__(self) -> str:
        *folded, last = (f"{layer.name} ({layer.type})" for layer in self.layers)
        text = f"{' with '.join([last, *folded])}, matched by {self.by}"
        text += " and with the same weights" if self.same_weights else ""
        if len(self.replaced) > 1:
            text += f", in place of {', '.join(layer.name for layer in self.replaced)}"
        return text


class Counterparts(Frozen):
    """The model `there` matched with the model `here`.

    `inputs` and `outputs` map the networks' inputs and outputs, and `blobs` maps all equivalent blobs:
    from the name here to the name there. `units`: by number of a unit here, the number of its match,
    and how it was matched. `halves`: how many weights are in fp16 in the file of this model and in
    that of the other; `brains`: how many are in bf16. `rounded`: numbers of layers here whose weights
    may be those there but for a rounding to 16 bits. `only_rounded`: those of which it is known that
    they differ in nothing else, and `nothing_else`: whether nothing else differs in both networks.
    `same_weights`: numbers of units here that have the weights of their match, byte for byte, as far
    as that was looked at.
    """

    here: Graph
    there: Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    blobs: Mapping[str, str]
    units: Mapping[int, tuple[int, MatchedBy]]
    _own: Units
    _other: Units
    halves: tuple[int, int] = (0, 0)
    brains: tuple[int, int] = (0, 0)
    rounded: frozenset[int] = frozenset()
    only_rounded: frozenset[int] = frozenset()
    nothing_else: bool = False
    same_weights: frozenset[int] = frozenset()

    @cached_property
    def in_int8(self) -> bool:
        """Whether the other model computes in int8 anywhere."""
        return any(rounds_to_int8(layer) for layer in self.there.layers)

    def blob(self, here: str) -> str | None:
        """The blob there that has the value of the blob `here`."""
        end = self.inputs.get(here) or self.outputs.get(here)
        return end or self.blobs.get(self._own.sources[here])

    def agreeing(self, there: str) -> tuple[str, str | None]:
        """The blob there whose value `there` has, and the blob here that has this value, if any."""
        source = self._other.sources[there]
        return source, self._back.get(source)

    def source_there(self, there: str) -> str:
        """The blob there whose value `there` has, where layers in between only copy it."""
        return self._other.sources[there]

    @property
    def sources(self) -> Mapping[str, str]:
        """By blob here, the blob whose value it has, where layers in between only copy it."""
        return self._own.sources

    @cached_property
    def _back(self) -> dict[str, str]:
        return {there: here for here, there in self.blobs.items()}

    @cached_property
    def _ancestors(self) -> list[int]:
        """For each layer here, a bit set: one bit for itself and for every layer that it depends on."""
        known: list[int] = []
        for layer in self.here.layers:
            bits = 1 << layer.number
            for blob in layer.inputs:
                bits |= known[self.here.producer[blob].number]
            known.append(bits)
        return known

    @cached_property
    def _matched_by(self) -> dict[int, MatchedBy]:
        """By the number of a layer here, how its unit was matched."""
        return {
            layer.number: by
            for unit, (_, by) in self.units.items()
            for layer in self._own.units[unit].layers
        }

    @cached_property
    def of(self) -> dict[int, Counterpart]:
        """By the number of a layer here, its counterpart; layers that compute nothing have none."""
        counterparts = {layer.number: self._counterpart(layer) for layer in self.here.layers}
        return {number: one for number, one in counterparts.items() if one is not None}

    @cached_property
    def misplaced(self) -> frozenset[str]:
        """The blobs here whose counterparts are computed from such as this model computes elsewhere."""
        return frozenset(
            blob
            for layer in self.here.layers
            if layer.number not in self.of and layer.type != "Input" and layer.outputs
            if self.blobs.keys() >= set(layer.outputs)
            for blob in layer.outputs
        )

    def _counterpart(self, layer: Layer) -> Counterpart | None:
        own = set(layer.outputs)
        if layer.type == "Input" or not own or not own <= self.blobs.keys():
            return None
        feeds: dict[str, str] = {}

        def is_fed(blob: str) -> bool:
            value = self._back.get(self._other.sources[blob])
            if value is None or value in own:
                return False
            feeds[blob] = value
            return True

        layers = _behind(self.there, [self.blobs[blob] for blob in layer.outputs], is_fed)
        depends = self._ancestors[layer.number]
        makers = (self.here.producer[blob].number for blob in feeds.values())
        if any(one.type == "Input" for one in layers) or any(not depends >> n & 1 for n in makers):
            return None  # it depends on a layer that this network has not, or has elsewhere
        stops = set(feeds.values())

        def is_known(blob: str) -> bool:
            source = self._own.sources[blob]
            return source not in own and (source in stops or source in self.blobs)

        replaced = _behind(self.here, layer.outputs, is_known)
        outputs = {blob: self.blobs[blob] for blob in layer.outputs}
        by = self._matched_by.get(layer.number, STRUCTURE if len(replaced) > 1 else PLACE)
        same = layer.number in self._with_same_weights
        return Counterpart(tuple(layers), tuple(replaced), feeds, outputs, by, same)

    @cached_property
    def _with_same_weights(self) -> frozenset[int]:
        """The numbers of the layers here whose weights are those of their match."""
        return frozenset(self._own.units[unit].core.number for unit in self.same_weights)

    @cached_property
    def judged_at(self) -> dict[int, Layer]:
        """By the number of a layer here without a counterpart, the layer at which it is judged.

        In weights that are the same nothing has been folded.
        """
        return {
            one.number: self.here.layers[number]
            for number, counterpart in self.of.items()
            for one in counterpart.replaced
            if one.number not in self.of and not (counterpart.same_weights and _has_effect(one))
        }

    @cached_property
    def only_here(self) -> list[Layer]:
        """The layers that compute something here to which nothing there corresponds."""
        known = self.of.keys() | self.judged_at.keys()
        return [one for one in _computing(self.here, self._own) if one.number not in known]

    @cached_property
    def restructured(self) -> frozenset[int]:
        """The layers here in place of which, or next to which, the other model has other operators.

        Values of such a layer and of its counterpart may differ though the networks compute the same.
        """
        own, other = self._own, self._other
        partner = {unit: there for unit, (there, _) in self.units.items()}

        def is_kept(unit: int) -> bool:
            there = partner.get(unit)
            if there is None or own.units[unit].computed != other.units[there].computed:
                return False
            made = [(partner.get(maker), slot) for maker, slot in own.producers[unit]]
            read = {(partner.get(reader), slot) for reader, _, slot in own.consumers[unit]}
            if read != {(reader, slot) for reader, _, slot in other.consumers[there]}:
                return False
            makers = other.producers[there]
            return Counter(made) == Counter(makers) if unit in own.commuting else made == makers

        changed = [unit for n, unit in enumerate(own.units) if not is_kept(n)]
        return frozenset(layer.number for unit in changed for layer in unit.layers)

    @cached_property
    def connected_alike(self) -> tuple[frozenset[int], bool]:
        """The layers here whose match reads the same values, and whether both networks are alike."""
        own, other = self._own, self._other
        partner = {unit: there for unit, (there, _) in self.units.items()}
        alike = connected_alike(own, other, partner)
        whole = computing(own) <= alike and computing(other) <= {partner[unit] for unit in alike}
        whole &= not (self.moved or self.exchanged)
        return frozenset(layer.number for unit in alike for layer in own.units[unit].layers), whole

    @cached_property
    def moved(self) -> list[str]:
        """The outputs here that a layer makes there which corresponds to another one here."""
        return self._elsewhere(self.outputs)

    @cached_property
    def exchanged(self) -> list[str]:
        """The inputs here whose readers' counterparts read another input there."""
        return self._elsewhere(self.inputs)

    def _elsewhere(self, ends: Mapping[str, str]) -> list[str]:
        values = {blob: self.blobs.get(self._own.sources[blob]) for blob in ends}
        return [
            blob
            for blob, value in values.items()
            if value is not None and value != self._other.sources[ends[blob]]
        ]

    @property
    def cores(self) -> dict[int, int]:
        """By number of the layer here that gives a unit its weights, that of its match there."""
        return {
            self._own.units[unit].core.number: self._other.units[there].core.number
            for unit, (there, _) in self.units.items()
        }

    @property
    def pairs(self) -> Iterator[tuple[tuple[Layer, ...], tuple[Layer, ...]]]:
        """The layers of each unit here with those of its match: what is folded into one, or may be."""
        for unit, (there, _) in self.units.items():
            yield self._own.units[unit].layers, self._other.units[there].layers

    @cached_property
    def only_there(self) -> list[Layer]:
        """The layers that compute something there to which nothing here corresponds."""
        same = {self._own.units[unit].core.number for unit in self.same_weights}
        cores = {here: there for here, there in self.cores.items() if here in same}
        used = {
            one.number
            for number, counterpart in self.of.items()
            for one in counterpart.layers
            if one.number >= cores.get(number, 0) or not _has_effect(one)
        }
        return [one for one in _computing(self.there, self._other) if one.number not in used]


def _has_effect(layer: Layer) -> bool:
    return not (is_copy(layer) or layer.type == "MemoryData")


def _computing(graph: Graph, units: Units) -> list[Layer]:
    copies = {layer.number for layer in graph.layers}
    copies -= {layer.number for unit in units.units for layer in unit.layers}
    copies = {n for n in copies if graph.layers[n].type != "MemoryData"}
    return [one for one in graph.layers if one.type != "Input" and one.number not in copies]


def _behind(graph: Graph, blobs: Iterable[str], stops_at: Callable[[str], bool]) -> list[Layer]:
    """The layers that must run to compute `blobs` from the blobs for which `stops_at` is true."""
    needed: set[int] = set()
    waiting = [graph.producer[blob] for blob in blobs]
    while waiting:
        layer = waiting.pop()
        if layer.number not in needed:
            needed.add(layer.number)
            waiting += [graph.producer[blob] for blob in layer.inputs if not stops_at(blob)]
    return [graph.layers[number] for number in sorted(needed)]
