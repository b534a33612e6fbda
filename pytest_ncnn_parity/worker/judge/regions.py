"""Where the values of another model agree again behind a layer, if all else it reads is the reference's.

A fault spoils everything behind it in the other model's own run, also what is only written otherwise.
Fed with the reference's values in front of it, such a part shows by itself that nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.differing_values import DifferingValues, NoValue
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import Chain

MOST_LAYERS = 32  # of a region; a fault's would go on to the end of the network


class Region:
    """The layers behind `begin` whose values differ, and those behind them whose values agree.

    `ends`: outputs of the network, which must not differ. `compared` gives the metrics of a value of the
    other model, or None if it has another shape.
    """

    def __init__(
        self,
        begin: Layer,
        values: DifferingValues,
        ends: Container[str],
        compared: Callable[[str, Blob, Blob], Metrics | None],
    ) -> None:
        self.begin = begin
        self._values = values
        self._ends = ends
        self._compared = compared
        self._is_lost = False
        self.layers: set[int] = set()
        self.readers: list[Layer] = []
        self.errors: dict[str, Metrics | None] = {}

    @property
    def closes(self) -> bool:
        """Whether every way on from `begin` has led to a value that agrees."""
        return bool(self.layers and self.readers) and not self._is_lost

    def step(self, layer: Layer, blobs: Made) -> None:
        """Follow `layer`, which the reference has just run on its own values, `blobs`."""
        begins = layer.number == self.begin.number
        if self._is_lost or not (begins or self._values.differ_in(layer.inputs)):
            return
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
        known = [self.errors[blob] for blob in layer.outputs]
        if not begins and all(error is not None and error.agrees for error in known):
            self.readers.append(layer)
            return
        self.layers.add(layer.number)
        self._values.add(layer.outputs)
        reaches_an_end = any(blob in self._ends for blob in layer.outputs)
        self._is_lost = reaches_an_end or len(self.layers) > MOST_LAYERS


def followed(regions: Sequence[Region], reference: Chain) -> list[Region]:
    """Step the `reference` through its layers, and return the `regions` that close."""
    for layer, _ in reference.steps():
        for region in regions:
            region.step(layer, reference.blobs)
    return [region for region in regions if region.closes]
