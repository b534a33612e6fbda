"""Which shapes come out of a layer whose inputs fit, by operator. Pure: no numpy, no ncnn.

Operators that are missing here, and parameters that only the kernel can evaluate, give no shapes;
whatever lies behind stays unknown. Sources: src/layer/NAME.cpp of each; a test compares with ncnn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import RECURRENT
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.moved import MOVED
from pytest_ncnn_parity.network.shapes.rules.pairs import expanded
from pytest_ncnn_parity.network.shapes.rules.products import equation_of, matrix
from pytest_ncnn_parity.network.shapes.rules.reading import Outcome, Shape
from pytest_ncnn_parity.network.shapes.rules.several_inputs import CACHED
from pytest_ncnn_parity.network.shapes.rules.slid import SLID

MOST_AXES = 4  # of a Mat
UNCHANGED = frozenset(
    "AbsVal BNLL BatchNorm Bias CELU Cast Clip CopyTo CumulativeSum DeepCopy Dequantize Dropout ELU "
    "Eltwise Erf Exp Flip GELU GroupNorm HardSigmoid HardSwish InstanceNorm LRN LayerNorm Log MVN Mish "
    "Noop Normalize PReLU Power Quantize RMSNorm ReLU Requantize RotaryEmbed SELU Scale Shrink "
    "ShuffleChannel Sigmoid Softmax Softplus Split Swish TanH Threshold UnaryOp".split()
)


def outcome(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """The shapes of the outputs of `layer`; empty if they are not known."""
    rule = OUTCOMES.get(layer.type)
    if rule is None:
        return ()
    try:
        results = tuple(map(tuple, rule(layer, shapes)))
    # the parameters have values that no real network has
    except (NotANumber, ZeroDivisionError, IndexError, ValueError):
        return ()
    fit = all(1 <= len(shape) <= MOST_AXES and min(shape) > 0 for shape in results)
    return results if fit and len(results) == len(layer.outputs) else ()


def _unchanged(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    return [shapes[0]] * len(layer.outputs)


def _given(layer: Layer, _: Sequence[Shape]) -> Sequence[Shape]:
    """MemoryData: the shape of its weights."""
    sizes = [number(layer, key) for key in (2, 11, 1, 0)]
    return [tuple(size for size in sizes if size > 0)]


def _embed(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    return [(math.prod(shapes[0]), number(layer, 0))]


def _inner_product(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    outputs, shape = number(layer, 0), shapes[0]
    rows = len(shape) == 2 and shape[1] == number(layer, 2) // outputs
    return [(shape[0], outputs) if rows else (outputs,)]


def _gemm(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    waiting = list(shapes)
    rows = number(layer, 7) if number(layer, 4) else matrix(waiting.pop(0), number(layer, 2))[0]
    columns = number(layer, 8) if number(layer, 5) else matrix(waiting.pop(0), not number(layer, 3))[0]
    if number(layer, 14):
        rows, columns = columns, rows
    return [(rows, 1, columns) if number(layer, 11) else (rows, columns)]


def _matmul(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    a, b = shapes
    if min(len(a), len(b)) < 2:
        return ()
    columns = b[-2] if number(layer, 0) else b[-1]
    both = zip_longest(reversed(a[:-2]), reversed(b[:-2]), fillvalue=1)
    return [(*reversed([max(sizes) for sizes in both]), a[-2], columns)]


def _recurrent(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """LSTM, GRU, RNN. The shapes of further outputs, which are states, are not given."""
    both = 2 if number(layer, 2) == 2 else 1
    steps = (1, *shapes[0])[-2]  # a vector is one step
    return [(steps, both * number(layer, 0))]


def _multi_head_attention(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """What is attended to and, with a cache, all keys and values; to other values none are added."""
    rows = 1 if len(shapes[0]) == 1 else shapes[0][0]
    made: list[Shape] = [(rows, number(layer, 2) // number(layer, 0))]
    if number(layer, 7):
        own = len(shapes) - bool(number(layer, 5)) == 1 + CACHED
        made += [(past[0], past[1] + own * rows, past[2]) for past in shapes[-CACHED:]]
    return made


def _sdpa(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    """What is attended to and, with a cache, all keys and values."""
    query, *new = shapes[:3]
    made = [(*query[:2], new[1][-1])]
    if number(layer, 7):
        made += [(one[0], past[-2] + one[1], one[2]) for past, one in zip(shapes[-2:], new, strict=True)]
    return made


def _einsum(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    equation = equation_of(layer)
    names, arrow, result = equation.partition("->")
    if not arrow:
        return [(1,)]  # a trace
    sizes = dict(zip(names.replace(",", ""), (size for shape in shapes for size in shape), strict=True))
    return [tuple(sizes.get(axis, 0) for axis in result)]


def _binary_op(_: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    if len(shapes) == 1:
        return [shapes[0]]
    a, b = shapes
    return [tuple(map(max, expanded(a, b), expanded(b, a)))]


def _concat(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    first = shapes[0]
    axis = 0 if len(first) == 1 else number(layer, 0) % len(first)
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


OUTCOMES: Mapping[str, Outcome] = {
    **dict.fromkeys(UNCHANGED, _unchanged),
    "MemoryData": _given,
    "Embed": _embed,
    "InnerProduct": _inner_product,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(RECURRENT, _recurrent),
    "MultiHeadAttention": _multi_head_attention,
    "SDPA": _sdpa,
    "Einsum": _einsum,
    "BinaryOp": _binary_op,
    "Concat": _concat,
    **MOVED,
    **SLID,
}
