"""How far the weights of a model in int8 are from the floats of the model that was quantized."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.engine.int8_evidence import WeightSteps
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import weight_count
from pytest_ncnn_parity.network.int8_tensors import tensors
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.network.versions.counterparts import Counterpart
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING, is_activation
from pytest_ncnn_parity.network.versions.units import sources
from pytest_ncnn_parity.worker.weights.composed import Composed
from pytest_ncnn_parity.worker.weights.folded import UNFOLDED, Affine, made_of
from pytest_ncnn_parity.worker.weights.int8_weights import (
    MOST_SPARE,
    Int8Weights,
    biases_off,
    full_scale,
    is_biased,
    is_static,
    with_biases,
)
from pytest_ncnn_parity.worker.weights.layer_weights import LayerWeights
from pytest_ncnn_parity.worker.weights.matrices import Matrix, matrices

# Operators whose weights may be merged with those of others, and those that change no scale
_WEIGHTED = frozenset((*CHANGED_BY_FOLDING, "Gemm"))
_UNSCALED = frozenset({"MemoryData", "Pooling", "Interp"})


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


def weight_steps(
    own: LayerWeights, other: LayerWeights, there: Counterpart, largest: float
) -> WeightSteps | None:
    """Return how far the quantized weights of `there`, in `other`, are from the floats of `own`.

    `largest`: the largest input of `there`, for what no scale of the file limits it. Of a layer with
    several matrices, the worst is told. None if they cannot be compared. Raises StepFailed if the files
    of either cannot be loaded.
    """
    layer = next((one for one in there.quantized if is_static(one) or tensors(one)), None)
    if layer is None:
        return None
    if is_static(layer):
        return _of_static(own, other, layer, there)
    core = next((one for one in there.replaced if one.type == layer.type), None)
    if core is None:
        return None
    beside = matrices(own.stored(core), other.stored(layer))
    return max((_of_matrix(one, other, layer, largest) for one in beside), key=_badness, default=None)


def _of_matrix(one: Matrix, other: LayerWeights, layer: Layer, largest: float) -> WeightSteps:
    if isinstance(one.weights, Int8Weights):
        steps = _judged(one.weights, one.floats, UNFOLDED.factors, other, layer)
    else:
        steps = replace(one.weights.against(one.floats), layer=layer.name)
    off = biases_off(one.bias, one.wanted, one.weights.rounding, largest)
    return replace(with_biases(steps, off), matrix=one.name)


def _of_static(
    own: LayerWeights, other: LayerWeights, layer: Layer, there: Counterpart
) -> WeightSteps | None:
    weights = other.in_int8(layer)
    if weights is None:
        return None
    outputs = len(weights.integers)
    beside = made_of(layer, there.layers, outputs, other.stored)
    wanted = _wanted(own, layer, outputs, there, beside)
    if wanted is None:
        return None
    floats = wanted.floats.reshape(weights.integers.shape)
    lost = None if wanted.lost is None else wanted.lost.reshape(floats.shape)
    made = wanted.made
    folded = None if made is None else made.factors
    steps = _judged(weights, floats, folded, other, layer, lost)
    scale = other.int8_scale(layer) or 0.0
    if made is None or not (scale > 0.0 and math.isfinite(scale)):
        return steps
    of_bias = made.factors * wanted.bias
    biases, sizes = of_bias + made.offsets, np.abs(made.factors) * wanted.sizes + made.sizes
    largest = INT8_MAX / scale
    return with_biases(steps, biases_off(weights.bias, biases, weights.rounding, largest, sizes))


def _wanted(
    own: LayerWeights, layer: Layer, outputs: int, there: Counterpart, beside: Affine | None
) -> WantedWeights | None:
    """Return the weights in floats of `layer`; `beside`: what is made of it there, if it is known.

    None if they do not follow from those of the layers that it replaces.
    """
    weighted = [one for one in there.replaced if one.type in _WEIGHTED]
    core = weighted[0] if len(weighted) == 1 and weighted[0].type == layer.type else None
    if core is not None and (not is_static(core) or weight_count(core) != weight_count(layer)):
        return None
    if core is not None:
        here = made_of(core, there.replaced, outputs, own.stored)
        if here is not None and beside is not None:
            return _of_core(own, core, outputs, here.beside(beside))
    if beside is not None:
        kernel = Composed(layer, there.replaced, sources(own.graph), own.stored).kernel()
        made = UNFOLDED.beside(beside)
        if kernel is not None and kernel.weights.size == weight_count(layer) and made is not None:
            return WantedWeights(kernel.weights, kernel.lost, kernel.bias, kernel.sizes, made)
    if core is None or any(map(_may_scale, (one for one in there.replaced if one.number < core.number))):
        return None
    return _of_core(own, core, outputs, None)


def _of_core(own: LayerWeights, core: Layer, outputs: int, made: Affine | None) -> WantedWeights:
    floats, bias = own.first(core, weight_count(core), outputs * is_biased(core))
    bias = bias if bias.size else np.zeros(outputs)
    return WantedWeights(floats, None, bias, np.abs(bias), made)


def _judged(
    weights: Int8Weights,
    floats: Array,
    folded: Array | None,
    other: LayerWeights,
    layer: Layer,
    lost: Array | None = None,
) -> WeightSteps:
    steps = weights.against(floats, folded, lost)
    spare = weights.spare(full_scale(layer))
    wasting = spare > MOST_SPARE * other.least_spare()
    return replace(
        steps,
        layer=layer.name,
        wasting=tuple(int(n) for n in np.flatnonzero(wasting)),
        spare=float(np.median(spare[wasting])) if wasting.any() else 1.0,
    )


def _may_scale(layer: Layer) -> bool:
    """Whether `layer`, in front of another one, may be folded into its weights."""
    return not (copies(layer) or is_activation(layer) or layer.type in _UNSCALED)


def _badness(steps: WeightSteps) -> tuple[bool, float, float]:
    return steps.wrong, steps.clipped, steps.largest
