"""What the rules work with: shapes by their axes, and how they are put into words.

Shapes are in numpy's order: (w,), (h, w), (c, h, w) or (c, d, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ctypes import c_float

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber

Shape = tuple[int, ...]
DIMENSIONS = ("1D", "", "3D")  # the ends of the names of operators that slide along 1, 2 or 3 axes
Rule = Callable[[Layer, Sequence[Shape]], str]  # returns what does not fit, or an empty text
Outcome = Callable[[Layer, Sequence[Shape]], Sequence[Shape]]  # returns the shapes that come out


def times(size: int, factor: float) -> int:
    """`size` times `factor` as ncnn computes it, in float32, without what follows the point."""
    product = c_float(size * c_float(factor).value).value
    if not math.isfinite(product):
        raise NotANumber(f"a factor of {factor:g}")
    return int(product)


def cdhw(shape: Shape) -> tuple[int, int, int, int]:
    """`shape` as ncnn's Mat holds it: missing axes are 1."""
    if len(shape) == 3:
        return shape[0], 1, shape[1], shape[2]
    c, d, h, w = (1,) * (4 - len(shape)) + shape
    return c, d, h, w


def listed(shapes: Sequence[Shape]) -> str:
    """`[8, 24, 24] and [3, 26, 26]`."""
    *first, last = [str(list(shape)) for shape in shapes]
    return f"{', '.join(first)} and {last}" if first else last
