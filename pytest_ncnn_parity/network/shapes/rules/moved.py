"""Which shapes come out of operators that only move elements, or leave some out.

Sources: src/layer/reshape.cpp, flatten.cpp, permute.cpp, squeeze.cpp, expanddims.cpp, reduction.cpp,
slice.cpp, crop.cpp, padding.cpp, tile.cpp, pixelshuffle.cpp, reorg.cpp, interp.cpp, glu.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number, numbers
from pytest_ncnn_parity.network.shapes.rules.cut import cut_out, part_sizes
from pytest_ncnn_parity.network.shapes.rules.expressions import evaluated
from pytest_ncnn_parity.network.shapes.rules.reading import Outcome, Shape, times
from pytest_ncnn_parity.network.shapes.rules.views import reshaped

# which input axis each output axis comes from, by number of dimensions and order_type
_ORDERS = {
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
}


def _reshape(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    sizes = reshaped(layer, shapes)
    known = math.prod(size for size in sizes if size != -1)
    return [tuple(math.prod(shapes[0]) // known if size == -1 else size for size in sizes)]


def _flatten(_: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    return [(math.prod(shapes[0]),)]


def _permute(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = shapes[0]
    orders = _ORDERS.get(len(shape), ())
    return [tuple(shape[axis] for axis in orders[number(layer, 0)])]


def _squeeze(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = shapes[0]
    named = _named_axes(layer, len(shape), {0: "w", 1: "h", 2: "c", 11: "d"})
    left = tuple(size for axis, size in enumerate(shape) if size != 1 or axis not in named)
    return [left or (1,)]


def _expand_dims(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = shapes[0]
    written = numbers(layer, 3)
    if not written:
        raise NotANumber("axes given one by one")
    dims = len(shape) + len(written)
    new = {axis % dims for axis in written}
    left = iter(shape)
    return [tuple(1 if axis in new else next(left) for axis in range(dims))]


def _named_axes(layer: Layer, dims: int, flags: Mapping[int, str]) -> set[int]:
    """The axes that a layer names, in an array or by one flag for each."""
    written = numbers(layer, 3)
    if written:
        return {axis % dims for axis in written}
    letters = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}[dims]
    return {letters.index(axis) for key, axis in flags.items() if number(layer, key) and axis in letters}


def _reduction(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape, kept = shapes[0], number(layer, 4)
    axes = {axis % len(shape) for axis in numbers(layer, 3)}
    if number(layer, 1, 1):
        axes = set(range(len(shape)))
    if kept:
        return [tuple(1 if axis in axes else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)]


def _slice(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = shapes[0]
    axis = 0 if len(shape) == 1 else number(layer, 1) % len(shape)
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in part_sizes(layer, shape[axis])]


def _crop(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    return [tuple(size for _, size in cut_out(layer, shapes))]


def _padding(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """Padding of rows, of columns and, for channels or depths, in front and behind."""
    shape = shapes[0]
    pads = [number(layer, keys[0]) + number(layer, keys[1]) for keys in ((2, 3), (0, 1), (7, 8))]
    if min(number(layer, key) for key in (0, 1, 2, 3, 7, 8)) < 0:
        raise NotANumber("pads that the kernel works out")
    added = [*pads, 0][: len(shape)]
    return [tuple(size + more for size, more in zip(shape, reversed(added), strict=True))]


def _tile(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """As often along each axis as an array says, or along one axis."""
    shape, repeats = shapes[0], numbers(layer, 2)
    if not repeats:
        axis = 0 if len(shape) == 1 else number(layer, 0)
        return [(*shape[:axis], shape[axis] * number(layer, 1, 1), *shape[axis + 1 :])]
    dims = max(len(shape), len(repeats))
    sizes, times_ = ((1,) * (dims - len(part)) + part for part in (shape, repeats))
    return [tuple(size * count for size, count in zip(sizes, times_, strict=True))]


def _pixel_shuffle(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    (c, h, w), factor = shapes[0], number(layer, 0, 1)
    return [(c // factor**2, h * factor, w * factor)]


def _reorg(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    (c, h, w), step = shapes[0], number(layer, 0, 1)
    return [(c * step**2, h // step, w // step)]


def _interp(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """Resizing to a size, by a factor, or to the size of a second input."""
    if "9" in layer.params:
        return [_resized(shapes[0], evaluated(layer.params["9"], shapes))]
    if number(layer, 5) or len(shapes) > 1 or len(shapes[0]) != 3:
        raise NotANumber("a size that an input decides")
    c, *sizes = shapes[0]
    wanted = [number(layer, 3), number(layer, 4)]
    factors = [decimal(layer, 1, 1.0), decimal(layer, 2, 1.0)]
    if 0 in wanted:  # one size alone does not count
        wanted = [times(size, factor) for size, factor in zip(sizes, factors, strict=True)]
    return [(c, *wanted)]


def _resized(shape: Shape, asked: Sequence[int]) -> Shape:
    """`shape` with the width and the height, or the width alone, that an expression gives."""
    if len(asked) not in (1, 2) or len(shape) != 3:
        raise NotANumber("a size of a vector or a matrix")
    return (shape[0], asked[1] if len(asked) == 2 else shape[1], asked[0])


def _glu(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = shapes[0]
    axis = number(layer, 0) % len(shape)
    return [(*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])]


MOVED: Mapping[str, Outcome] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Permute": _permute,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Reduction": _reduction,
    "Slice": _slice,
    "Crop": _crop,
    "Padding": _padding,
    "Tile": _tile,
    "PixelShuffle": _pixel_shuffle,
    "Reorg": _reorg,
    "Interp": _interp,
    "GLU": _glu,
}
