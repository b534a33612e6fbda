"""What the weights file holds for operators with weights in int8 and no scale for their input. Pure.

The layouts are those of load_model in src/layer/embed.cpp, gemm.cpp, gru.cpp, lstm.cpp,
multiheadattention.cpp and rnn.cpp: tensors in floats or in int8, then the scales of all that are int8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import INT8_TERM
from pytest_ncnn_parity.network.parameters import NotANumber, number

IN_BLOCKS = 400  # from this term on, weights are packed in blocks of fewer bits


class Tensor(Frozen):
    """`count` numbers of a weights file. `tagged`: a word in front says what they are.

    Those that int8 replaces are `name`, a matrix of `rows`, with one scale for each row or one for all;
    `transposed`: in this file its columns lie one after the other.
    """

    count: int
    tagged: bool = True
    name: str = ""
    rows: int = 1
    scales: int = 0
    transposed: bool = False


def tensors(layer: Layer) -> tuple[Tensor, ...]:
    """The tensors of `layer` in the order of the file, without scales; none if they are not known."""
    try:
        if layer.type not in _LAYOUTS or are_in_blocks(layer):
            return ()
        found = _LAYOUTS[layer.type](layer)
    except (NotANumber, ZeroDivisionError):
        return ()
    return found if all(one.count > 0 and one.rows > 0 for one in found) else ()


def are_in_blocks(layer: Layer) -> bool:
    """Whether the weights of `layer` are in blocks of a few bits, which are no numbers by themselves.

    Raises NotANumber.
    """
    return layer.type in _LAYOUTS and number(layer, int(INT8_TERM[layer.type])) >= IN_BLOCKS


def _matrix(
    name: str, rows: int, columns: int, scales: int | None = None, transposed: bool = False
) -> Tensor:
    """A matrix with a scale for each row, or with as many as `scales`."""
    return Tensor(rows * columns, True, name, rows, rows if scales is None else scales, transposed)


def _recurrent(layer: Layer, gates: int, biases: int, hidden: int) -> tuple[Tensor, ...]:
    """Weights of the input, biases, recurrent weights; and a projection where the output is smaller."""
    directions = 2 if number(layer, 2) == 2 else 1
    outputs, rows = number(layer, 0), directions * gates * hidden
    projection = (Tensor(directions * hidden * outputs),) if outputs != hidden else ()
    return (
        _matrix("weight_xc", rows, number(layer, 1) // rows),
        Tensor(directions * biases * hidden),
        _matrix("weight_hc", rows, outputs),
        *projection,
    )


def _lstm(layer: Layer) -> tuple[Tensor, ...]:
    return _recurrent(layer, 4, 4, number(layer, 3, number(layer, 0)))


def _gru(layer: Layer) -> tuple[Tensor, ...]:
    return _recurrent(layer, 3, 4, number(layer, 0))


def _rnn(layer: Layer) -> tuple[Tensor, ...]:
    return _recurrent(layer, 1, 1, number(layer, 0))


def _gemm(layer: Layer) -> tuple[Tensor, ...]:
    m, n, k = (number(layer, key) for key in (7, 8, 9))
    a = _matrix("A", m, k, transposed=number(layer, 2) != 0)
    b = _matrix("B", n, k, scales=1, transposed=number(layer, 3) == 0)
    sizes = {0: 1, 1: m, 2: m, 3: m * n, 4: n}  # of C, by how it is broadcast
    c = sizes.get(number(layer, 10)) if number(layer, 6) else None
    return (
        *([a] if number(layer, 4) else []),
        *([b] if number(layer, 5) else []),
        *([] if c is None else [Tensor(c)]),
    )


def _attention(layer: Layer) -> tuple[Tensor, ...]:
    embedded = number(layer, 0)
    queries = number(layer, 2) // embedded
    found: list[Tensor] = []
    for name, columns in (
        ("q_weight", queries),
        ("k_weight", number(layer, 3, embedded)),
        ("v_weight", number(layer, 4, embedded)),
    ):
        found += [_matrix(name, embedded, columns), Tensor(embedded, tagged=False)]
    last = _matrix("out_weight", queries, embedded, scales=1)
    return (*found, last, Tensor(queries, tagged=False))


def _embed(layer: Layer) -> tuple[Tensor, ...]:
    outputs, words = number(layer, 0), number(layer, 1)
    bias = (Tensor(outputs, tagged=False),) if number(layer, 2) else ()
    return (_matrix("weight", words, outputs, scales=1), *bias)


_LAYOUTS: Mapping[str, Callable[[Layer], tuple[Tensor, ...]]] = {
    "Embed": _embed,
    "GRU": _gru,
    "Gemm": _gemm,
    "LSTM": _lstm,
    "MultiHeadAttention": _attention,
    "RNN": _rnn,
}
