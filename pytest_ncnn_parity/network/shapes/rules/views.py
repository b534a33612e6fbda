"""Operators that lay elements out anew, from Reshape to Interp.

Sources: src/layer/ of these names, and src/mat.cpp. Kernels of ncnn differ in what they check: where one
refuses another count of elements, another reads past its input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted, cut
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import (
    UNSET,
    decimal,
    number,
    refuse_expressions,
)
from pytest_ncnn_parity.network.shapes.rules.expressions import evaluated, misread
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw, listed, times
from pytest_ncnn_parity.network.shapes.rules.windows import PACK

_BATCH = re.compile(r"\dn")  # in an expression, as 0w is the width of the first input
NEGATIVE = "its padding is negative"
_COPIED_SINGLY = 12  # elements of a row, below which Padding does not copy it as a whole
REFLECTED = 2  # the type of Padding that mirrors its input


def reshape(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The number of elements must stay the same; 0 stands for the input's size, -1 for the rest."""
    wrong = misread(layer, (6,), len(shapes))
    if wrong:
        return f"gets {listed(shapes)}, and {wrong}"
    shape = shapes[0]
    sizes = reshaped(layer, shapes)
    if not sizes or min(sizes) < -1 or sizes.count(-1) > 1:
        return ""
    elements, known = math.prod(shape), math.prod(size for size in sizes if size != -1)
    if elements % known == 0 if -1 in sizes else elements == known:
        return ""
    takes = f"a multiple of {known}" if -1 in sizes else f"{known}"
    given = f"gets {list(shape)}, {counted(elements, 'element')}"
    by = f" by {cut(layer.params['6'], 60)}" if "6" in layer.params else ""
    return f"{given}, and reshapes it to {sizes}{by}, which needs {takes}"


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


def padding(layer: Layer, shapes: Sequence[Shape]) -> str:
    """An axis that is mirrored must be longer than its padding; none along h and w may be negative."""
    shape = shapes[0]
    cut_off = min(number(layer, key) for key in (0, 1, 2, 3))
    if cut_off < 0 and not _shifted(layer, shape):
        return f"gets {list(shape)}, and {NEGATIVE}, {cut_off}: ncnn's CPU kernel writes past its output"
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


def _shifted(layer: Layer, shape: Shape) -> bool:
    """Whether a short row loses only elements in front: those that stay are copied one by one."""
    top, bottom, right, mode = (number(layer, key) for key in (0, 1, 3, 4))
    unpacked = shape[0] % PACK != 0
    return min(top, bottom, right) >= 0 and mode == 0 and shape[-1] < _COPIED_SINGLY and unpacked


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
    wrong = misread(layer, (9,), len(shapes))
    if wrong:
        return f"gets {listed(shapes)}, and {wrong}"
    shape = shapes[0]
    if "9" in layer.params or len(shapes) > 1 or len(shape) not in (2, 3):
        return ""
    if number(layer, 3) and number(layer, 4):
        return ""
    axes = shape[-2:] if len(shape) > 2 else shape[-1:]
    scales = [decimal(layer, key, 1.0) for key in (1, 2)][-len(axes) :]
    sizes = [times(size, scale) for size, scale in zip(axes, scales, strict=True)]
    if min(sizes) >= 1:
        return ""
    return f"gets {list(shape)} and makes it {'x'.join(map(str, sizes))}, so nothing is left"
