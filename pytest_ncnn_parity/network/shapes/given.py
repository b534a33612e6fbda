"""Shapes of inputs, and which of them can be fed. Pure.

Shapes are in numpy's order: (w,), (h, w), (c, h, w) or (c, d, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MOST_ELEMENTS = 2**27  # 512 MiB in fp32; a network's values need more than its input


def too_large(shape: Sequence[int]) -> str:
    """Why `shape` is too large; empty if it is not."""
    elements = math.prod(shape)
    if elements <= MOST_ELEMENTS:
        return ""
    return f"shape {list(shape)} has {elements} elements; expected at most {MOST_ELEMENTS}"


def misfit(shape: Sequence[int], hint: Sequence[int] | None, volumes: bool) -> str:
    """Why an input of `shape` cannot be fed; empty if it can.

    `hint` is the shape on the network's Input line. Height, width and depth may differ from it if the
    network accepts that, but not the number of dimensions, nor the channels. `volumes`: the network
    computes with (c, d, h, w), so that c may be 1; elsewhere a leading 1 of four dimensions is a batch,
    which ncnn would misread.
    """
    shape = list(shape)
    if len(shape) == 4 and shape[0] == 1 and not volumes:
        return (
            f"shape {shape} starts with a batch of 1; ncnn has no batch dimension and would compute "
            f"garbage. Write {shape[1:]} (c, h, w)"
        )
    if hint is not None and (len(hint) != len(shape) or (len(hint) > 2 and hint[0] != shape[0])):
        what = "channels" if len(hint) == len(shape) else "dimensions"
        return f"shape {shape} has other {what} than the network's Input line, {list(hint)}"
    return too_large(shape)
