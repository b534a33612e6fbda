"""What kinds of operators there are: those that only copy, and those that compute element by element."""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import differs

# the outputs hold elements of the inputs, and constants at most
COPYING = frozenset(
    "Split Reshape Flatten Squeeze ExpandDims Permute Concat Slice Crop Noop Dropout DeepCopy Reorg "
    "PixelShuffle ShuffleChannel Padding Tile Flip Unfold".split()
)

# each element of the output depends on the elements at its place in the inputs
ELEMENTWISE = frozenset(
    "ReLU PReLU Sigmoid TanH HardSigmoid HardSwish Swish Mish GELU ELU SELU CELU Clip AbsVal UnaryOp "
    "Exp Log Power Scale Bias BatchNorm BinaryOp Eltwise Threshold Erf Softplus BNLL Shrink "
    "Dropout".split()
)


def copies(layer: Layer) -> bool:
    """Whether `layer` computes nothing; a Dropout may multiply by a number."""
    return layer.type in COPYING and not (layer.type == "Dropout" and differs(layer, 0, 1.0))
