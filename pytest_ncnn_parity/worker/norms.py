"""What a norm makes of its input in float64: the factor and the summand of each channel.

ncnn's CPU kernels add up a channel in fp32, one element after the other (src/layer/instancenorm.cpp,
groupnorm.cpp). Where the mean is large beside the deviation, as in a flat or letterboxed picture, it is
off by so much that the result is wrong, in plain and in packed kernels alike. Vulkan adds up in parts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.worker.values.blob import Made

NORMS = {"InstanceNorm": 0, "GroupNorm": 1}  # by operator, the id of the number of channels
Weights = Callable[[Layer], Array]


def factors_of(layer: Layer, value: Array, weights: Weights) -> tuple[Array, Array] | None:
    """What an InstanceNorm or GroupNorm multiplies each channel of its input by, and what it adds.

    Channels lie along the first axis of `value`, which has three or four axes for an InstanceNorm. None
    for other layers and inputs, and for what is not finite. Raises NotANumber.
    """
    first = NORMS.get(layer.type)
    if first is None or not value.size or not np.isfinite(value).all():
        return None
    if layer.type == "InstanceNorm" and value.ndim < 3:
        return None
    groups = number(layer, 0, 1) if first else len(value)
    channels = len(value)
    if groups < 1 or channels % groups:
        return None
    rows = value.astype(np.float64).reshape(groups, -1)
    factor = 1.0 / np.sqrt(rows.var(axis=1) + decimal(layer, first + 1, 0.001))
    factors = np.repeat(factor, channels // groups)
    summands = np.repeat(-rows.mean(axis=1) * factor, channels // groups)
    if number(layer, first + 2, 1):
        raw = weights(layer)
        if len(raw) < 2 * channels:
            return None
        gamma, beta = raw[: 2 * channels].reshape(2, channels)
        factors, summands = factors * gamma, summands * gamma + beta
    return factors, summands


def exact(layer: Layer, values: Made, weights: Weights) -> Array | None:
    """What an InstanceNorm or GroupNorm gives in float64; None as in `factors_of`."""
    if layer.type not in NORMS:
        return None
    value = values[layer.inputs[0]].array
    try:
        known = factors_of(layer, value, weights)
    except NotANumber:
        return None
    if known is None:
        return None
    factors, summands = (one.reshape(-1, *[1] * (value.ndim - 1)) for one in known)
    true: Array = value * factors + summands
    return true
