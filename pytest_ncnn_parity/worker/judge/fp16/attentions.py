"""What a MultiHeadAttention multiplies: its queries, keys and values, from its inputs and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import decimal, number

# given sizes, the tensors of a layer in turn: weights, the floats behind them, further weights, and so
# on
Weights = Callable[..., Sequence[Array]]


class Projected(NamedTuple):
    """Queries, keys and values, each (heads, rows, width), and the output's matrix and bias.

    The queries are not multiplied by `scale` yet. `factors`: the inputs that these are projected from,
    (rows, width), each with its matrix, (embed, width). The `output` is (outputs, embed).
    """

    query: Array
    key: Array
    value: Array
    scale: float
    output: Array
    bias: Array
    factors: Sequence[tuple[Array, Array]]


def projected(layer: Layer, values: Sequence[Array], weights: Weights) -> Projected | None:
    """What a MultiHeadAttention makes of its inputs (multiheadattention_vulkan.cpp).

    None for one with a cache or in int8, and for inputs that do not fit its weights. Raises NotANumber.
    """
    embed, heads, size = number(layer, 0), number(layer, 1, 1), number(layer, 2)
    given = values[: len(values) - 1] if number(layer, 5) else values
    if min(embed, heads, size) < 1 or embed % heads or number(layer, 7) or number(layer, 18):
        return None
    if not given or any(value.ndim != 2 for value in given):
        return None
    query, key, value = (given[min(i, len(given) - 1)] for i in range(3))
    wide = size // embed
    columns = (wide, number(layer, 3, embed), number(layer, 4, embed))
    if tuple(one.shape[1] for one in (query, key, value)) != columns:
        return None
    held = weights(*[count for n in columns for count in (embed * n, embed)], embed * wide, wide)
    matrices = [held[2 * i].reshape(embed, n) for i, n in enumerate(columns)]
    factors = list(zip((query, key, value), matrices, strict=True))
    q, k, v = (
        (one @ matrix.T + held[2 * i + 1]).reshape(len(one), heads, -1).swapaxes(0, 1)
        for i, (one, matrix) in enumerate(factors)
    )
    scale = decimal(layer, 6, 1.0 / math.sqrt(embed // heads))
    return Projected(q, k, v, scale, held[6].reshape(wide, embed), held[7], factors)
