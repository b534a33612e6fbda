"""Poolings: windows that do not fit, and those that see nothing of the input.

Sources: src/layer/pooling*.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.shapes.rules.windows import (
    Keys,
    Window,
    beyond,
    packed,
    padded_plainly,
    sizes_along,
    too_many_axes,
    windows_of,
)

POOLED = (
    Keys("w", 1, None, 2, 3, 14),
    Keys("h", 11, None, 12, 13, 15),
    Keys("d", 21, None, 22, 23, 16),
)


def pooling(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Pooling, Pooling1D and Pooling3D."""
    unlike = too_many_axes(layer, shapes[0]) or packed(layer, shapes[0])
    if unlike or number(layer, 4) or number(layer, 7):  # global pooling, or pooling to a given size
        return unlike
    windows = windows_of(layer, POOLED)
    mode = number(layer, 5)
    if mode > 1:  # pad modes 2 and 3: the output is as large as the input
        return ""
    unlike = beyond(shapes[0], windows, padded_full if mode == 0 else padded_plainly)
    return unlike or (_behind(shapes[0], windows) if mode == 0 else "")


def _behind(shape: Shape, windows: Sequence[Window]) -> str:
    """What is wrong if ncnn pools windows that lie behind the end of the input.

    Its tail may hold one: where steps are longer than the window, and where the input is smaller than
    the window, for the remainder of a negative number is negative in C.
    """
    sizes = sizes_along(shape, windows)
    padded = padded_full(sizes, windows)
    for size, full, window in zip(sizes, padded, windows, strict=True):
        start = (full - window.kernel) // window.stride * window.stride - window.before
        if start >= size:
            return (
                f"gets {list(shape)}: a window of {window.kernel} in steps of {window.stride} along "
                f"{window.axis} begins behind the end, at {start} of {size}, and pools nothing"
            )
    return ""


def padded_full(sizes: Sequence[int], windows: Sequence[Window]) -> list[int]:
    """`sizes` with the tail that ncnn adds so that no element is left out. The remainder is C's."""
    full = []
    for size, window in zip(padded_plainly(sizes, windows), windows, strict=True):
        tail = int(math.fmod(size - window.kernel, window.stride))
        full.append(size + window.stride - tail if tail else size)
    return full
