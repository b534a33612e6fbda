"""What norms make of their input in float64.

ncnn's CPU kernels add up a channel or row in fp32, one element after the other
(src/layer/instancenorm.cpp, groupnorm.cpp, layernorm.cpp, mvn.cpp). Where the mean is large beside the
deviation, as in a flat or letterboxed picture, it is off by so much that the result is wrong, in plain
and in packed kernels alike. Vulkan adds up in parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.worker.values.blob import Made

_BY_CHANNEL = {"InstanceNorm": 0, "GroupNorm": 1}  # by operator, the id of the number of channels
NORMS = frozenset((*_BY_CHANNEL, "LayerNorm", "MVN"))
MOST_ROUNDED = 2.0**-20  # the share of themselves by which equal values may differ
Weights = Callable[[Layer], Array]


def factors_of(layer: Layer, value: Array, weights: Weights) -> tuple[Array, Array] | None:
    """What an InstanceNorm or GroupNorm multiplies each channel of its input by, and what it adds.

    Channels lie along the first axis of `value`, which has three or four axes for an InstanceNorm. None
    for other layers and inputs, and for what is not finite. Raises NotANumber.
    """
    rows = _rows(layer, value)
    if rows is None:
        return None
    first, channels = _BY_CHANNEL[layer.type], len(value)
    factor = 1.0 / np.sqrt(rows.var(axis=1) + decimal(layer, first + 1, 0.001))
    factors = np.repeat(factor, channels // len(rows))
    summands = np.repeat(-rows.mean(axis=1) * factor, channels // len(rows))
    if number(layer, first + 2, 1):
        raw = weights(layer)
        if len(raw) < 2 * channels:
            return None
        gamma, beta = raw[: 2 * channels].reshape(2, channels)
        factors, summands = factors * gamma, summands * gamma + beta
    return factors, summands


def _rows(layer: Layer, value: Array) -> Array | None:
    """What an InstanceNorm or GroupNorm norms together, a row each; None as in `factors_of`."""
    first = _BY_CHANNEL.get(layer.type)
    if first is None or not value.size or not np.isfinite(value).all():
        return None
    if layer.type == "InstanceNorm" and value.ndim < 3:
        return None
    groups = number(layer, 0, 1) if first else len(value)
    if groups < 1 or len(value) % groups:
        return None
    return value.astype(np.float64).reshape(groups, -1)


def flat(layer: Layer, value: Array) -> Array | None:
    """Where all that `layer` norms together is one number, other than 0, up to rounding in fp32.

    The norm leaves nothing of that. The result broadcasts to `value`; it is None for layers that are no
    norms, and as in `factors_of`.
    """
    try:
        if layer.type == "LayerNorm":
            return _is_one_number(value.astype(np.float64), _last_axes(value.shape, number(layer, 0)))
        rows = _rows(layer, value)
    except NotANumber:
        return None
    if rows is None:
        return None
    each = np.repeat(_is_one_number(rows, (1,)), len(value) // len(rows))
    return each.reshape(-1, *[1] * (value.ndim - 1))


def _last_axes(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """What a LayerNorm norms together: the last axes with `size` elements, or all but the first."""
    most = max(1, len(shape) - 1)
    count = next((n for n in range(1, most) if math.prod(shape[-n:]) == size), most)
    return tuple(range(-count, 0))


def _is_one_number(value: Array, axes: tuple[int, ...]) -> Array:
    mean = np.abs(value.mean(axes, keepdims=True))
    spread = value.std(axes, keepdims=True)
    return np.asarray((mean > 0.0) & (spread <= MOST_ROUNDED * mean))


def exact(layer: Layer, values: Made, weights: Weights) -> Array | None:
    """What a norm gives in float64; None for other layers and inputs, and for what is not finite."""
    if layer.type not in NORMS:
        return None
    value = values[layer.inputs[0]].array
    try:
        if layer.type == "LayerNorm":
            return _layer_norm(layer, value, weights)
        if layer.type == "MVN":
            return _mean_variance_norm(layer, value)
        known = factors_of(layer, value, weights)
    except NotANumber:
        return None
    if known is None:
        return None
    factors, summands = (one.reshape(-1, *[1] * (value.ndim - 1)) for one in known)
    true: Array = value * factors + summands
    return true


def _layer_norm(layer: Layer, value: Array, weights: Weights) -> Array | None:
    """(x - mean) / sqrt(var + eps) * gamma + beta (src/layer/layernorm.cpp)."""
    if not value.size or not np.isfinite(value).all():
        return None
    axes = _last_axes(value.shape, number(layer, 0))
    value = value.astype(np.float64)
    deviation = np.sqrt(value.var(axes, keepdims=True) + decimal(layer, 1, 0.001))
    true: Array = (value - value.mean(axes, keepdims=True)) / deviation
    if number(layer, 2, 1):
        shape = value.shape[-len(axes) :]
        size, raw = math.prod(shape), weights(layer)
        if len(raw) < 2 * size:
            return None
        gamma, beta = raw[: 2 * size].reshape(2, *shape)
        true = true * gamma + beta
    return true


def _mean_variance_norm(layer: Layer, value: Array) -> Array | None:
    """x - mean, or that divided by the deviation and epsilon (src/layer/mvn.cpp)."""
    if value.ndim < 3 or not value.size or not np.isfinite(value).all():
        return None
    axes = None if number(layer, 1) else tuple(range(1, value.ndim))
    centred: Array = value.astype(np.float64)
    centred = centred - centred.mean(axes, keepdims=True)
    if not number(layer, 0):
        return centred
    true: Array = centred / (np.sqrt((centred**2).mean(axes, keepdims=True)) + decimal(layer, 2, 0.0001))
    return true
