"""What the rules work with: a layer's parameters as numbers, and shapes by their axes.

Shapes are in numpy's order: (w,), (h, w), (c, h, w) or (c, d, h, w).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from ctypes import c_float

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import ARRAY_IDS

Shape = tuple[int, ...]
Rule = Callable[[Layer, Sequence[Shape]], str]  # returns what does not fit, or an empty text

UNSET = -233  # in a .param: "not given", and in a Slice or Crop "up to the end"
_INT = re.compile(r"[-+]?\d{1,10}", re.ASCII)


class Unreadable(Exception):
    """A parameter that is not a number, or one that only the kernel can evaluate."""


def number(layer: Layer, key: int, default: int = 0) -> int:
    """The whole number written as `key=`."""
    text = layer.params.get(str(key))
    if text is None:
        return default
    if not _INT.fullmatch(text):
        raise Unreadable(f"{key}={text}")
    return int(text)


def numbers(layer: Layer, key: int) -> tuple[int, ...]:
    """The array of whole numbers written as `-233NN=`, without its length."""
    if str(key) in layer.params:
        raise Unreadable(f"{key}= where an array is expected")
    written = layer.params.get(str(-ARRAY_IDS - key), "0").split(",")[1:]
    if not all(map(_INT.fullmatch, written)):
        raise Unreadable(f"array {key}")
    return tuple(map(int, written))


def decimals(layer: Layer, key: int) -> tuple[float, ...]:
    """The array of numbers written as `-233NN=`, whole or not, without its length."""
    written = layer.params.get(str(-ARRAY_IDS - key), "0").split(",")[1:]
    try:
        return tuple(map(float, written))
    except ValueError:
        raise Unreadable(f"array {key}") from None


def refuse_expressions(layer: Layer, *keys: int) -> None:
    """Raise Unreadable if a parameter is an expression that is evaluated from shapes at run time."""
    for key in keys:
        if str(key) in layer.params:
            raise Unreadable(f"{key}={layer.params[str(key)]}")


def times(size: int, factor: float) -> int:
    """`size` times `factor` as ncnn computes it, in float32, without what follows the point."""
    product = c_float(size * c_float(factor).value).value
    if not math.isfinite(product):
        raise Unreadable(f"a factor of {factor:g}")
    return int(product)


def cdhw(shape: Shape) -> tuple[int, int, int, int]:
    """`shape` as ncnn's Mat holds it: missing axes are 1."""
    if len(shape) == 3:
        return shape[0], 1, shape[1], shape[2]
    c, d, h, w = (1,) * (4 - len(shape)) + shape
    return c, d, h, w


def counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def listed(shapes: Sequence[Shape]) -> str:
    """`[8, 24, 24] and [3, 26, 26]`."""
    *first, last = [str(list(shape)) for shape in shapes]
    return f"{', '.join(first)} and {last}" if first else last


def decimal(layer: Layer, key: int, default: float) -> float:
    """The number written as `key=`, whole or not."""
    text = layer.params.get(str(key))
    try:
        return default if text is None else float(text)
    except ValueError:
        raise Unreadable(f"{key}={text}") from None
