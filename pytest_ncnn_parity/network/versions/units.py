"""A network as units: groups of layers that a converter may fold into one. Pure.

An optimizer folds a BatchNorm, a Scale or a factor into the weights in front of it, and an activation
into the layer (tools/ncnnoptimize.cpp); a quantizer changes parameters. So networks are matched by
units, which both files have, and by those parameters that such tools leave unchanged.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Mapping
from functools import cached_property

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, copies, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimals
from pytest_ncnn_parity.network.versions.directions import joined
from pytest_ncnn_parity.network.versions.folding import (
    CHANGED_BY_FOLDING,
    FACTORS,
    WITH_OFFSETS,
    is_activation,
)
from pytest_ncnn_parity.network.versions.matchable import Output, Reader, commutes, consumers_of
from pytest_ncnn_parity.network.versions.products import product_of
from pytest_ncnn_parity.network.versions.unit import Unit, is_scalar

_RENAMING = frozenset("Split Noop Dropout DeepCopy".split())
_WITH_CONSTANTS = frozenset((Binary.ADD, Binary.SUB, Binary.MUL, Binary.DIV))


def is_copy(layer: Layer) -> bool:
    """Whether `layer` only passes its input on under other names."""
    return layer.type in _RENAMING and len(layer.inputs) == 1 and copies(layer)


def sources(graph: Graph) -> dict[str, str]:
    """By blob, the blob whose value it has: itself, or what a layer copies that only renames it."""
    known: dict[str, str] = {}
    for layer in graph.layers:
        copy = is_copy(layer)
        known.update({blob: known[layer.inputs[0]] if copy else blob for blob in layer.outputs})
    return known


def _constants(graph: Graph) -> dict[str, Layer]:
    """By blob that depends on no input of the network, the layer that makes it."""
    known: dict[str, Layer] = {}
    for layer in graph.layers:
        computed = bool(layer.inputs) and known.keys() >= set(layer.inputs)
        if len(layer.outputs) == 1 and (layer.type == "MemoryData" or computed):
            known[layer.outputs[0]] = layer
    return known


class Units:
    """The units of `graph` in running order, numbered from 0, as a `Matchable`.

    `joins`: whether two recurrent layers of one direction each are one unit with what joins them.
    `apart`: the numbers of layers that are folded into none in front of them.
    """

    def __init__(self, graph: Graph, joins: bool = False, apart: Container[int] = ()) -> None:
        self.graph = graph
        self._joins = joins
        self._apart = apart
        self.sources = sources(graph)
        self._readers: dict[str, list[Layer]] = {blob: [] for blob in self.sources}
        for layer in graph.layers:
            if not is_copy(layer):
                for blob in dict.fromkeys(self.sources[blob] for blob in layer.inputs):
                    self._readers[blob].append(layer)
        self._constants = _constants(graph)
        self._read_once = {b: one for b, one in self._constants.items() if len(self._readers[b]) == 1}
        stored = {blob: one for blob, one in self._read_once.items() if one.type == "MemoryData"}
        self._products = {one.number: product_of(one, stored) for one in graph.layers}
        united = list(self._united())
        inside = {layer.number for unit in united for layer in self._constants_of(unit)}
        self.units = [unit for unit in united if unit.core.number not in inside]

    def _united(self) -> Iterator[Unit]:
        taken: set[int] = set()
        for layer in self.graph.layers:
            if layer.number in taken or is_copy(layer):
                continue
            both = joined(layer, self.graph, self.sources, self._readers) if self._joins else ()
            folded = both or tuple(self._chain(layer))
            taken.update(one.number for one in folded)
            yield Unit(folded, self._products[layer.number], bool(both))

    def _constants_of(self, unit: Unit) -> Iterator[Layer]:
        """Yield what makes the constants that `unit` alone reads as weights, wherever it stands."""
        reading = unit.layers[1:] if unit.product is None else unit.layers
        read = [blob for layer in reading for blob in layer.inputs]
        while read:
            if (maker := self._read_once.get(read.pop())) is not None:
                yield maker
                read += maker.inputs

    def _chain(self, core: Layer) -> Iterator[Layer]:
        yield core
        layer: Layer | None = core
        folds = core.type in (*CHANGED_BY_FOLDING, *WITH_OFFSETS, "BatchNorm")
        folds = folds or self._products[core.number] is not None
        if not folds or Unit((core,)).activates:
            return
        while layer is not None:
            layer = self._folded_next(layer, core)
            if layer is None or layer.number in self._apart:
                return
            yield layer
            if is_activation(layer):
                return

    def _folded_next(self, layer: Layer, core: Layer) -> Layer | None:
        """The layer that may be folded next: the only reader of the only output; else None."""
        if len(layer.outputs) != 1:
            return None
        readers = self._readers[layer.outputs[0]]
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            return None
        (reader,) = readers
        if core.type == "BatchNorm":
            return reader if reader.type == "Scale" and len(reader.inputs) == 1 else None
        if is_scalar(reader) and not Unit((core,)).takes_scalars:
            return None
        if core.type in WITH_OFFSETS and self._products[core.number] is None:
            return reader if self._is_factor(reader) else None
        return reader if is_activation(reader) or self._is_factor(reader) else None

    def _is_factor(self, layer: Layer) -> bool:
        if layer.type in FACTORS:
            return len(layer.inputs) == 1
        if layer.type != "BinaryOp" or op_type(layer) not in _WITH_CONSTANTS:
            return False
        others = [blob for blob in layer.inputs if blob in self._constants]
        return len(layer.inputs) - len(others) == 1

    def is_weighted(self, unit: Unit) -> bool:
        """Whether an Eltwise, the only reader of the output of `unit`, has a coefficient for it."""
        readers = [] if len(unit.outputs) != 1 else self._readers[unit.outputs[0]]
        if len(readers) != 1 or readers[0].type != "Eltwise":
            return False
        try:
            factors = decimals(readers[0], 1)
        except NotANumber:
            return False
        weighted = zip(readers[0].inputs, factors, strict=False)  # no coefficients: all are 1
        return any(factor != 1.0 and self.sources[blob] == unit.outputs[0] for blob, factor in weighted)

    # -- as what is matched ----------------------------------------------------------------------

    @cached_property
    def names(self) -> list[str]:
        return [unit.core.name for unit in self.units]

    @cached_property
    def types(self) -> list[str]:
        return [unit.core.type for unit in self.units]

    @cached_property
    def operators(self) -> list[Hashable]:
        return [unit.operator for unit in self.units]

    @cached_property
    def _makers(self) -> Mapping[str, Output]:
        """By blob, the unit that makes it, and which of its outputs it is."""
        return {
            blob: (number, slot)
            for number, unit in enumerate(self.units)
            for layer in unit.layers
            for slot, blob in enumerate(layer.outputs)
        }

    @cached_property
    def producers(self) -> list[list[Output]]:
        return [
            [self._makers[source] for source in self._read(unit) if source in self._makers]
            for unit in self.units
        ]

    @cached_property
    def commuting(self) -> frozenset[int]:
        cores = (unit.core for unit in self.units)
        return frozenset(n for n, core in enumerate(cores) if commutes(core.type, core.params))

    def _read(self, unit: Unit) -> Iterator[str]:
        own = {blob for layer in unit.layers for blob in layer.outputs}
        for layer in unit.layers[:1] if unit.joined else unit.layers:
            yield from (self.sources[b] for b in layer.inputs if self.sources[b] not in own)

    @cached_property
    def extracted(self) -> list[list[str]]:
        extracted: list[list[str]] = [[] for _ in self.units]
        for blob in self.graph.outputs:
            source = self.sources[blob]
            if source in self._makers:
                extracted[self._makers[source][0]].append(blob)
        return extracted

    @cached_property
    def consumers(self) -> list[list[Reader]]:
        return consumers_of(self.producers)


def equivalent(own: Units, other: Units, unit: int, counterpart: int) -> dict[str, str]:
    """The equivalent blobs of two matched units: their outputs, if they have as many."""
    ours, theirs = own.units[unit], other.units[counterpart]
    if ours.takes_scalars != theirs.takes_scalars:
        ours, theirs = ours.up_to_scalar, theirs.up_to_scalar
    weighted = own.is_weighted(ours), other.is_weighted(theirs)
    if weighted[0] != weighted[1]:  # a factor in front of a sum is a coefficient of the sum there
        ours, theirs = (ours, theirs.without_factor) if weighted[0] else (ours.without_factor, theirs)
    pairs = [(ours.layers[-1], theirs.layers[-1])]
    if ours.types == theirs.types:
        pairs = list(zip(ours.layers, theirs.layers, strict=True))
    elif (mine := ours.linear) is not None and (its := theirs.linear) is not None:
        pairs.append((mine, its))
        if ours.activates != theirs.activates:  # one of them may be several layers, or another unit
            mine, its = ours.before_scalars, theirs.before_scalars
            pairs = [(mine, its)] if mine is not None and its is not None else []
    return {
        blob: there
        for mine, its in pairs
        if len(mine.outputs) == len(its.outputs)
        for blob, there in zip(mine.outputs, its.outputs, strict=True)
    }
