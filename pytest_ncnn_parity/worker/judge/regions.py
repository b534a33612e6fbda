"""Where the values of another model agree again behind a layer, if all else it reads is the reference's.

A fault spoils everything behind it in the other model's own run, also what is only written otherwise.
Fed with the reference's values in front of it, such a part shows by itself that nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.versions.folding import limits
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.differing_values import DifferingValues, NoValue
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import Chain

MOST_LAYERS = 32  # of a region; a fault's would go on to the end of the network
# how many layers of the other model are computed for all regions of a sample; with other weights in all
# of its layers there would be no end
MOST_RUNS = 512


class Region:
    """The layers behind `begins` whose values differ, and those behind them whose values agree.

    `constants`: layers without inputs that differ as well, and belong to it where they are read.
    `ends`: outputs of the network, which must not differ. `compared` gives the metrics of a value of
    the other model, or None if it has another shape.
    """

    def __init__(
        self,
        begins: Sequence[Layer],
        values: DifferingValues,
        constants: Iterable[Layer],
        ends: Container[str],
        compared: Callable[[str, Blob, Blob], Metrics | None],
    ) -> None:
        self.begins = begins
        self._first = {one.number for one in begins}
        self._values = values
        others = [one for one in constants if one.number not in self._first]
        self._constants = {values.source(blob): one for one in others for blob in one.outputs}
        self._ends = ends
        self._compared = compared
        self._is_lost = False
        self._last = max(self._first)  # of the layers that read what was found
        self.layers: set[int] = set()
        self.readers: list[Layer] = []
        self.errors: dict[str, Metrics | None] = {}
        self._right_fed: set[int] = set()  # those of the readers that are fed with the reference's value
        self.found = ""  # in words, where the other model has a value of this region
        self._there: dict[str, Blob] = {}  # what the other model makes of the first value
        self._agreeing: set[str] = set()  # blobs of this region that it has under other names

    @property
    def closes(self) -> bool:
        """Whether every way on from `begins` has led to a value that agrees."""
        return bool(self.layers and self.readers) and not self._is_lost

    @property
    def behind(self) -> list[Layer]:
        """Those of the readers that read what differs."""
        return [one for one in self.readers if one.number not in self._right_fed]

    def is_closed_by(self, layer: Layer) -> bool:
        """Whether it closes, and nothing behind `layer` belongs to it."""
        return self.closes and self._last <= layer.number

    def begins_in(self, layers: Collection[int]) -> bool:
        return self._first.issubset(layers)

    def give_up(self) -> None:
        self._is_lost = True

    def reached_by(self, layer: Layer) -> bool:
        """Whether `layer` begins the region or reads what belongs to it."""
        reads = self._values.differ_in(layer.inputs) or self._reads_agreeing(layer)
        return not self._is_lost and (layer.number in self._first or reads)

    def step(self, layer: Layer, blobs: Made) -> None:
        """Follow a `layer` that reaches it and that the reference has just run on its own, `blobs`."""
        begins = layer.number in self._first
        differs, right_fed = self._values.differ_in(layer.inputs), self._reads_agreeing(layer)
        self._add_constants(layer)
        if not blobs.keys() >= set(layer.outputs):  # the reference could not be run
            self._is_lost = True
            return
        try:
            values = self._values.outputs(layer, blobs)
        except (StepFailed, NoValue):
            self._is_lost = True
            return
        for blob, value in values.items():
            self.errors[blob] = None if value is None else self._compared(blob, value, blobs[blob])
        if right_fed and not differs:
            if all(value is None for value in values.values()):  # the next one that both have counts
                self._agreeing.update(map(self._values.source, layer.outputs))
                self._last = max(self._last, self._values.last_reader(layer))
            self.readers.append(layer)
            self._right_fed.add(layer.number)
            return
        known = [self.errors[blob] for blob in layer.outputs]
        if not begins and all(error is not None and error.agrees for error in known):
            self.readers.append(layer)
            return
        self.layers.add(layer.number)
        self._last = max(self._last, self._values.last_reader(layer))
        if self._is_elsewhere(layer, blobs, values):
            return
        self._values.add(layer.outputs)
        reaches_an_end = any(blob in self._ends for blob in layer.outputs)
        self._is_lost = reaches_an_end or len(self.layers) > MOST_LAYERS

    def _add_constants(self, reader: Layer) -> None:
        for source in self._values.read_by(reader) & self._constants.keys():
            one = self._constants.pop(source)
            self.layers.add(one.number)
            self._values.add(one.outputs)

    def _reads_agreeing(self, layer: Layer) -> bool:
        return any(self._values.source(blob) in self._agreeing for blob in layer.inputs)

    def _is_elsewhere(self, layer: Layer, blobs: Made, values: Mapping[str, Blob | None]) -> bool:
        """Whether another value of the other model agrees with that of `layer`, and is read instead.

        It is one that layers which only the other model has make of the first value; or `layer` is one
        of those that only the reference has.
        """
        if len(self.begins) > 1:
            return False
        begins = layer.number in self._first
        if begins:
            self._there = self._values.behind(layer, blobs)
        elif limits(layer):
            self._there = {}  # from here on values may agree only where they are limited
        alone = all(value is None for value in values.values())
        if self.found or len(layer.outputs) != 1 or not (begins or alone):
            return False
        (here,) = layer.outputs
        for there, value in self._there.items():
            error = self._compared(here, value, blobs[here])
            if error is not None and error.agrees:
                maker = self._values.maker(there)
                self.found = f"{maker.name} ({maker.type}) there gives what {layer.name} gives here"
                self._values.are_same(here, there)
                self._agreeing.add(self._values.source(here))
                return True
        return False


def follow(regions: Sequence[Region], reference: Chain, explains: Callable[[Region], bool]) -> None:
    """Step the `reference` through its layers, and the `regions` along with it.

    Once one closes that `explains` what its layers are red for, no other is followed from inside it.
    """
    runs, closed = 0, list[Region]()
    for layer, _ in reference.steps():
        for region in (one for one in regions if one.reached_by(layer)):
            runs += 1
            if runs > MOST_RUNS:
                region.give_up()
            else:
                region.step(layer, reference.blobs)
        for region in (one for one in regions if one not in closed and one.is_closed_by(layer)):
            closed.append(region)
            if explains(region):
                inside = region.layers.union(reader.number for reader in region.readers)
                for other in regions:
                    if other not in closed and other.begins_in(inside):
                        other.give_up()
