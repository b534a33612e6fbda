"""Operators with one weight for each channel, or each element of a row.

Sources: src/layer/batchnorm.cpp, scale.cpp, bias.cpp, prelu.cpp, normalize.cpp, instancenorm.cpp,
groupnorm.cpp, layernorm.cpp, rmsnorm.cpp, quantize.cpp, dequantize.cpp, requantize.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import UNSET, number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

ONE_CHANNEL = "and normalizes across channels"


def batch_norm(layer: Layer, shapes: Sequence[Shape]) -> str:
    return _each(shapes[0], number(layer, 0))


def scale(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The factors are weights of the layer, or its second input."""
    size = number(layer, 0)
    if size != UNSET:
        return _each(shapes[0], size)
    return _each(shapes[0], math.prod(shapes[1])) if len(shapes) > 1 else ""


def bias(layer: Layer, shapes: Sequence[Shape]) -> str:
    """To a vector or a matrix ncnn adds the first bias everywhere, so that any shape fits."""
    return "" if len(shapes[0]) < 3 else _each(shapes[0], number(layer, 0))


def normalize(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The file may state one factor for all channels."""
    shared = number(layer, 1) or len(shapes[0]) < 3
    return "" if shared else _each(shapes[0], number(layer, 3))


def normalize_across_one(layer: Layer, shapes: Sequence[Shape]) -> str:
    """A vector or a matrix is one channel on the CPU, so each value is divided by its own size.

    Vulkan divides by that of four values of a vector, or of a column of a matrix.
    """
    shape = shapes[0]
    if len(shape) > 2 or number(layer, 0) or not number(layer, 4, default=1):
        return ""
    return f"gets {list(shape)}, of 1 channel, {ONE_CHANNEL}: the CPU makes 1 or -1 of each value"


def quantize(layer: Layer, shapes: Sequence[Shape]) -> str:
    return _scales(layer, shapes[0], 0)


def dequantize(layer: Layer, shapes: Sequence[Shape]) -> str:
    return _scales(layer, shapes[0], 0, 1)


def requantize(layer: Layer, shapes: Sequence[Shape]) -> str:
    return _scales(layer, shapes[0], 0, 1, 2)


def _scales(layer: Layer, shape: Shape, *keys: int) -> str:
    """Scales and biases of int8: a single one is for all channels, and a vector has one."""
    if len(shape) == 1:
        return ""
    problems = (_each(shape, size) for size in (number(layer, key) for key in keys) if size > 1)
    return next(filter(None, problems), "")


def prelu(layer: Layer, shapes: Sequence[Shape]) -> str:
    """A single slope is for all channels."""
    return "" if number(layer, 0) == 1 else _each(shapes[0], number(layer, 0))


def instance_norm(layer: Layer, shapes: Sequence[Shape]) -> str:
    """A matrix or a vector is one channel on the CPU, and on Vulkan as many as the file states."""
    shape, wanted = shapes[0], number(layer, 0)
    if len(shape) > 2 or wanted < 2:
        return _each(shape, wanted) if len(shape) > 2 else ""
    return f"gets {list(shape)}, of 1 channel; its weights are for {wanted}: feed [channels, h, w]"


def group_norm(layer: Layer, shapes: Sequence[Shape]) -> str:
    return _each(shapes[0], number(layer, 1))


def row_norm(layer: Layer, shapes: Sequence[Shape]) -> str:
    """LayerNorm and RMSNorm, over a row or a channel. Vulkan uses the file's size unchecked."""
    shape, wanted = shapes[0], number(layer, 0)
    if wanted < 1:
        return ""
    fitting = {shape[-1]} | {math.prod(shape[-n:]) for n in range(2, len(shape))}
    if wanted in fitting:
        return ""
    return f"gets {list(shape)}, rows of {shape[-1]}; its weights are for {wanted}"


def _each(shape: Shape, weights: int) -> str:
    """One weight is needed for each element of a vector, each row of a matrix, or each channel."""
    if weights < 1 or shape[0] == weights:
        return ""
    return f"gets {list(shape)}, of {counted(shape[0], 'channel')}; its weights are for {weights}"
