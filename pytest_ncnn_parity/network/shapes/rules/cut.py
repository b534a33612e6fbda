"""Operators that cut parts out of a blob, or write one into another: Crop, Slice, CopyTo.

Sources: src/layer/crop.cpp, slice.cpp, copyto.cpp, and src/layer/x86/slice_x86.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import UNSET, NotANumber, number, numbers, refuse_expressions
from pytest_ncnn_parity.network.shapes.rules.expressions import evaluated, misread
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw, listed


def crop(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The part that is cut out must lie inside the input."""
    shape = shapes[0]
    wrong = misread(layer, (19, 20, 21), len(shapes))
    if wrong:
        return f"gets {listed(shapes)}, and {wrong}"
    starts = numbers(layer, 9)
    if starts and numbers(layer, 10) and not numbers(layer, 11) and len(starts) < len(shape):
        return f"gets {list(shape)}, and says where to cut {len(starts)} of its {len(shape)} axes"
    cuts = cut_out(layer, shapes)
    if all(start == 0 and size == whole for (start, size), whole in zip(cuts, shape, strict=True)):
        return ""
    for axis, ((start, size), whole) in enumerate(zip(cuts, shape, strict=True)):
        if size < 1:
            return (
                f"gets {list(shape)} and keeps nothing along axis {axis}, from {start} to {start + size}"
            )
        if start < 0 or start + size > whole:
            end = start + size
            return f"gets {list(shape)} and takes {start} to {end} along axis {axis}, past its {whole}"
    return ""


def cut_out(layer: Layer, shapes: Sequence[Shape]) -> list[tuple[int, int]]:
    """Along each axis, where a Crop starts and how many elements it takes."""
    if {"19", "20", "21"} <= layer.params.keys():
        asked = (evaluated(layer.params[key], shapes) for key in ("19", "20", "21"))
        return _sliced(shapes[0], *asked)
    refuse_expressions(layer, 19, 20, 21)  # ncnn dies of the one that is missing
    if numbers(layer, 9) and numbers(layer, 10):
        return _sliced(shapes[0], *(numbers(layer, key) for key in (9, 10, 11)))
    return _cut(layer, shapes)


def _sliced(
    shape: Shape, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]
) -> list[tuple[int, int]]:
    """Along each axis, the start and the number of elements, given in the form of numpy slices."""
    cuts = [(0, size) for size in shape]
    for start, end, axis in zip(starts, ends, axes or range(len(shape)), strict=False):
        own = axis + len(shape) if axis < 0 else axis
        if not 0 <= own < len(shape):
            continue  # ncnn ignores this entry
        size = shape[own]
        first = 0 if start == UNSET else start if start >= 0 else size + start
        last = size if end == UNSET else min(size, end if end > 0 else size + end)
        cuts[own] = first, last - first
    return cuts


def _cut(layer: Layer, shapes: Sequence[Shape]) -> list[tuple[int, int]]:
    """The same, given by offsets and sizes, or by a second input whose size is used."""
    shape = shapes[0]
    starts = _by_axis(layer, (2, 13, 1, 0), len(shape))
    if len(shapes) > 1:
        if number(layer, 0) == UNSET:
            raise NotANumber("offsets that are an input")
        like = cdhw(shapes[1])
        kept = cdhw(shape)
        channels = like[0] if len(shapes[1]) == len(shape) else kept[0]
        sizes = _axes((channels, *like[1:]), len(shape))
        return list(zip(starts, sizes, strict=True))
    ends = _by_axis(layer, (8, 15, 7, 6), len(shape))
    asked = _by_axis(layer, (5, 14, 4, 3), len(shape))
    left = [size - start - end for size, start, end in zip(shape, starts, ends, strict=True)]
    sizes = [
        size if wanted == UNSET else min(wanted, size) for wanted, size in zip(asked, left, strict=True)
    ]
    return list(zip(starts, sizes, strict=True))


def slices(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The parts must not be more than there is, and none empty.

    Nor may they leave something over where the packed kernels count on through the rows
    (src/layer/x86/slice_x86.cpp).
    """
    shape = shapes[0]
    written = number(layer, 1)
    axis = written + len(shape) if written < 0 else written
    if len(shape) == 1:
        axis = 0
    if not 0 <= axis < len(shape):
        return f"gets {list(shape)}, which has no axis {written}: nothing comes out"
    parts = part_sizes(layer, shape[axis])
    left = shape[axis] - sum(parts)
    if min(parts) >= 1 and (left == 0 or (left > 0 and axis < 2)):
        return ""
    return (
        f"gets {list(shape)}, {shape[axis]} along axis {axis}, and makes parts of "
        f"{', '.join(map(str, parts))}"
    )


def part_sizes(layer: Layer, size: int) -> list[int]:
    """The size of each output of a Slice along its axis."""
    count = len(layer.outputs)
    ends, lengths = numbers(layer, 2), numbers(layer, 0)
    if len(ends or lengths) < count - bool(ends):
        raise NotANumber("fewer parts than outputs")
    parts: list[int] = []
    for i in range(count):
        left = size - sum(parts)
        if ends:
            end = size if i == count - 1 else ends[i]
            parts.append((end + size if end < 0 else end) - sum(parts))
        else:
            parts.append(left // (count - i) if lengths[i] == UNSET else lengths[i])
    return parts


def copy_to(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The part that is copied must lie inside the destination."""
    if len(shapes) != 2:
        return ""
    whole, part = shapes
    if len(whole) != len(part):
        return f"gets {listed(shapes)}, of different dimensions: one cannot be copied into the other"
    if any(size > room for size, room in zip(part, whole, strict=True)):
        return f"gets {listed(shapes)}: the second is larger, and is to be copied into the first"
    for axis, (start, size, room) in enumerate(zip(_starts(layer, whole), part, whole, strict=True)):
        if start < 0 or start + size > room:
            return f"gets {listed(shapes)} and writes {start} to {start + size} along axis {axis}"
    return ""


def _starts(layer: Layer, shape: Shape) -> list[int]:
    """Along each axis, where a CopyTo starts."""
    dims, starts = len(shape), numbers(layer, 9)
    if not starts:
        return _axes([number(layer, key) for key in (2, 13, 1, 0)], dims)
    axes = numbers(layer, 11) or tuple(range(dims))
    if len(starts) < len(axes) or not all(-dims <= axis < dims for axis in axes):
        raise NotANumber("starts without axes")
    at = [0] * dims
    for axis, start in zip(axes, starts, strict=False):
        if start != UNSET:
            at[axis] = start if start >= 0 else shape[axis] + start
    return at


def _by_axis(layer: Layer, keys: Sequence[int], dims: int) -> list[int]:
    """Parameters given for c, d, h and w, reduced to the axes of a blob of `dims` dimensions."""
    return _axes([number(layer, key) for key in keys], dims)


def _axes(sizes: Sequence[int], dims: int) -> list[int]:
    """The values, of those for c, d, h and w, that belong to the axes of a blob of `dims` dimensions."""
    c, d, h, w = sizes
    return {1: [w], 2: [h, w], 3: [c, h, w], 4: [c, d, h, w]}[dims]
