"""Sizes that a layer works out from the shapes of its inputs, as `0w,//(1h,2),16` (src/expression.cpp).

`1h` is the height of the second input. An operation stands in front of what it takes.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_float

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import WHOLE
from pytest_ncnn_parity.network.parameters import NotANumber
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw

EXPRESSION = "the expression"  # in every reason that `misread` gives

_SEPARATORS = re.compile(r"[(),]")
_SIZE = re.compile(r"([0-9])([cdhwn])")  # of a batch, n, nothing is known
# ncnn reads a number as far as it goes, and what follows it, as in 1x, is lost
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def _divided(a: float, b: float) -> float:
    """`//`: as in C, towards 0, of whole numbers; of others the next below."""
    whole = isinstance(a, int) and isinstance(b, int)
    return int(a / b) if whole else float(math.floor(a / b))


_OF_TWO: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": _divided,
    "/": lambda a, b: float(a) / b,
    "max": max,
    "min": min,
}
_OF_ONE: Mapping[str, Callable[[float], float]] = {
    "abs": abs,
    "neg": operator.neg,
    "trunc": int,
    "ceil": math.ceil,
    "floor": math.floor,
}
# what ncnn computes as well, and no size of a real network needs
_FURTHER = frozenset(
    "sign square round acos acosh asin asinh atan atanh cos cosh erf exp log log10 reciprocal rsqrt sin "
    "sinh sqrt tan tanh atan2 fmod pow remainder logaddexp and or xor lshift rshift".split()
)


def evaluated(text: str, shapes: Sequence[Shape]) -> list[int]:
    """The sizes that `text` lists, in its order: w, h, d, c.

    Raises NotANumber if it is no list of numbers, or takes what its inputs do not have.
    """
    found: list[float] = []
    try:
        for token in reversed(list(_tokens(text))):
            if token in _OF_TWO:
                found.append(_rounded(_OF_TWO[token](found.pop(), found.pop())))
            elif token in _OF_ONE:
                found.append(_rounded(_OF_ONE[token](found.pop())))
            else:
                found.append(_value(token, shapes))
        return [int(value) for value in reversed(found)]
    except (IndexError, ArithmeticError, ValueError):
        raise NotANumber(text) from None


def misread(layer: Layer, keys: Sequence[int], inputs: int) -> str:
    """What ncnn cannot read, or what there is not, in an expression that one of `keys` holds."""
    for key in keys:
        for token in _tokens(layer.params.get(str(key), "")):
            size = _SIZE.fullmatch(token)
            if size is not None and int(size[1]) >= inputs:
                return f"{EXPRESSION} of its {key}= asks for {token}; the first input is input 0"
            known = size or _NUMBER.match(token) or token in {*_OF_TWO, *_OF_ONE, *_FURTHER}
            if not known:
                return f"{EXPRESSION} of its {key}= has {token!r}, which is no size, number or operation"
    return ""


def _tokens(text: str) -> Iterator[str]:
    return filter(None, _SEPARATORS.split(text.strip('"')))


def _rounded(value: float) -> float:
    """`value` as ncnn holds it: whole numbers as they are, others in float32."""
    return value if isinstance(value, int) else c_float(value).value


def _value(token: str, shapes: Sequence[Shape]) -> float:
    size = _SIZE.fullmatch(token)
    if size is not None and size[2] != "n":
        return cdhw(shapes[int(size[1])])["cdhw".index(size[2])]
    written = _NUMBER.match(token)
    if written is None:
        raise NotANumber(token)
    if WHOLE.fullmatch(written[0]):
        return int(written[0])
    number = c_float(float(written[0])).value
    return int(number) if number.is_integer() else number
