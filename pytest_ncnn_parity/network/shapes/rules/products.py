"""Operators that multiply matrices: the axis that is summed over must be as long on both sides.

Sources: src/layer/innerproduct.cpp, gemm.cpp, matmul.cpp, einsum.cpp, lstm.cpp, gru.cpp, rnn.cpp,
multiheadattention.cpp, sdpa.cpp, rotaryembed.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number, numbers
from pytest_ncnn_parity.network.shapes.rules.reading import Shape, cdhw, listed

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def inner_product(layer: Layer, shapes: Sequence[Shape]) -> str:
    """All elements of a blob, or each row of a matrix."""
    shape = shapes[0]
    outputs, size = number(layer, 0), number(layer, 2)
    if outputs < 1 or size < outputs:
        return ""
    wanted = size // outputs
    if math.prod(shape) == wanted or (len(shape) == 2 and shape[1] == wanted):
        return ""
    return (
        f"gets {list(shape)}, {counted(math.prod(shape), 'element')}; its weights are for {wanted}, or "
        f"for rows of {wanted}"
    )


def recurrent(layer: Layer, shapes: Sequence[Shape]) -> str:
    """LSTM, GRU, RNN: one row for each time step."""
    shape = shapes[0]
    rows = directions(layer) * state_sizes(layer)[-1] * GATES[layer.type]
    if rows < 1 or number(layer, 1) < rows:
        return ""
    wanted = number(layer, 1) // rows
    if shape[-1] != wanted:
        return f"gets {list(shape)}, rows of {shape[-1]}; its weights are for rows of {wanted}"
    if math.prod(shape[:-2]) != 1:
        return f"gets {list(shape)} and reads {list(shape[-2:])} of it; it takes a matrix, a row a step"
    return _states(layer, shapes)


def directions(layer: Layer) -> int:
    """In how many directions an LSTM, GRU or RNN reads: 2 if forwards and backwards."""
    return 2 if number(layer, 2) == 2 else 1


def state_sizes(layer: Layer) -> tuple[int, ...]:
    """How long a row of each state is: of the hidden one, and of an LSTM's cell."""
    outputs = number(layer, 0)
    return (outputs, number(layer, 3, outputs)) if layer.type == "LSTM" else (outputs,)


def _states(layer: Layer, shapes: Sequence[Shape]) -> str:
    """What is wrong with the initial states: they need one row for each direction."""
    rows = directions(layer)
    for state, size in zip(shapes[1:], state_sizes(layer), strict=False):
        if state[-1] != size or math.prod(state) < rows * size:
            return f"gets {listed(shapes)}; its states are rows of {size}, {rows} of them"
    return ""


