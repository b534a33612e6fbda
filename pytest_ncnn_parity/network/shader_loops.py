"""How many iterations ncnn's shaders take, of layers that add up long rows or whole planes. Pure.

Sources: src/layer/vulkan/shader and the create_pipeline functions in src/layer/vulkan. Operators that
are not named here add up in loops that are short, or divided among many invocations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import softmax_axis
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.poolings import POOLED
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.rules.windows import windows_of

_GLOBAL, _ADAPTIVE, _WIDTH, _HEIGHT = 4, 7, 8, 18  # parameter ids of Pooling
_UNCHANGED = -233  # as the size that an adaptive Pooling gives
_PACKED = 4  # channels that lie side by side where their number is a multiple of it


def iterations(layer: Layer, shape: Shape, lanes: int) -> int:
    """The most that one invocation of a shader of `layer` takes, in inner loops as well; 0: not known.

    `shape` is that of its input. `lanes`: the invocations of a subgroup, among which norms divide rows.
    """
    count = _ITERATIONS.get(layer.type)
    try:
        return count(layer, shape, lanes) if count is not None else 0
    except NotANumber:
        return 0


def _pooling(layer: Layer, shape: Shape, _: int) -> int:
    """A window for each output (pooling.comp, pooling_adaptive.comp); global poolings are divided."""
    if len(shape) != 3 or number(layer, _GLOBAL):
        return 0
    if number(layer, _ADAPTIVE):
        width = number(layer, _WIDTH)
        h, w = map(_shared, shape[1:], (number(layer, _HEIGHT, width), width))
    else:
        w, h = (window.kernel for window in windows_of(layer, POOLED))
    return h * (w + 1)


def _shared(size: int, parts: int) -> int:
    return 1 if parts == _UNCHANGED else math.ceil(size / max(1, parts))


def _softmax(layer: Layer, shape: Shape, _: int) -> int:
    """A row for each sum (softmax_reduce_sum.comp)."""
    axis = softmax_axis(layer, len(shape))
    if axis is None:
        return 0
    return shape[axis] // (_PACKED if axis == 0 and shape[0] % _PACKED == 0 else 1)


def _instance_norm(_: Layer, shape: Shape, lanes: int) -> int:
    return _mean_and_variance(math.prod(shape[1:]), lanes)


def _group_norm(layer: Layer, shape: Shape, lanes: int) -> int:
    """Where channels are packed, an inner loop goes through those of a group."""
    channels = shape[0] // max(1, number(layer, 0, 1))
    area = math.prod(shape[1:])
    if shape[0] % _PACKED:
        return _mean_and_variance(channels * area, lanes)
    return _mean_and_variance(area, lanes) * (1 + math.ceil(channels / _PACKED))


def _layer_norm(layer: Layer, _: Shape, lanes: int) -> int:
    return _mean_and_variance(number(layer, 0), lanes)


def _rms_norm(layer: Layer, _: Shape, lanes: int) -> int:
    return math.ceil(number(layer, 0) / lanes)


def _mean_and_variance(count: int, lanes: int) -> int:
    """Of `count` values, in a loop each (*norm_reduce_subgroup.comp)."""
    return 2 * math.ceil(count / lanes)


_ITERATIONS: Mapping[str, Callable[[Layer, Shape, int], int]] = {
    "Pooling": _pooling,
    "Softmax": _softmax,
    "InstanceNorm": _instance_norm,
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
}
