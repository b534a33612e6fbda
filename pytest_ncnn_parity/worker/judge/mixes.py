"""Sums of probabilities by weights, as where a convolution smooths a heatmap.

Probabilities of 1e-5 that become 0 are no error, and neither is a sum of them. The unit of such a sum is
what its layer gives for values as large as a probability may be.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.values.blob import Blob, Made

_BY_WEIGHTS = ("Convolution", "Deconvolution", "InnerProduct", "BatchNorm", "Scale", "Gemm")
BY_CHANNEL = frozenset({"BatchNorm", "Scale", "ConvolutionDepthWise"})
_SUMS = frozenset({"0", "1"})  # the operations sum and asum of a Reduction (src/layer/reduction.h)
_SIGNS = 3  # how many patterns of signs are tried: of one, terms may cancel
_CHANNELS = 3  # an output with so many axes is one of channels, each with weights of its own


def mixes(layer: Layer) -> bool:
    """Whether `layer` adds up elements of its only input, each times a weight."""
    if len(layer.inputs) != 1:
        return False
    adds = layer.type == "Reduction" and layer.params.get("0", "0") in _SUMS
    return adds or layer.type.startswith(_BY_WEIGHTS)


def response(layer: Layer, size: Array, run: Callable[[Layer, Made], Made]) -> Array:
    """What `layer` makes of values of this `size`: an array of the shape of its output.

    It is the largest difference from what the layer makes of zeros, among a few patterns of signs: by
    channel, or by element where there are no channels. So it is no more than the sum of all weights'
    sizes, and about the root of the sum of their squares at least. Raises StepFailed.
    """
    (source,), (output,) = layer.inputs, layer.outputs
    random = np.random.RandomState(0)
    signs = [np.ones_like(size)]
    signs += [random.choice(np.array([-1.0, 1.0], np.float32), size.shape) for _ in range(_SIGNS)]

    def made_of(values: Array) -> Array:
        return run(layer, {source: Blob.of(np.ascontiguousarray(values))})[output].array

    nothing = made_of(np.zeros_like(size))
    found = np.max([np.abs(made_of(size * each) - nothing) for each in signs], axis=0)
    if found.ndim < _CHANNELS:
        return np.asarray(found)
    by_channel = found.max(axis=tuple(range(1, found.ndim)), keepdims=True)
    return np.broadcast_to(by_channel, found.shape).copy()
