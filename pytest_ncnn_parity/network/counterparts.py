"""Finds the layers of another model that compute what a layer of this model computes. Pure.

Two blobs are equivalent if the layers that produce them are matched. Between equivalent blobs each
model has layers of its own: one in each, or one folded layer in place of several, or any other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from functools import cached_property

from pytest_ncnn_parity.base.errors import quoted
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.cones import views_of
from pytest_ncnn_parity.network.folding import is_activation
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import rounds_to_int8
from pytest_ncnn_parity.network.match import PLACE, MatchedBy, match
from pytest_ncnn_parity.network.operators import stores_half
from pytest_ncnn_parity.network.units import Units, equivalent, is_copy

MOST_NAMED = 8  # how many blobs one message names


class Unlike(Exception):
    """The other model is not another version of the same network; the text says why."""


def _changes(layer: Layer) -> bool:
    """Whether folding `layer` changes weights, as a BatchNorm does and an activation does not."""
    return not (stores_half(layer) or is_copy(layer) or is_activation(layer))


class Counterpart(Frozen):
    """`layers` of the other model, in running order, compute what the layers `replaced` compute here.

    `feeds`: by blob of the other model that is fed, the blob here with its value. `outputs`: by blob
    here, the equivalent blob of the other model. `by`: how they were matched.
    """

    layers: tuple[Layer, ...]
    replaced: tuple[Layer, ...]
    feeds: Mapping[str, str]
    outputs: Mapping[str, str]
    by: MatchedBy

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
        if len(self.replaced) > 1:
            text += f", in place of {', '.join(layer.name for layer in self.replaced)}"
        return text


class Counterparts(Frozen):
    """The model `there` matched with the model `here`.

    `inputs` and `outputs` map the networks' inputs and outputs, and `blobs` maps all equivalent blobs:
    from the name here to the name there. `units`: by number of a unit here, the number of its match,
    and how it was matched. `halves`: whether weights are in fp16 in the file of this model, and of the
    other.
    """

    here: Graph
    there: Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    blobs: Mapping[str, str]
    units: Mapping[int, tuple[int, MatchedBy]]
    _own: Units
    _other: Units
    halves: tuple[bool, bool] = (False, False)

    @cached_property
    def in_int8(self) -> bool:
        """Whether the other model computes in int8 anywhere."""
        return any(rounds_to_int8(layer) for layer in self.there.layers)

    @cached_property
    def rounded(self) -> frozenset[int]:
        """The layers here whose weights may be those of their counterparts but for a rounding to fp16.

        Where both files have weights in fp16, they are the same, unless others were folded into them.
        """
        one_has = self.halves[0] != self.halves[1]
        if not any(self.halves):
            return frozenset()
        return frozenset(
            number
            for number, there in self.of.items()
            if any(map(stores_half, there.layers)) and (one_has or any(map(_changes, there.replaced)))
        )

    def blob(self, here: str) -> str | None:
        """The blob there that has the value of the blob `here`."""
        end = self.inputs.get(here) or self.outputs.get(here)
        return end or self.blobs.get(self._own.sources[here])

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
        by = self._matched_by.get(layer.number, "place")
        return Counterpart(tuple(layers), tuple(replaced), feeds, outputs, by)

    @cached_property
    def judged_at(self) -> dict[int, Layer]:
        """By the number of a layer here without a counterpart, the layer at which it is judged."""
        return {
            one.number: self.here.layers[number]
            for number, counterpart in self.of.items()
            for one in counterpart.replaced
            if one.number not in self.of
        }

    @cached_property
    def only_here(self) -> list[Layer]:
        """The layers that compute something here to which nothing there corresponds."""
        known = self.of.keys() | self.judged_at.keys()
        return [one for one in _computing(self.here, self._own) if one.number not in known]

    @cached_property
    def moved(self) -> list[str]:
        """The outputs here that a layer makes there which corresponds to another one here."""
        sources = {blob: self.blobs.get(self._own.sources[blob]) for blob in self.outputs}
        return [
            blob
            for blob, source in sources.items()
            if source is not None and source != self._other.sources[self.outputs[blob]]
        ]

    @cached_property
    def only_there(self) -> list[Layer]:
        """The layers that compute something there to which nothing here corresponds."""
        used = {one.number for counterpart in self.of.values() for one in counterpart.layers}
        return [one for one in _computing(self.there, self._other) if one.number not in used]


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


def counterparts(here: Graph, there: Graph) -> Counterparts:
    """Match the layers of `there` with those of `here`. Unlike if they are not the same network."""
    own, other = Units(here), Units(there)
    pairs = match(own, other)
    file = printable(there.source.rpartition("/")[2])
    if not any(own.units[unit].core.type != "Input" and by != PLACE for unit, (_, by) in pairs.items()):
        raise Unlike(f"no layer of {file} matches one of this model, neither by name nor by structure")
    partner = {unit: counterpart for unit, (counterpart, _) in pairs.items()}
    back = {counterpart: unit for unit, counterpart in partner.items()}
    makers, makers_there = _makers(own), _makers(other)
    blobs: dict[str, str] = {}
    for unit, counterpart in partner.items():
        # a converter may move a Reshape behind the layer that it was in front of
        mine, its = makers[unit], makers_there[counterpart]
        if partner.get(mine, its) == its and back.get(its, mine) == mine:
            blobs |= equivalent(own, other, unit, counterpart)
    known = {blob: blobs[source] for blob, source in own.sources.items() if source in blobs}
    inputs = _paired(here.inputs, there.inputs, known)
    outputs = _paired(here.outputs, there.outputs, known)
    left, more = _left(here.inputs, inputs), _left(there.inputs, inputs.values())
    if len(left) != len(more):
        theirs, ours = _listed(there.inputs), _listed(here.inputs)
        raise Unlike(f"{file} has other inputs: {theirs}, where this model has {ours}")
    inputs |= zip(left, more, strict=True)  # in their order
    blobs |= inputs
    for blob, counter in outputs.items():
        blobs.setdefault(own.sources[blob], other.sources[counter])
    return Counterparts(here, there, inputs, outputs, _one_to_one(blobs), pairs, own, other)


def _makers(units: Units) -> list[int]:
    """For each unit the one that computes its values: itself, or for a Reshape the one before it."""
    makers = list(range(len(units.units)))
    for view in sorted(views_of(units)):
        makers[view] = makers[units.producers[view][0][0]]
    return makers


def _one_to_one(blobs: Mapping[str, str]) -> dict[str, str]:
    """For each of `blobs` there with a blob here, only one blob here: the first in running order."""
    taken: dict[str, str] = {}
    for here, there in blobs.items():
        taken.setdefault(there, here)
    return {here: there for there, here in taken.items()}


def _paired(ours: tuple[str, ...], theirs: tuple[str, ...], known: Mapping[str, str]) -> dict[str, str]:
    """The inputs or outputs of both networks paired: by `known`, by name, and a last one left.

    By name alone if both networks have the same names: by these a program feeds and extracts them.
    """
    if set(ours) == set(theirs):
        return {blob: blob for blob in ours}
    pairs = {blob: known[blob] for blob in ours if known.get(blob) in theirs}
    pairs |= {
        blob: blob
        for blob in ours
        if blob not in pairs and blob in theirs and blob not in pairs.values()
    }
    left, there = _left(ours, pairs), _left(theirs, pairs.values())
    return pairs | dict(zip(left, there, strict=True)) if len(left) == len(there) == 1 else pairs


def _left(blobs: tuple[str, ...], paired: Container[str]) -> list[str]:
    return [blob for blob in blobs if blob not in paired]


def _listed(blobs: tuple[str, ...]) -> str:
    shown = ", ".join(quoted(blob) for blob in blobs[:MOST_NAMED])
    return f"{shown} and {len(blobs) - MOST_NAMED} more" if len(blobs) > MOST_NAMED else shown
