"""What kinds of operators there are: copying ones, elementwise ones, and the values of `op_type`.

`op_type` is id 0 of four operators. Its values have ncnn's names here, and stand as in a .param.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import differs

# the outputs hold elements of the inputs, and constants at most
COPYING = frozenset(
    "Split Reshape Flatten Squeeze ExpandDims Permute Concat Slice Crop Noop Dropout DeepCopy Reorg "
    "PixelShuffle ShuffleChannel Padding Tile Flip Unfold CopyTo".split()
)

# each element of the output depends on the elements at its place in the inputs
ELEMENTWISE = frozenset(
    "ReLU PReLU Sigmoid TanH HardSigmoid HardSwish Swish Mish GELU ELU SELU CELU Clip AbsVal UnaryOp "
    "Exp Log Power Scale Bias BatchNorm BinaryOp Eltwise Threshold Erf Softplus BNLL Shrink "
    "Dropout".split()
)

# the output holds the elements of the input in the same order, in another shape
VIEWS = frozenset("Reshape Flatten Squeeze ExpandDims".split())

RECURRENT = ("LSTM", "GRU", "RNN")


def copies(layer: Layer) -> bool:
    """Whether `layer` computes nothing; a Dropout may multiply by a number."""
    return layer.type in COPYING and not (layer.type == "Dropout" and differs(layer, 0, 1.0))


def has_number(layer: Layer) -> bool:
    """Whether `layer` is a BinaryOp whose second operand is a number on its line."""
    return layer.type == "BinaryOp" and layer.params.get("1", "0") == "1"


class Binary:
    """BinaryOp (src/layer/binaryop.h). An R in front: the operands change places."""

    ADD, SUB, MUL, DIV, MAX, MIN, POW, RSUB, RDIV, RPOW, ATAN2, RATAN2, FMOD, RFMOD = map(str, range(14))
    REMAINDER, RREMAINDER = map(str, range(17, 19))


class Unary:
    """UnaryOp (src/layer/unaryop.h)."""

    ABS, NEG, FLOOR, CEIL, SQUARE, SQRT, RSQRT, EXP, LOG, SIN, COS, TAN = map(str, range(12))
    ASIN, ACOS, ATAN, RECIPROCAL, TANH, LOG10 = map(str, range(12, 18))
    EXPM1, SINH, ASINH, COSH, ACOSH, ATANH, LOG1P = map(str, range(21, 28))


class Reduction:
    """Reduction (src/layer/reduction.h)."""

    SUM, ASUM, SUMSQ, MEAN, MAX, MIN, PROD, L1, L2, LOG_SUM, LOG_SUM_EXP = map(str, range(11))


class Eltwise:
    """Eltwise (src/layer/eltwise.h)."""

    PROD, SUM, MAX = map(str, range(3))


def op_type(layer: Layer) -> str:
    """What `layer` states, or the default."""
    return layer.params.get("0", "0")


def of_another_namespace(operator: str) -> bool:
    """Whether it is named as in PyTorch, `torch.unbind` or `aten::addcmul`, and not as in ncnn."""
    return "." in operator or "::" in operator
