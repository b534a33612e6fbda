"""Sizes that a layer works out from the shapes of its inputs, as `0w,//(1h,2),16` (src/expression.cpp).

`1h` is the height of the second input. An operation stands in front of what it takes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

from pytest_ncnn_parity.network.param_line import WHOLE
from pytest_ncnn_parity.network.parameters import NotANumber
from pytest_ncnn_parity.network.shape_rules.reading import Shape, cdhw

_SEPARATORS = re.compile(r"[(),]")
_SIZE = re.compile(r"([0-9])([cdhw])")  # with n, for a batch, nothing is known
_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": lambda a, b: int(a / b),  # as in C, towards 0
    "max": max,
    "min": min,
}


def evaluated(text: str, shapes: Sequence[Shape]) -> list[int]:
    """The sizes that `text` lists, in its order: w, h, d, c.

    Raises NotANumber if it is no list of whole numbers, or takes what its inputs do not have.
    """
    found: list[int] = []
    try:
        for token in reversed(_SEPARATORS.split(text.strip('"'))):
            operation = _OPERATIONS.get(token)
            if operation is not None:
                found.append(operation(found.pop(), found.pop()))
            elif token:
                found.append(_size(token, shapes))
    except (IndexError, ZeroDivisionError):
        raise NotANumber(text) from None
    return found[::-1]


def beyond(text: str, inputs: int) -> str:
    """The first size in `text` that is of an input which a layer of so many `inputs` does not have."""
    sizes = map(_SIZE.fullmatch, _SEPARATORS.split(text.strip('"')))
    return next((size[0] for size in sizes if size and int(size[1]) >= inputs), "")


def _size(token: str, shapes: Sequence[Shape]) -> int:
    if WHOLE.fullmatch(token):
        return int(token)
    size = _SIZE.fullmatch(token)
    if size is None:
        raise NotANumber(token)
    return cdhw(shapes[int(size[1])])["cdhw".index(size[2])]
