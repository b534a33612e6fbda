"""Operators of which one input says where in another to read, and those whose windows overlap.

Sources: src/layer/fold.cpp, deformableconv2d.cpp, gridsample.cpp, psroipooling.cpp, roialign.cpp,
roipooling.cpp.
Most of them check nothing, and read past the end of an input that is too small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.network.shapes.rules.detectors import BOX
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw
from pytest_ncnn_parity.network.shapes.rules.windows import (
    CONVOLVED,
    fit,
    padded_plainly,
    positions,
    windows_of,
)


def fold(layer: Layer, shapes: Sequence[Shape]) -> str:
    """One row for each element of each channel's window, one column for each of its positions."""
    shape, windows = shapes[0], windows_of(layer, CONVOLVED)
    width = number(layer, 20)
    sizes = padded_plainly([width, number(layer, 21, width)], windows)
    if len(shape) != 2:
        return f"gets {list(shape)}; it takes a matrix, a column for each window"
    if not fit(sizes, windows):
        return ""
    places = math.prod(positions(sizes, windows))
    kernel = math.prod(window.kernel for window in windows)
    if shape[1] == places and shape[0] % kernel == 0:
        return ""
    return f"gets {list(shape)}; its windows take a multiple of {kernel} rows, each of {places}"


def deformable_convolution(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Two offsets for each element of the window, and with a third input a weight for each."""
    if len(shapes) < 2 or any(len(shape) != 3 for shape in shapes):
        return ""
    shape, windows = shapes[0], windows_of(layer, CONVOLVED)
    kernel = math.prod(window.kernel for window in windows)
    outputs, weights = number(layer, 0), number(layer, 6)
    if outputs < 1 or weights < 1:
        return ""
    wanted, rest = divmod(weights, outputs * kernel)
    if rest or wanted != shape[0]:
        return f"gets {list(shape)}, of {counted(shape[0], 'channel')}; its weights are for {wanted}"
    padded = padded_plainly(list(reversed(shape[1:])), windows)
    if not fit(padded, windows):
        return f"gets {list(shape)}, in which its window does not fit, so nothing is left"
    places = positions(padded, windows)[::-1]
    wanted_inputs = {"offsets": [2 * kernel, *places], "weights": [kernel, *places]}
    for (name, fitting), other in zip(wanted_inputs.items(), shapes[1:], strict=False):
        if list(other) != fitting:
            return f"gets {list(shape)} and {name} of {list(other)}; its window takes {fitting}"
    return ""


def grid_sample(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The grid has one coordinate for each axis of the image: innermost or, if permuted, outermost."""
    if len(shapes) != 2 or len(shapes[0]) not in (3, 4) or len(shapes[1]) != len(shapes[0]):
        return ""
    image, grid = shapes
    axis, wanted = 0 if number(layer, 3) else -1, len(image) - 1
    if grid[axis] == wanted:
        return ""
    place = "first" if axis == 0 else "last"
    return (
        f"gets {list(image)} and a grid of {list(grid)}; its {place} axis holds coordinates, and there "
        f"must be {wanted} of them"
    )


def pooled_in_a_box(_: Layer, shapes: Sequence[Shape]) -> str:
    """ROIAlign and ROIPooling: four numbers are a box."""
    if len(shapes) != 2 or shapes[1][-1] == BOX:
        return ""
    return (
        f"gets {list(shapes[0])} and boxes of {list(shapes[1])}; a box is [left, top, right, bottom], "
        "without the number of a picture in front"
    )


def position_sensitive_pooling(layer: Layer, shapes: Sequence[Shape]) -> str:
    """PSROIPooling: one channel for each cell of the pooled area and each output, and boxes."""
    wanted = number(layer, 0, 7) * number(layer, 1, 7) * number(layer, 3)
    channels = cdhw(shapes[0])[0]
    if wanted < 1 or channels == wanted:
        return pooled_in_a_box(layer, shapes)
    return f"gets {list(shapes[0])}, of {counted(channels, 'channel')}; it pools {wanted}"
