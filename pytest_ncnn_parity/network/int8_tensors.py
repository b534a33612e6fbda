"""What the weights file holds for operators with weights in int8 and no scale for their input. Pure.

The layouts are those of load_model in src/layer/embed.cpp, gemm.cpp, gru.cpp, lstm.cpp,
multiheadattention.cpp and rnn.cpp: tensors in floats or in int8, then the scales of all that are int8,
then, of weights in blocks, those by which the inputs are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import INT8_TERM
from pytest_ncnn_parity.network.parameters import NotANumber, number

# Weights in blocks (src/layer/gemm.cpp, multiheadattention.cpp): 100 times the bits of each, 10 if the
# inputs have scales as well, and the number of a size.
_BITS, _SIZES = (4, 6, 8), (32, 64, 128)
_IN_BLOCKS = frozenset({"Gemm", "MultiHeadAttention"})


class Tensor(Frozen):
    """`count` numbers of a weights file. `tagged`: a word in front says what they are.

    Those that int8 replaces are `name`, a matrix of `rows` and `columns`, with as many `scales`: one for
    each row, one for all, or one for each block of a row; `transposed`: in this file its columns lie one
    after the other. Those that are added to the products of a matrix are `bias_of` it.
    """

    count: int
    tagged: bool = True
    name: str = ""
    rows: int = 1
    columns: int = 1
    scales: int = 0
    transposed: bool = False
    bias_of: str = ""


class Blocks(Frozen):
    """Weights of `bits` each, `size` of a row to a block, which has a scale of its own.

    `inputs_scaled`: each input is multiplied by a scale of the file as well.
    """

    bits: int
    size: int
    inputs_scaled: bool

    @property
    def largest(self) -> int:
        """The largest integer that a weight can be."""
        return (1 << self.bits - 1) - 1

    def packed(self, columns: int) -> int:
        """The bytes of a row."""
        return -(-columns * self.bits // 8)

    def each(self, columns: int) -> int:
        """The blocks of a row."""
        return -(-columns // self.size)


def blocks(layer: Layer) -> Blocks | None:
    """How the weights of `layer` lie in blocks; None if they do not."""
    if layer.type not in _IN_BLOCKS:
        return None
    try:
        term = number(layer, int(INT8_TERM[layer.type]))
    except NotANumber:
        return None
    bits, inputs_scaled, size = term // 100, term % 100 // 10, term % 10
    if bits not in _BITS or inputs_scaled > 1 or size >= len(_SIZES):
        return None
    return Blocks(bits, _SIZES[size], inputs_scaled == 1)


def tensors(layer: Layer) -> tuple[Tensor, ...]:
    """The tensors of `layer` in the order of the file, without scales; none if they are not known."""
    try:
        if layer.type not in _LAYOUTS:
            return ()
        found = _LAYOUTS[layer.type](layer)
    except (NotANumber, ZeroDivisionError):
        return ()
    packing = blocks(layer)
    if packing is not None:
        found = tuple(_packed(one, packing) if one.name else one for one in found)
    return found if all(one.count > 0 and one.rows > 0 for one in found) else ()


def input_scales(layer: Layer) -> tuple[int, ...]:
    """How many numbers each of the last tensors of `layer` has, which its inputs are multiplied by."""
    packing = blocks(layer)
    if packing is None or not packing.inputs_scaled:
        return ()
    return tuple(one.columns for one in tensors(layer) if one.name)


def _packed(matrix: Tensor, packing: Blocks) -> Tensor:
    rows, columns = matrix.rows, matrix.columns
    return replace(matrix, count=rows * packing.packed(columns), scales=rows * packing.each(columns))


def _matrix(
    name: str, rows: int, columns: int, scales: int | None = None, transposed: bool = False
) -> Tensor:
    """A matrix with a scale for each row, or with as many as `scales`."""
    count = rows * columns
    return Tensor(count, True, name, rows, columns, rows if scales is None else scales, transposed)


def _recurrent(layer: Layer, gates: int, biases: int, hidden: int) -> tuple[Tensor, ...]:
    """Weights of the input, biases, recurrent weights; and a projection where the output is smaller."""
    directions = 2 if number(layer, 2) == 2 else 1
    outputs, rows = number(layer, 0), directions * gates * hidden
    projection = (Tensor(directions * hidden * outputs),) if outputs != hidden else ()
    return (
        _matrix("weight_xc", rows, number(layer, 1) // rows),
        Tensor(directions * biases * hidden, bias_of="weight_xc"),
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
        *([] if c is None else [Tensor(c, bias_of="B" if number(layer, 5) else "A")]),
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
        found += [_matrix(name, embedded, columns), Tensor(embedded, tagged=False, bias_of=name)]
    last = _matrix("out_weight", queries, embedded, scales=1)
    return (*found, last, Tensor(queries, tagged=False, bias_of="out_weight"))


def _embed(layer: Layer) -> tuple[Tensor, ...]:
    outputs, words = number(layer, 0), number(layer, 1)
    bias = (Tensor(outputs, tagged=False, bias_of="weight"),) if number(layer, 2) else ()
    return (_matrix("weight", words, outputs, scales=1), *bias)


_LAYOUTS: Mapping[str, Callable[[Layer], tuple[Tensor, ...]]] = {
    "Embed": _embed,
    "GRU": _gru,
    "Gemm": _gemm,
    "LSTM": _lstm,
    "MultiHeadAttention": _attention,
    "RNN": _rnn,
}
