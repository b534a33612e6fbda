"""The weights of single layers, and what is computed from them once for all jobs of a worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.engine.int8_evidence import WeightSteps
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.network.counterparts import Counterpart
from pytest_ncnn_parity.network.folding import CHANGED_BY_FOLDING, is_activation
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8, is_quantized, weight_count
from pytest_ncnn_parity.network.int8_tensors import blocks, tensors
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.network.units import sources
from pytest_ncnn_parity.network.winograd import channels
from pytest_ncnn_parity.worker.weights import int8_weights
from pytest_ncnn_parity.worker.weights.checked_files import CheckedFiles
from pytest_ncnn_parity.worker.weights.composed import Composed
from pytest_ncnn_parity.worker.weights.folded import UNFOLDED, Affine, made_of
from pytest_ncnn_parity.worker.weights.int8_weights import (
    MOST_SPARE,
    Int8Weights,
    biases_off,
    full_scale,
    is_biased,
    is_static,
    least_spare,
    with_biases,
)
from pytest_ncnn_parity.worker.weights.matrices import Matrix, matrices, read
from pytest_ncnn_parity.worker.weights.stored import Format, StoredLayer, read_tensors

# Operators whose weights may be merged with those of others, and those that change no scale
_WEIGHTED = frozenset((*CHANGED_BY_FOLDING, "Gemm"))
_UNSCALED = frozenset({"MemoryData", "Pooling", "Interp"})
ALTERNATING: tuple[Format, ...] = ("tagged", "floats")


class WantedWeights(Frozen):
    """The weights in `floats` that a layer in int8 has, times the factors of what is `made` of them.

    `lost`: how far each may be off, if they do not stand in a file themselves. `bias`, (outputs,), is a
    sum of numbers of `sizes`. `made` is None if it is not known.
    """

    floats: Array
    lost: Array | None
    bias: Array
    sizes: Array
    made: Affine | None


class LayerWeights:
    """Reads the weights of layers from files that `files` has checked. Each method raises StepFailed.

    `graph` gives the graph of a model.
    """

    def __init__(self, files: CheckedFiles, graph: Callable[[Model], Graph]) -> None:
        self._files = files
        self._graph = graph
        self._gains: dict[tuple[str, int, int], float] = {}
        self._spare: dict[Model, float] = {}

    def of_convolution(self, model: Model, layer: Layer) -> Array:
        """Return the weights of a 3x3 convolution, (outputs, inputs, 3, 3)."""
        inputs, outputs = channels(layer)
        (weights,) = self.first(model, layer, 9 * inputs * outputs)
        return weights.reshape(outputs, inputs, 3, 3)

    def first(self, model: Model, layer: Layer, *counts: int) -> Sequence[Array]:
        """Return the first tensors that `layer` reads; `counts`: of weights and floats in turn."""
        sizes = zip(counts, cycle(ALTERNATING))
        read, _ = read_tensors(model.bin, self.span(model, layer)[0], sizes)
        return [tensor.astype(np.float32) for tensor in read]

    def steps(self, own: Model, model: Model, there: Counterpart, largest: float) -> WeightSteps | None:
        """Return how far the quantized weights of `there`, in `model`, are from the floats of `own`.

        `largest`: the largest input of `there`, for what no scale of the file limits it. Of a layer with
        several matrices, the worst is told.
        """
        layer = next((one for one in there.quantized if is_static(one) or tensors(one)), None)
        if layer is None:
            return None
        if is_static(layer):
            return self._of_static(own, model, layer, there)
        core = next((one for one in there.replaced if one.type == layer.type), None)
        if core is None:
            return None
        beside = matrices(self._stored(own, core), self._stored(model, layer))
        judged = (self._of_matrix(one, model, layer, largest) for one in beside)
        return max(judged, key=_badness, default=None)

    def _stored(self, model: Model, layer: Layer) -> StoredLayer:
        return StoredLayer(layer, model.bin, self.span(model, layer))

    def _of_matrix(self, one: Matrix, model: Model, layer: Layer, largest: float) -> WeightSteps:
        if isinstance(one.weights, Int8Weights):
            steps = self._judged(one.weights, one.floats, UNFOLDED.factors, model, layer)
        else:
            steps = replace(one.weights.against(one.floats), layer=layer.name)
        off = biases_off(one.bias, one.wanted, one.weights.rounding, largest)
        return replace(with_biases(steps, off), matrix=one.name)

    def _of_static(
        self, own: Model, model: Model, layer: Layer, there: Counterpart
    ) -> WeightSteps | None:
        weights = self.in_int8(model, layer)
        if weights is None:
            return None
        outputs = len(weights.integers)
        beside = made_of(layer, there.layers, outputs, partial(self._stored, model))
        wanted = self._wanted(own, layer, outputs, there, beside)
        if wanted is None:
            return None
        floats = wanted.floats.reshape(weights.integers.shape)
        lost = None if wanted.lost is None else wanted.lost.reshape(floats.shape)
        made = wanted.made
        folded = None if made is None else made.factors
        steps = self._judged(weights, floats, folded, model, layer, lost)
        scale = self._files.weights(model, self._graph(model)).int8_scales.get(layer.number, 0.0)
        if made is None or not (scale > 0.0 and math.isfinite(scale)):
            return steps
        of_bias = made.factors * wanted.bias
        biases, sizes = of_bias + made.offsets, np.abs(made.factors) * wanted.sizes + made.sizes
        largest = INT8_MAX / scale
        return with_biases(steps, biases_off(weights.bias, biases, weights.rounding, largest, sizes))

    def _wanted(
        self, own: Model, layer: Layer, outputs: int, there: Counterpart, beside: Affine | None
    ) -> WantedWeights | None:
        """Return the weights in floats of `layer`; `beside`: what is made of it there, if it is known.

        None if they do not follow from those of the layers that it replaces.
        """
        source = partial(self._stored, own)
        weighted = [one for one in there.replaced if one.type in _WEIGHTED]
        core = weighted[0] if len(weighted) == 1 and weighted[0].type == layer.type else None
        if core is not None and (not is_static(core) or weight_count(core) != weight_count(layer)):
            return None
        if core is not None:
            here = made_of(core, there.replaced, outputs, source)
            if here is not None and beside is not None:
                return self._of_core(own, core, outputs, here.beside(beside))
        if beside is not None:
            same = sources(self._graph(own))
            kernel = Composed(layer, there.replaced, same, source).kernel()
            made = UNFOLDED.beside(beside)
            if kernel is not None and kernel.weights.size == weight_count(layer) and made is not None:
                return WantedWeights(kernel.weights, kernel.lost, kernel.bias, kernel.sizes, made)
        if core is None or any(
            map(_may_scale, (one for one in there.replaced if one.number < core.number))
        ):
            return None
        return self._of_core(own, core, outputs, None)

    def _of_core(self, own: Model, core: Layer, outputs: int, made: Affine | None) -> WantedWeights:
        floats, bias = self.first(own, core, weight_count(core), outputs * is_biased(core))
        bias = bias if bias.size else np.zeros(outputs)
        return WantedWeights(floats, None, bias, np.abs(bias), made)

    def _judged(
        self,
        weights: Int8Weights,
        floats: Array,
        folded: Array | None,
        model: Model,
        layer: Layer,
        lost: Array | None = None,
    ) -> WeightSteps:
        steps = weights.against(floats, folded, lost)
        spare = weights.spare(full_scale(layer))
        wasting = spare > MOST_SPARE * self._least_spare(model)
        return replace(
            steps,
            layer=layer.name,
            wasting=tuple(int(n) for n in np.flatnonzero(wasting)),
            spare=float(np.median(spare[wasting])) if wasting.any() else 1.0,
        )

    def without_scale(self, model: Model, layer: Layer) -> tuple[int, ...]:
        """Return the outputs of `layer` whose weights in int8 have inf as their scale.

        ncnn2table writes it where all weights are 0. In int8 these are 0 or -127, by the processor.
        """
        in_int8 = computes_in_int8(layer) and is_static(layer)
        weights = self.in_int8(model, layer) if in_int8 else None
        return () if weights is None else tuple(map(int, np.flatnonzero(np.isposinf(weights.scales))))

    def in_int8(self, model: Model, layer: Layer) -> Int8Weights | None:
        """Return the int8 weights of `layer`; None if it has none, or its file another layout."""
        return int8_weights.read(model.bin, self.span(model, layer), layer)

    def _least_spare(self, model: Model) -> float:
        if model not in self._spare:
            layers = filter(is_static, self._graph(model).layers)
            self._spare[model] = least_spare((x, self.in_int8(model, x)) for x in layers)
        return self._spare[model]

    def spans(self, model: Model) -> tuple[tuple[int, int], ...]:
        """Return the start and end of the bytes that each layer reads in the weights file."""
        return self._files.weights(model, self._graph(model)).spans

    def span(self, model: Model, layer: Layer) -> tuple[int, int]:
        return self.spans(model)[layer.number]

    def largest(self, model: Model, layer: Layer) -> float:
        """Return the largest absolute value of the fp32 weights of `layer`; 0 if it has none."""
        return self._files.weights(model, self._graph(model)).largest[layer.number]

    def not_finite(self, model: Model, layer: Layer) -> int:
        """Return how many weights of `layer` are inf or nan; of weights in blocks, their scales."""
        if blocks(layer) is not None:
            found = read(self._stored(model, layer))
            return 0 if found is None else found.not_finite
        return self._files.weights(model, self._graph(model)).not_finite[layer.number]

    def broken(self, model: Model, layer: Layer) -> int:
        """Return how many of `not_finite` are a fault, whatever `layer` makes of them.

        The scale of an int8 layer's dead channel is none: it is inf, and may do no harm. 0 for an int8
        layer whose file does not tell which of its values are such scales.
        """
        count = self.not_finite(model, layer)
        if not count or not is_quantized(layer):
            return count
        infinite = self._infinite_scales(model, layer)
        return 0 if infinite is None else count - infinite

    def _infinite_scales(self, model: Model, layer: Layer) -> int | None:
        """Return how many scales of int8 weights are inf; None if the file tells no scales apart."""
        if is_static(layer):
            weights = self.in_int8(model, layer)
            return None if weights is None else weights.infinite
        found = read(self._stored(model, layer))
        return None if found is None else sum(int(np.isposinf(s).sum()) for s in found.scales.values())

    def gain(self, model: Model, layer: Layer, side: int) -> float:
        """Return how many times its largest input a value inside a winograd convolution can be."""
        key = (model.bin, layer.number, side)
        if key not in self._gains:
            self._gains[key] = winograd.gain(self.of_convolution(model, layer), side)
        return self._gains[key]


def _may_scale(layer: Layer) -> bool:
    """Whether `layer`, in front of another one, may be folded into its weights."""
    return not (copies(layer) or is_activation(layer) or layer.type in _UNSCALED)


def _badness(steps: WeightSteps) -> tuple[bool, float, float]:
    return steps.wrong, steps.clipped, steps.largest
