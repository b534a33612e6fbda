"""What layers take as each of several inputs, as their weights and their other inputs tell.

Sources: src/layer/lstm.cpp, gru.cpp, rnn.cpp, multiheadattention.cpp, sdpa.cpp, rotaryembed.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.products import GATES, directions, state_sizes
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

PAST_AXES = ("HEADS", "PAST", "SIZE")  # keys or values of the words before
CACHED = 2  # inputs of an attention that are the keys and the values of words before
_ROWS = ("1", "-2")  # the axis of the words, as a Concat of three axes states it


def axes_at(layer: Layer, place: int) -> tuple[int | str, ...] | None:
    """The axes of the input of `layer` at `place`, from 0 on: sizes, or names of sizes not stated.

    None if the layer tells nothing of it.
    """
    try:
        if layer.type in GATES:
            sizes = state_sizes(layer)
            return (directions(layer), sizes[place - 1]) if 0 < place <= len(sizes) else None
        if layer.type == "MultiHeadAttention":
            return _of_attention(layer, place)
        if layer.type == "SDPA":
            return _of_heads(layer, place)
        if layer.type == "RotaryEmbed":
            return ("LENGTH", "HALF") if place else ("HEADS", "LENGTH", "SIZE")
    except NotANumber:  # the kernel works it out, or refuses the file
        return None
    return None


def _of_attention(layer: Layer, place: int) -> tuple[int | str, ...] | None:
    """Queries, keys and values, a mask behind them, and the keys and values of words before."""
    embed, masked, heads = number(layer, 0), bool(number(layer, 5)), number(layer, 1, 1)
    values = _values(layer)
    if min(embed, heads) < 1:
        return None
    if number(layer, 7) and place >= len(layer.inputs) - CACHED:
        return heads, PAST_AXES[1], embed // heads
    if place < values:
        return "LENGTH", number(layer, 2 + place, embed) if place else number(layer, 2) // embed
    return ("QUERIES", "KEYS") if masked and place == values else None


def _values(layer: Layer) -> int:
    """How many inputs of a MultiHeadAttention are queries, keys and values; one may be all of them."""
    cached = CACHED if number(layer, 7) else 0
    return len(layer.inputs) - bool(number(layer, 5)) - cached


def _of_heads(layer: Layer, place: int) -> tuple[int | str, ...]:
    """Queries, keys, values, a mask if there is one, and the keys and values of words before."""
    if place == 3 and number(layer, 5):
        return "QUERIES", "KEYS"
    rows = ("QUERIES", "KEYS", "KEYS")
    return "HEADS", rows[place] if place < len(rows) else "PAST", "SIZE"


def shape_beside(layer: Layer, place: int, shapes: Sequence[Shape | None]) -> Shape | None:
    """The shape of the input of `layer` at `place`, as those of its other inputs tell, as far as known.

    None if they do not tell it.
    """
    first = shapes[0]
    try:
        if layer.type in ("BinaryOp", "Eltwise"):
            return next((shape for shape in shapes if shape is not None and 1 not in shape), None)
        if layer.type == "RotaryEmbed" and place and first is not None and len(first) > 1:
            return first[-2], first[-1] // 2
        masked = _is_mask(layer, place)
    except NotANumber:  # the kernel works it out, or refuses the file
        return None
    keys = _keys(layer, place, shapes) if masked else None
    if first is None or keys is None or len(first) < 2:
        return None
    return first[-2], keys


def new_rows(layer: Layer, place: int, shapes: Sequence[Shape | None]) -> Shape | None:
    """The new keys or values, (heads, rows, columns), behind those of before that `layer` reads there.

    None if it reads there something else, or the new ones are not known.
    """
    count, new = len(layer.inputs), None
    if layer.type == "Concat" and (count, place) == (2, 0) and layer.params.get("0") in _ROWS:
        new = shapes[1]
    elif layer.type == "SDPA" and layer.params.get("7") == "1" and place >= count - 2 >= 3:
        new = shapes[1 + place - (count - 2)]
    return new if new is not None and len(new) == 3 else None


def _keys(layer: Layer, mask: int, shapes: Sequence[Shape | None]) -> int | None:
    """How many keys an attention has that reads a mask at place `mask`, with those of before."""
    keys = [shapes[min(1, mask - 1)]]  # the queries, where there are no others
    if number(layer, 7):
        # a MultiHeadAttention that is given keys reads those of before in place of them
        alone = layer.type == "MultiHeadAttention" and mask > 1
        keys = [shapes[-2]] if alone else [*keys, shapes[-2]]
    rows = [shape[-2] for shape in keys if shape is not None and len(shape) > 1]
    return sum(rows) if len(rows) == len(keys) else None


def _is_mask(layer: Layer, place: int) -> bool:
    """Whether `layer` reads a mask of its attention there."""
    if number(layer, 5) == 0:
        return False
    return (layer.type, place) == ("SDPA", 3) or (
        layer.type == "MultiHeadAttention" and place == _values(layer) > 0
    )
