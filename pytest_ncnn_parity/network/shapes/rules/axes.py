"""Operators that work along axes which the file names: these must exist.

Sources: src/layer/glu.cpp, softmax.cpp, cumulativesum.cpp, reduction.cpp, flip.cpp. A vector has one
axis only, and whatever the file names means that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number, numbers
from pytest_ncnn_parity.network.shapes.rules.reading import Shape


def glu(layer: Layer, shapes: Sequence[Shape]) -> str:
    """One half gates the other; of an odd size ncnn leaves out the last element."""
    shape, axis = shapes[0], number(layer, 0)
    if missing := _missing(shape, [axis]):
        return missing
    axis = 0 if len(shape) == 1 else axis
    if shape[axis] % 2 == 0:
        return ""
    return f"gets {list(shape)} and halves axis {axis}, which is {shape[axis]} long"


def along_one(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Softmax does nothing on the CPU and something else on Vulkan, and CumulativeSum is refused."""
    return _missing(shapes[0], [number(layer, 0)])


def flip(layer: Layer, shapes: Sequence[Shape]) -> str:
    """An axis beyond the last is left out, and one before the first is written past the end."""
    return _missing(shapes[0], numbers(layer, 0))


def reduction(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The same as for Flip; it may also reduce all axes, whatever is named."""
    return "" if number(layer, 1, 1) else _missing(shapes[0], numbers(layer, 3))


def _missing(shape: Shape, axes: Iterable[int]) -> str:
    missing = [axis for axis in axes if not -len(shape) <= axis < len(shape)]
    if len(shape) == 1 or not missing:
        return ""
    return f"gets {list(shape)}, which has no axis {missing[0]}"
