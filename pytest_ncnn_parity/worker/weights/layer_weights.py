"""The weights of a model's layers, and what is computed from them once for all jobs of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8, is_quantized
from pytest_ncnn_parity.network.int8_tensors import blocks
from pytest_ncnn_parity.network.winograd import channels
from pytest_ncnn_parity.worker.weights import int8_weights
from pytest_ncnn_parity.worker.weights.checked_files import CheckedFiles, Weights
from pytest_ncnn_parity.worker.weights.int8_weights import Int8Weights, is_static, least_spare
from pytest_ncnn_parity.worker.weights.matrices import read
from pytest_ncnn_parity.worker.weights.stored import Format, StoredLayer, read_tensors

ALTERNATING: tuple[Format, ...] = ("tagged", "floats")


class LayerWeights:
    """Reads the weights of the layers of `graph`, that of `model`, from files that `files` has checked.

    Each method raises StepFailed if the files cannot be loaded.
    """

    def __init__(self, files: CheckedFiles, model: Model, graph: Graph) -> None:
        self.graph = graph
        self._files = files
        self._model = model
        self._gains: dict[tuple[int, int], float] = {}
        self._spare: float | None = None

    @property
    def _found(self) -> Weights:
        return self._files.weights(self._model, self.graph)

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return the start and end of the bytes that each layer reads in the weights file."""
        return self._found.spans

    def in_file(self, layer: Layer) -> tuple[str, int, int]:
        """Return the path of the weights file, and the start and end of the bytes that `layer` reads."""
        return (self._model.bin, *self._found.spans[layer.number])

    def stored(self, layer: Layer) -> StoredLayer:
        """Return where and how the file has the weights of `layer`."""
        path, start, end = self.in_file(layer)
        return StoredLayer(layer, path, (start, end))

    def first(self, layer: Layer, *counts: int) -> Sequence[Array]:
        """Return the first tensors that `layer` reads; `counts`: of weights and floats in turn."""
        sizes = zip(counts, cycle(ALTERNATING))
        path, start, _ = self.in_file(layer)
        read_first, _ = read_tensors(path, start, sizes)
        return [tensor.astype(np.float32) for tensor in read_first]

    def raw(self, layer: Layer) -> Array:
        """Return, in float64, the weights of a layer whose .bin entry has nothing but floats."""
        path, start, end = self.in_file(layer)
        with Path(path).open("rb") as file:
            file.seek(start)
            return np.frombuffer(file.read(end - start), "<f4").astype(np.float64)

    def of_convolution(self, layer: Layer) -> Array:
        """Return the weights of a 3x3 convolution, (outputs, inputs, 3, 3)."""
        inputs, outputs = channels(layer)
        (weights,) = self.first(layer, 9 * inputs * outputs)
        return weights.reshape(outputs, inputs, 3, 3)

    def gain(self, layer: Layer, side: int) -> float:
        """Return how many times its largest input a value inside a winograd convolution can be."""
        key = (layer.number, side)
        if key not in self._gains:
            self._gains[key] = winograd.gain(self.of_convolution(layer), side)
        return self._gains[key]

    def largest(self, layer: Layer) -> float:
        """Return the largest absolute value of the fp32 weights of `layer`; 0 if it has none."""
        return self._found.largest[layer.number]

    def not_finite(self, layer: Layer) -> int:
        """Return how many weights of `layer` are inf or nan; of weights in blocks, their scales.

        Those of a MemoryData are values, as of a mask of -inf.
        """
        if layer.type == "MemoryData":
            return 0
        if blocks(layer) is not None:
            found = read(self.stored(layer))
            return 0 if found is None else found.not_finite
        return self._found.not_finite[layer.number]

    def broken(self, layer: Layer) -> int:
        """Return how many of `not_finite` are a fault, whatever `layer` makes of them.

        The scale of an int8 layer's dead channel is none: it is inf, and may do no harm. 0 for an int8
        layer whose file does not tell which of its values are such scales.
        """
        count = self.not_finite(layer)
        if not count or not is_quantized(layer):
            return count
        infinite = self._infinite_scales(layer)
        return 0 if infinite is None else count - infinite

    def _infinite_scales(self, layer: Layer) -> int | None:
        """Return how many scales of int8 weights are inf; None if the file tells no scales apart."""
        if is_static(layer):
            weights = self.in_int8(layer)
            return None if weights is None else weights.infinite
        found = read(self.stored(layer))
        return None if found is None else sum(int(np.isposinf(s).sum()) for s in found.scales.values())

    def in_int8(self, layer: Layer) -> Int8Weights | None:
        """Return the int8 weights of `layer`; None if it has none, or its file another layout."""
        path, start, end = self.in_file(layer)
        return int8_weights.read(path, (start, end), layer)

    def int8_scale(self, layer: Layer) -> float | None:
        """Return the scale by which `layer` quantizes its input; None if it does not."""
        return self._found.int8_scales.get(layer.number)

    def given_scale(self, layer: Layer) -> float | None:
        """Return the scale by which `layer` gives its output in int8; None if it gives floats."""
        return self._found.given_scales.get(layer.number)

    def without_scale(self, layer: Layer) -> tuple[int, ...]:
        """Return the outputs of `layer` whose weights in int8 have inf as their scale.

        ncnn2table writes it where all weights are 0. In int8 these are 0 or -127, by the processor.
        """
        in_int8 = computes_in_int8(layer) and is_static(layer)
        weights = self.in_int8(layer) if in_int8 else None
        return () if weights is None else tuple(map(int, np.flatnonzero(np.isposinf(weights.scales))))

    def least_spare(self) -> float:
        """Return the spare factor of the int8 layer that uses the most of its range, at least 1."""
        if self._spare is None:
            layers = filter(is_static, self.graph.layers)
            self._spare = least_spare((layer, self.in_int8(layer)) for layer in layers)
        return self._spare
