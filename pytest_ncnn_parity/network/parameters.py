"""A layer's parameters as numbers: `key=` in its line, and the arrays `-233NN=`.

Any of them may be written otherwise, as an expression or as text, which some versions of ncnn read.
"""

from __future__ import annotations

import math

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import ARRAY_IDS, WHOLE

UNSET = -233  # in a .param: "not given", and in a Slice or Crop "up to the end"


class NotANumber(Exception):
    """A parameter that is not a number, or one that only the kernel can evaluate."""


def number(layer: Layer, key: int, default: int = 0) -> int:
    """The whole number written as `key=`."""
    text = layer.params.get(str(key))
    if text is None:
        return default
    if not WHOLE.fullmatch(text):
        raise NotANumber(f"{key}={text}")
    return int(text)


def decimal(layer: Layer, key: int, default: float) -> float:
    """The number written as `key=`, whole or not."""
    text = layer.params.get(str(key))
    try:
        return default if text is None else float(text)
    except ValueError:
        raise NotANumber(f"{key}={text}") from None


def decimal_or_inf(layer: Layer, key: int, default: float = 0.0) -> float:
    """The number written as `key=`; infinite if it cannot be read, so that nothing follows from it."""
    try:
        return decimal(layer, key, default)
    except NotANumber:
        return math.inf


def differs(layer: Layer, key: int, usual: float) -> bool:
    """Whether a number is written as `key=`, and is another one than the `usual`."""
    try:
        return decimal(layer, key, usual) != usual
    except NotANumber:
        return False


def numbers(layer: Layer, key: int) -> tuple[int, ...]:
    """The array of whole numbers written as `-233NN=`, without its length."""
    if str(key) in layer.params:
        raise NotANumber(f"{key}= where an array is expected")
    written = layer.params.get(str(-ARRAY_IDS - key), "0").split(",")[1:]
    if not all(map(WHOLE.fullmatch, written)):
        raise NotANumber(f"array {key}")
    return tuple(map(int, written))


def decimals(layer: Layer, key: int) -> tuple[float, ...]:
    """The array of numbers written as `-233NN=`, whole or not, without its length."""
    written = layer.params.get(str(-ARRAY_IDS - key), "0").split(",")[1:]
    try:
        return tuple(map(float, written))
    except ValueError:
        raise NotANumber(f"array {key}") from None


def refuse_expressions(layer: Layer, *keys: int) -> None:
    """Raise NotANumber if a parameter is an expression that is evaluated from shapes at run time."""
    for key in keys:
        if str(key) in layer.params:
            raise NotANumber(f"{key}={layer.params[str(key)]}")
