"""Sums of values by weights, as where a convolution smooths a heatmap, or decodes a masked spectrum.

Probabilities of 1e-5 that become 0 are no error, and neither is a sum of them, if all are as small: then
nothing was found, and the sum is nothing. Its unit is what the layer gives for values of their unit.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Reduction, op_type
from pytest_ncnn_parity.worker.values.blob import Blob, Made

_CONVOLUTIONS = ("Convolution", "Deconvolution")  # also with 1D, 3D and DepthWise behind it
_OTHERS = frozenset(
    "InnerProduct Scale Gemm CumulativeSum Fold BatchNorm LayerNorm GroupNorm InstanceNorm RMSNorm MVN "
    "LRN Normalize StatisticsPooling InverseSpectrogram".split()
)
# of these one input is added up or averaged by weights that the others give: places, or scores
_OF_ONE_INPUT = {"GridSample": 0, "ROIAlign": 0, "PSROIPooling": 0, "SDPA": 2}
_PRODUCTS = frozenset({"MatMul", "Einsum", "Gemm"})  # of two matrices, one of which may be constant
MOST_SUMS = 2  # one behind the other: what more of them make of values of a unit is a guess
BY_CHANNEL = frozenset({"BatchNorm", "Scale", "ConvolutionDepthWise"})
_SUMS = frozenset((Reduction.SUM, Reduction.ASUM, Reduction.MEAN, Reduction.L1, Reduction.L2))
# A share of its unit, below which each value is nothing. exp(-x) is inf in fp16 from 11.1 on, where a
# Sigmoid is 1.5e-5, and some GPUs have no fp16 between 0 and 6.1e-5.
NOTHING = 1e-4
_SIGNS = 3  # how many patterns of signs are tried: of one, terms may cancel
_CHANNELS = 3  # an output with so many axes is one of channels, each with weights of its own


def mixed(layer: Layer, depending: Container[str]) -> str | None:
    """The blob whose elements `layer` adds up, each times a weight, or norms; None: none.

    `depending`: the blobs that are no constants. The weights are constant, or follow from other inputs.
    """
    if layer.type in _OF_ONE_INPUT:
        added = layer.inputs[_OF_ONE_INPUT[layer.type] : _OF_ONE_INPUT[layer.type] + 1]
        return added[0] if added and added[0] in depending and len(layer.outputs) == 1 else None
    varying = [blob for blob in layer.inputs if blob in depending]
    sums = layer.type in _PRODUCTS or (len(layer.inputs) == 1 and _sums(layer))
    return varying[0] if sums and len(varying) == len(layer.outputs) == 1 else None


def _sums(layer: Layer) -> bool:
    if layer.type == "Reduction":
        return op_type(layer) in _SUMS
    return layer.type in _OTHERS or layer.type.startswith(_CONVOLUTIONS)


def is_nothing(values: Array, unit: Array) -> bool:
    """Whether each of `values` is nothing beside its `unit`."""
    return bool((np.abs(values) <= NOTHING * unit).all())


def response(
    layer: Layer, source: str, size: Array, constants: Made, run: Callable[[Layer, Made], Made]
) -> Array:
    """What `layer` makes of values of this `size` in `source`: an array of the shape of its output.

    It is the largest difference from what the layer makes of zeros, among a few patterns of signs: by
    channel, or by element where there are no channels. So it is no more than the sum of all weights'
    sizes, and about the root of the sum of their squares at least. Raises StepFailed.
    """
    (output,) = layer.outputs
    random = np.random.RandomState(0)
    signs = [np.ones_like(size)]
    signs += [random.choice(np.array([-1.0, 1.0], np.float32), size.shape) for _ in range(_SIGNS)]

    def made_of(values: Array) -> Array:
        blobs = {**constants, source: Blob.of(np.ascontiguousarray(values))}
        return run(layer, blobs)[output].array

    nothing = made_of(np.zeros_like(size))
    found = np.max([np.abs(made_of(size * each) - nothing) for each in signs], axis=0)
    if found.ndim < _CHANNELS:
        return np.asarray(found)
    by_channel = found.max(axis=tuple(range(1, found.ndim)), keepdims=True)
    return np.broadcast_to(by_channel, found.shape).copy()
