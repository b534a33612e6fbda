"""Steps through layers in running order, and drops each value after its last reader."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.values.blob import Blob, Made


def inputs_of(layer: Layer) -> Sequence[str]:
    return layer.inputs


def walk(
    layers: Sequence[Layer],
    blobs: Made,
    kept: Container[str] = (),
    reads: Callable[[Layer], Sequence[str]] = inputs_of,
) -> Iterator[Layer]:
    """Each of `layers` in turn; once it is dealt with, `blobs` loses what none of the rest `reads`."""
    steps = [(layer, reads(layer)) for layer in layers]
    last_reader = {blob: layer.number for layer, read in steps for blob in read}
    for layer, read in steps:
        yield layer
        for blob in (*read, *layer.outputs):
            if last_reader.get(blob, -1) <= layer.number and blob not in kept:
                blobs.pop(blob, None)


def fed(layer: Layer, inputs: Mapping[str, Blob]) -> Made:
    """The values of an Input layer; of a layer whose outputs are fed in part, those that are."""
    return {blob: inputs[blob] for blob in layer.outputs if blob in inputs}


def stepped(
    layers: Sequence[Layer], inputs: Made, blobs: Made, run: Callable[[Layer, Made], Made]
) -> Iterator[tuple[Layer, Made]]:
    """Each of `layers` with its outputs, in running order, until the first that cannot be run.

    `blobs`, empty at first, holds what the current layer reads; `run` gives the outputs of a layer.
    """
    for layer in walk(layers, blobs):
        try:
            outputs = fed(layer, inputs) if layer.type == "Input" else run(layer, blobs)
        except StepFailed:
            return
        yield layer, outputs
        blobs.update(outputs)


class Chain:
    """A network that steps through its layers on the values that it computes itself.

    `blobs` are the values still to be read, `lost` those that could not be made and why not.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        inputs: Made,
        run: Callable[[Layer, Made], Made],
        kept: Container[str] = (),
        reads: Callable[[Layer], Sequence[str]] = inputs_of,
    ) -> None:
        self.blobs: Made = {}
        self.lost: dict[str, StepFailed] = {}
        self._inputs = inputs
        self._run = run
        self._layers = walk(layers, self.blobs, kept, reads)

    def steps(self) -> Iterator[tuple[Layer, Made]]:
        """Each layer with what it made: nothing, where it failed or a value for it is lost."""
        for layer in self._layers:
            yield layer, self._step(layer)

    def _step(self, layer: Layer) -> Made:
        missing = next((blob for blob in layer.inputs if blob in self.lost), None)
        try:
            if missing is not None:
                raise self.lost[missing].with_traceback(None)
            if layer.type == "Input":
                outputs = fed(layer, self._inputs)
            else:
                outputs = self._run(layer, self.blobs)
        except StepFailed as failed:
            self.lost.update(dict.fromkeys(layer.outputs, failed))
            return {}
        self.blobs.update(outputs)
        return outputs
