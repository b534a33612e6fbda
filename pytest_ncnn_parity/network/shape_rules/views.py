"""Operators that lay elements out anew, from Reshape to Interp.

Sources: src/layer/ of these names, and src/mat.cpp. Kernels of ncnn differ in what they check: where one
refuses another count of elements, another reads past its input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import (
    UNSET,
    NotANumber,
    decimal,
    number,
    numbers,
    refuse_expressions,
)
from pytest_ncnn_parity.network.shape_rules.expressions import beyond, evaluated
from pytest_ncnn_parity.network.shape_rules.reading import Shape, cdhw, listed, times

_BATCH = re.compile(r"\dn")  # in an expression, as 0w is the width of the first input
REFLECTED = 2  # the type of Padding that mirrors its input


def reshape(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The number of elements must stay the same; 0 stands for the input's size, -1 for the rest."""
    missing = beyond(layer.params.get("6", ""), len(shapes))
    if missing:
        return f"gets {listed(shapes)}, and its 6= asks for {missing}; the first input is input 0"
    shape = shapes[0]
    sizes = reshaped(layer, shapes)
    if not sizes or min(sizes) < -1 or sizes.count(-1) > 1:
        return ""
    elements, known = math.prod(shape), math.prod(size for size in sizes if size != -1)
    if elements % known == 0 if -1 in sizes else elements == known:
        return ""
    takes = f"a multiple of {known}" if -1 in sizes else f"{known}"
    given = f"gets {list(shape)}, {counted(elements, 'element')}"
    return f"{given}, and reshapes it to {sizes}, which needs {takes}"


def remade(layer: Layer, shapes: Sequence[Shape], made: Sequence[Shape]) -> str:
    """What is wrong with the shape that a Reshape has made, which only the kernel can work out.

    Where the first axis stays as it is, ncnn changes the others unchecked.
    """
    shape, elements = shapes[0], math.prod(shapes[0])
    if _of_batches(layer) or math.prod(made[0]) == elements:
        return ""
    given = f"gets {list(shape)}, {counted(elements, 'element')}"
    return f"{given}, and reshapes it to {list(made[0])}, which needs {math.prod(made[0])}"


def _of_batches(layer: Layer) -> bool:
    """Whether a Reshape makes or takes a batch, of which a value has one picture alone."""
    stated = not layer.params.keys().isdisjoint(("12", "13"))
    return stated or _BATCH.search(layer.params.get("6", "")) is not None


def reshaped(layer: Layer, shapes: Sequence[Shape]) -> list[int]:
    """The sizes that a Reshape asks for, with 0 replaced by the input's size; empty without any."""
    refuse_expressions(layer, 12, 13)
    asked = _asked(layer, shapes)
    if not 1 <= len(asked) <= 4:
        return []
    own = dict(zip("cdhw", cdhw(shapes[0]), strict=True))
    return [asked[axis] or own[axis] for axis in "cdhw" if axis in asked]


def _asked(layer: Layer, shapes: Sequence[Shape]) -> dict[str, int]:
    """What a Reshape states for each axis that its output has, by numbers or by an expression."""
    if "6" in layer.params:
        sizes = evaluated(layer.params["6"], shapes)
        return dict(zip({3: "whc"}.get(len(sizes), "whdc"), sizes, strict=False))
    asked = {axis: number(layer, key, UNSET) for axis, key in zip("whcd", (0, 1, 2, 11), strict=True)}
    dims = next((i for i, size in enumerate(asked.values()) if size == UNSET), 4)
    return dict(list(asked.items())[:dims])


