"""Steps through layers in running order, and drops each value after its last reader has run."""

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
    """Yield each of `layers` in turn; afterwards drop from `blobs` what no later layer `reads`.

    The blobs in `kept` are never dropped.
    """
    steps = [(layer, reads(layer)) for layer in layers]
    last_reader = {blob: layer.number for layer, read in steps for blob in read}
    for layer, read in steps:
        yield layer
        for blob in (*read, *layer.outputs):
            if last_reader.get(blob, -1) <= layer.number and blob not in kept:
                blobs.pop(blob, None)


def fed(layer: Layer, inputs: Mapping[str, Blob]) -> Made:
    """Return those outputs of `layer` that `inputs` feeds: all those of an Input layer."""
    return {blob: inputs[blob] for blob in layer.outputs if blob in inputs}


def stepped(
    layers: Sequence[Layer], inputs: Made, blobs: Made, run: Callable[[Layer, Made], Made]
) -> Iterator[tuple[Layer, Made]]:
    """Yield each of `layers` with its outputs, in running order, up to the first that cannot be run.

    `blobs`, which is empty at first, holds the values that are still to be read. `run` runs one layer
    on `blobs` and returns its outputs.
    """
    for layer in walk(layers, blobs):
        try:
            outputs = fed(layer, inputs) if layer.type == "Input" else run(layer, blobs)
        except StepFailed:
            return
        yield layer, outputs
        blobs.update(outputs)


class Chain:
    """A network that is stepped through layer by layer, on the values that it computes itself.

    `blobs` holds the values that are still to be read. `lost` holds, by name, the failure of each blob
    that could not be computed.
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
        """Yield each layer with its outputs: none if it failed or one of its inputs is lost."""
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