def matmul(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Two inputs, as in numpy's matmul."""
    if len(shapes) != 2:
        return ""
    a, b = shapes
    rows = b[-1] if len(b) == 1 or number(layer, 0) else b[-2]
    if a[-1] != rows:
        turned = ", transposed," if number(layer, 0) and len(b) > 1 else ""
        return (
            f"gets {listed(shapes)}: rows of {a[-1]} times columns of {rows}{turned} do not go together"
        )
    if all(x == y or 1 in (x, y) for x, y in zip(reversed(a[:-2]), reversed(b[:-2]), strict=False)):
        return ""
    return f"gets {listed(shapes)}: both sides need as many matrices, or one side a single one"


def einsum(layer: Layer, shapes: Sequence[Shape]) -> str:
    """One letter for each axis, and one size for each letter. ncnn takes the last size it meets."""
    equation = equation_of(layer)
    names = [equation] if equation == "ii" else equation.partition("->")[0].split(",")
    if len(names) != len(shapes):
        return ""
    given = f"gets {listed(shapes)} for '{equation}'"
    sizes: dict[str, int] = {}
    for name, shape in zip(names, shapes, strict=True):
        if len(name) != len(shape):
            return f"{given}: {name} has {counted(len(name), 'letter')} for {list(shape)}"
        for axis, size in zip(name, shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                return f"{given}: {axis} is {sizes[axis]} and {size}"
    return ""


def equation_of(layer: Layer) -> str:
    """The equation of an Einsum, as `ik,kj->ij`; `ii` is a trace."""
    letters = numbers(layer, 0)
    if not all(0 < letter < 128 for letter in letters):
        raise NotANumber("an equation of other than letters")
    return "".join(map(chr, letters))


def gemm(layer: Layer, shapes: Sequence[Shape]) -> str:
    """A times B plus C; each of them is an input, or stored in the .bin."""
    a_is_own, b_is_own, c_is_own = (number(layer, key) for key in (4, 5, 6))
    waiting = list(shapes)
    a = None if a_is_own else waiting.pop(0)
    b = None if b_is_own or not waiting else waiting.pop(0)
    if b is None and not b_is_own:
        return ""
    if any(shape and (len(shape) > 3 or math.prod(shape[1:-1]) != 1) for shape in (a, b)):
        return f"gets {listed(shapes[:2])}; it takes matrices, or [rows, 1, columns]"
    m, k = (number(layer, 7), number(layer, 9)) if a is None else matrix(a, number(layer, 2))
    n, rows = (number(layer, 8), number(layer, 9)) if b is None else matrix(b, not number(layer, 3))
    if k != rows:
        own = "its own B" if b is None else "its own A" if a is None else ""
        sides = f"{list(shapes[0])} and {own}" if own else listed(shapes[:2])
        return f"gets {sides}: rows of {k} times columns of {rows} do not go together"
    if c_is_own or not waiting:
        return ""
    c = waiting[0]
    if math.prod(c) == 1 or c in ((m,), (n,), (m, 1), (1, n), (m, n)):
        return ""
    return f"gets {listed(shapes)}: the last does not broadcast to the result, {[m, n]}"


def matrix(shape: Shape, turned: int | bool) -> tuple[int, int]:
    """Rows and columns as Gemm sees them: the channels of a (c, 1, w) are rows."""
    columns, rows = shape[-1], 1 if len(shape) == 1 else shape[0]
    return (columns, rows) if turned else (rows, columns)


def multi_head_attention(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Query, key and value, each with as many columns as its weights expect."""
    embed, size = number(layer, 0), number(layer, 2)
    blobs = len(shapes) - bool(number(layer, 5))
    if embed < 1 or size < embed or number(layer, 7) or blobs < 1:
        return ""
    query, key, value = (shapes[min(i, blobs - 1)] for i in range(3))
    if any(len(shape) > 2 for shape in (query, key, value)):
        return f"gets {listed(shapes[:blobs])}; it takes matrices, a row for each position"
    if any(len(shape) < 2 for shape in (query, key, value)):
        return ""
    wanted = {"query": size // embed, "key": number(layer, 3, embed), "value": number(layer, 4, embed)}
    for (name, columns), shape in zip(wanted.items(), (query, key, value), strict=True):
        if shape[1] != columns:
            return f"gets a {name} of {list(shape)}; its weights are for rows of {columns}"
    if key[0] != value[0]:
        return f"gets {listed(shapes[:3])}: key and value must have as many rows"
    if number(layer, 5):
        return _attention_mask(shapes[blobs], query, number(layer, 1, 1), key[0])
    return ""


def _attention_mask(mask: Shape, query: Shape, heads: int, keys: int) -> str:
    """One row for each query and one column for each key, either once or for each head."""
    queries = query[-2]
    if mask[-2:] == (queries, keys) and (len(mask) == 2 or mask[0] in (1, heads)):
        return ""
    return (
        f"gets a query of {list(query)} and a mask of {list(mask)}; with {counted(keys, 'key')} "
        f"{[queries, keys]} or {[heads, queries, keys]} fits"
    )


def sdpa(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Scaled dot product attention: each input is (heads, rows, columns)."""
    if [len(shape) for shape in shapes[:3]] != [3, 3, 3]:
        return ""
    query, key, value = shapes[:3]
    inputs = f"gets a query of {list(query)}, a key of {list(key)} and a value of {list(value)}"
    if query[2] != key[2]:
        return f"{inputs}; query and key must have as many columns"
    if key[:2] != value[:2]:
        return f"{inputs}; key and value must have as many heads and rows"
    if query[0] % key[0]:
        return f"{inputs}; the query's heads must be a multiple of the key's"
    masks = shapes[3 : 3 + bool(number(layer, 5))]
    past = shapes[3 + len(masks) :] if number(layer, 7) else ()
    if past and len(past) != 2:
        return ""
    for name, cache, new in zip(("keys", "values"), past, (key, value), strict=False):
        heads, _, _, columns = cdhw(cache)
        if (heads, columns) != (new[0], new[2]):
            return f"{inputs}; past {name} of {list(cache)} do not have the same heads and columns"
    rows = [cdhw(cache)[2] for cache in past] or [0]
    if rows[0] != rows[-1]:
        return f"{inputs}; past keys and values of {listed(past)} must have as many rows"
    return _attention_mask(masks[0], query, query[0], rows[0] + key[1]) if masks else ""


def rotary_embed(layer: Layer, shapes: Sequence[Shape]) -> str:
    """One row of cosines and one of sines, half as long, for each row that is rotated.

    They are as long where both halves of a row have their own; not if neighbours are turned together.
    """
    if len(shapes) != 3:
        return ""
    shape, *caches = shapes
    rows, columns = (1, *shape)[-2:]
    if columns % 2:
        return f"gets {list(shape)}: rows of {columns} cannot be turned in pairs"
    widths = {cache[-1] for cache in caches}
    fits = widths == {columns // 2} or (widths == {columns} and number(layer, 0) == 0)
    if not fits or any((1, *cache)[-2] < rows for cache in caches):
        return f"gets {listed(shapes)}; cosines and sines of at least {[rows, columns // 2]} fit"
    return ""
