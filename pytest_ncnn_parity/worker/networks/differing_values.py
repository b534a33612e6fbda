"""What another model computes in place of some of the reference's values, from those in front of them.

Once a value agrees, what reads it is computed from the reference's, so that a difference ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.folding import limits
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made

DEEPEST = 32  # how many layers of the other model may lie behind each other between two known values
MOST_BEHIND = 8  # how many values are computed in search of one that agrees


class NoValue(Exception):
    """A value of the other model that does not follow from those of the reference that are held."""


class DifferingValues:
    """The values that `net` has computed so far.

    `in_floats` gives a value as what its readers take it for, and `fed` one of the reference as the
    other model has it.
    """

    def __init__(
        self,
        net: LoadedNet,
        counterparts: Counterparts,
        in_floats: Callable[[str, Blob], Blob],
        fed: Callable[[str, Blob], Blob],
    ) -> None:
        self._net = net
        self._counterparts = counterparts
        self._in_floats = in_floats
        self._fed = fed
        self._made: Made = {}  # by blob there
        self._differing: set[str] = set()  # sources of blobs here
        self._same: dict[str, str] = {}  # by source there, that here which turned out to have its value

    def differ_in(self, blobs: Iterable[str]) -> bool:
        return any(self._counterparts.sources[blob] in self._differing for blob in blobs)

    def add(self, blobs: Iterable[str]) -> None:
        """Take note that `blobs` here differ, so that what reads them is computed from the other's."""
        self._differing.update(self._counterparts.sources[blob] for blob in blobs)

    def outputs(self, layer: Layer, held: Mapping[str, Blob]) -> dict[str, Blob | None]:
        """Return what corresponds to the outputs of `layer`; None where nothing does.

        `held`: the reference's values. Raises StepFailed or NoValue.
        """
        known = self._known(layer, held)
        made: dict[str, Blob | None] = {}
        for here in layer.outputs:
            there = self._counterparts.blob(here)
            if there is None:
                made[here] = None
            else:
                made[here] = self._in_floats(there, self._value(there, known, 0))
        return made

    def _known(self, layer: Layer, held: Mapping[str, Blob]) -> dict[str, Blob]:
        """Return the reference's values by their sources, without the outputs of `layer`."""
        sources = self._counterparts.sources
        known = {sources[blob]: value for blob, value in held.items()}
        for blob in layer.outputs:
            known.pop(sources[blob], None)
        return known

    def behind(self, layer: Layer, held: Mapping[str, Blob]) -> dict[str, Blob]:
        """Return, by blob there, what corresponds to the outputs of `layer` and what becomes of it.

        Only layers to which nothing here corresponds are followed, and none that limits its values.
        """
        known, graph = self._known(layer, held), self._counterparts.there
        found: dict[str, Blob] = {}
        waiting = [there for here in layer.outputs if (there := self._counterparts.blob(here))]
        while waiting and len(found) < MOST_BEHIND:
            blob = waiting.pop(0)
            try:
                found[blob] = self._in_floats(blob, self._value(blob, known, 0))
            except (StepFailed, NoValue):
                continue
            for reader in _readers(graph, blob):
                alone = all(self._counterparts.agreeing(one)[1] is None for one in reader.outputs)
                if alone and not limits(reader):
                    waiting += reader.outputs
        return found

    def are_same(self, here: str, there: str) -> None:
        """Take note that a value here, and all that is computed from it, is to be fed as `there`."""
        source, _ = self._counterparts.agreeing(there)
        self._same[source] = self._counterparts.sources[here]

    def read_by(self, layer: Layer) -> set[str]:
        """Return the sources of what `layer` reads here, and of what is fed to its counterpart."""
        at = self._counterparts.of.get(layer.number)
        fed = () if at is None else at.feeds.values()
        return {self.source(blob) for blob in (*layer.inputs, *fed)}

    def last_reader(self, layer: Layer) -> int:
        """Return the number of the last layer here that reads what `layer` gives, or its own."""
        readers = self._counterparts.here.readers(layer)
        return max((reader.number for reader in readers), default=layer.number)

    def source(self, here: str) -> str:
        return self._counterparts.sources[here]

    def maker(self, there: str) -> Layer:
        return self._counterparts.there.producer[self._counterparts.agreeing(there)[0]]

    def _value(self, blob: str, known: Mapping[str, Blob], depth: int) -> Blob:
        blob, here = self._counterparts.agreeing(blob)
        here = self._same.get(blob, here)
        if here is not None and here in known and here not in self._differing:
            return self._fed(blob, known[here])
        if blob not in self._made:
            maker = self._counterparts.there.producer[blob]
            if maker.type == "Input" or depth > DEEPEST:
                raise NoValue(blob)
            inputs = {one: self._value(one, known, depth + 1) for one in maker.inputs}
            self._made.update(self._net.run_layer(maker, inputs, on="changed"))
        return self._made[blob]


def _readers(graph: Graph, blob: str) -> Iterator[Layer]:
    """Yield the layers that read `blob`, also by way of copies."""
    for reader in graph.consumers[blob]:
        if is_copy(reader):
            for copy in reader.outputs:
                yield from _readers(graph, copy)
        else:
            yield reader
