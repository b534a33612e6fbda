"""Operators that combine several inputs element by element, or join them: BinaryOp, Eltwise, Concat.

Sources: src/layer/binaryop.cpp, eltwise.cpp, concat.cpp. None of them checks shapes: all may read past
the end of an input, and Concat may write past the end of its output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw, listed

OTHER_CHANNELS = "whose channels do not broadcast: there must be as many, or 1"
OTHER_AXES = "which ncnn packs along other axes: all must have as many axes"


def binary_op(_: Layer, shapes: Sequence[Shape]) -> str:
    """Once both have as many dimensions, sizes broadcast if they are equal or one of them is 1."""
    if len(shapes) != 2:
        return ""
    a, b = shapes
    if all(x == y or 1 in (x, y) for x, y in zip(expanded(a, b), expanded(b, a), strict=True)):
        return ""
    if len(a) == len(b) == 3 and a[1:] == b[1:]:
        return f"gets {listed(shapes)}, {OTHER_CHANNELS}"
    return (
        f"gets {listed(shapes)}, which do not broadcast: along each axis sizes must be equal, or one of "
        f"them 1{_ncnns_axes(a, b)}"
    )


def expanded(shape: Shape, other: Shape) -> Shape:
    """`shape` with as many dimensions as `other`.

    New axes are added on the inside, so that (h, w) becomes the (c, h) of a (c, h, w). A vector that
    does not match the outermost axis lies along w.
    """
    lacking = len(other) - len(shape)
    if lacking <= 0:
        return shape
    if len(shape) == 1 and shape[0] != other[0]:
        return (1,) * lacking + shape
    return shape + (1,) * lacking


def _ncnns_axes(a: Shape, b: Shape) -> str:
    if len(a) == len(b):
        return ""
    few, many = sorted((a, b), key=len)
    return f"; ncnn takes {list(few)} for {list(expanded(few, many))} here"


def eltwise(_: Layer, shapes: Sequence[Shape]) -> str:
    """Nothing is broadcast: all inputs are read as if they had the shape of the first."""
    first = shapes[0]
    for shape in shapes[1:]:
        c, *inner = cdhw(shape)
        c1, *inner1 = cdhw(first)
        alike = (c, math.prod(inner)) == (c1, math.prod(inner1))
        if len(shape) == len(first) == 2:
            alike = shape == first  # rows may be packed
        # if dimensions differ, channels of one may meet rows of the other, as in packed layouts
        if not alike and (len(shape) == len(first) or math.prod(shape) != math.prod(first)):
            return f"gets {listed(shapes)}; all must have one shape"
    return ""


def concat(layer: Layer, shapes: Sequence[Shape]) -> str:
    """All axes but one must be equal; which one it is depends on the dimensions of the first input."""
    dims = len(shapes[0])
    written = number(layer, 0)
    axis = 0 if dims == 1 else written + dims if written < 0 else written
    if not 0 <= axis < dims:
        return f"gets {listed(shapes)}, which have no axis {written}: nothing comes out"
    joined = {1: (3,), 2: (2, 3), 3: (0, 2, 3), 4: (0, 1, 2, 3)}[dims][axis]
    kept = {cdhw(shape)[:joined] + cdhw(shape)[joined + 1 :] for shape in shapes}
    if len(kept) == 1:
        return ""
    return f"gets {listed(shapes)}; along all axes but axis {axis} they must have one size"


def concat_across_packing(layer: Layer, shapes: Sequence[Shape]) -> str:
    """What lacks an axis is a row or a channel, but not if its own outermost axis is packed.

    Every device packs an axis that 4 divides. Inner axes are joined as those of the first input are
    packed.
    """
    dims = len(shapes[0])
    inner = dims > 1 and number(layer, 0) % dims > 0
    for shape in shapes:
        if len(shape) != dims and (shape[0] % 4 == 0 or (inner and shapes[0][0] % 4 == 0)):
            return f"gets {listed(shapes)}, {OTHER_AXES}"
    return ""