def crop(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The part that is cut out must lie inside the input."""
    shape = shapes[0]
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
    refuse_expressions(layer, 19, 20, 21)
    if numbers(layer, 9) and numbers(layer, 10):
        return _sliced(layer, shapes[0])
    return _cut(layer, shapes)


def _sliced(layer: Layer, shape: Shape) -> list[tuple[int, int]]:
    """Along each axis, the start and the number of elements, given in the form of numpy slices."""
    starts, ends, axes = numbers(layer, 9), numbers(layer, 10), numbers(layer, 11)
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


def padding(layer: Layer, shapes: Sequence[Shape]) -> str:
    """An axis that is mirrored must be longer than the padding."""
    shape = shapes[0]
    if number(layer, 4) != REFLECTED:
        return ""
    pads = {"w": (2, 3), "h": (0, 1), {3: "c", 4: "d"}.get(len(shape), ""): (7, 8)}
    axes = "wh" if len(shape) < 3 else "whc" if len(shape) == 3 else "whdc"
    for axis, size in zip(axes, reversed(shape), strict=False):
        widest = max(number(layer, key) for key in pads.get(axis, (-1,)))
        if widest >= size:
            most = f"of {size} at most {size - 1} can be mirrored"
            return f"gets {list(shape)} and mirrors {widest} along {axis}; {most}"
    return ""


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


def shuffle_channel(layer: Layer, shapes: Sequence[Shape]) -> str:
    """ncnn refuses a number of channels that is no multiple of the group."""
    group, channels = number(layer, 0, 1), cdhw(shapes[0])[0]
    if group < 1 or channels % group == 0:
        return ""
    return f"gets {list(shapes[0])}; for {group} groups it takes a multiple of {group} channels"


def permute(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Each order of axes has a number, which depends on the number of axes."""
    shape, order = shapes[0], number(layer, 0)
    if len(shape) == 1 or order < math.factorial(len(shape)):
        return ""
    return f"gets {list(shape)}, and its order {order} is of more than {len(shape)} axes"


def reorg(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Each output element takes one element of a block; at least one block must fit."""
    step, (_, _, h, w) = number(layer, 0, 1), cdhw(shapes[0])
    if step < 1 or min(h, w) >= step:
        return ""
    return f"gets {list(shapes[0])}: a block of {step}x{step} does not fit into {h}x{w}"


def diag(_: Layer, shapes: Sequence[Shape]) -> str:
    shape = shapes[0]
    return f"gets {list(shape)}; it takes a vector or a matrix" if len(shape) > 2 else ""


def pixel_shuffle(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Each element of an output block comes from a channel of its own."""
    factor, shape = number(layer, 0, 1), shapes[0]
    channels = shape[0] if len(shape) == 3 else 1
    if factor < 1 or channels % factor**2 == 0:
        return ""
    return f"gets {list(shape)}; for a factor of {factor} it takes a multiple of {factor**2} channels"


def interp(layer: Layer, shapes: Sequence[Shape]) -> str:
    """A size that is scaled down must not become 0."""
    refuse_expressions(layer, 9)
    shape = shapes[0]
    if len(shapes) > 1 or len(shape) not in (2, 3) or (number(layer, 3) and number(layer, 4)):
        return ""
    axes = shape[-2:] if len(shape) > 2 else shape[-1:]
    scales = [decimal(layer, key, 1.0) for key in (1, 2)][-len(axes) :]
    sizes = [times(size, scale) for size, scale in zip(axes, scales, strict=True)]
    if min(sizes) >= 1:
        return ""
    return f"gets {list(shape)} and makes it {'x'.join(map(str, sizes))}, so nothing is left"


def _by_axis(layer: Layer, keys: Sequence[int], dims: int) -> list[int]:
    """Parameters given for c, d, h and w, reduced to the axes of a blob of `dims` dimensions."""
    return _axes([number(layer, key) for key in keys], dims)


def _axes(sizes: Sequence[int], dims: int) -> list[int]:
    """The values, of those for c, d, h and w, that belong to the axes of a blob of `dims` dimensions."""
    c, d, h, w = sizes
    return {1: [w], 2: [h, w], 3: [c, h, w], 4: [c, d, h, w]}[dims]
