"""The word in front of weights in a .bin, which says in which format they are (src/modelbin.cpp).

Behind any other word there is a table of 256 numbers in fp32, and an index into it for each weight.
"""

from __future__ import annotations

import struct
from mmap import mmap

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING

FP32 = 0
FP32_IN_OLD_FILES = 0x0002C056
FP16 = 0x01306B47
BF16 = 0x01348B83
INT8 = 0x000D4B38

TAG_BYTES = 4
TABLE_BYTES = 1024
SIZES = {FP32: 4, FP32_IN_OLD_FILES: 4, FP16: 2, BF16: 2, INT8: 1}  # bytes of one weight

# operators whose weights have such a word (the load_model functions in src/layer)
_TAGGED = frozenset(
    (*CHANGED_BY_FOLDING, *"DeformableConv2D Embed GRU LSTM MultiHeadAttention RNN".split())
)


def has_tagged_weights(layer: Layer) -> bool:
    """Whether `layer` has weights behind a tag: those that a file in fp16 has in fp16."""
    try:
        if layer.type == "Gemm":
            return any(number(layer, key) for key in (4, 5))  # a constant A or B
        return layer.type in _TAGGED and not reads_weights(layer)
    except NotANumber:
        return False


def reads_weights(layer: Layer) -> bool:
    """Whether the weights of `layer`, if it slides a window, are an input of it. Raises NotANumber."""
    if not layer.type.startswith(("Convolution", "Deconvolution")):
        return False
    return number(layer, 28 if layer.type.startswith("De") else 19) != 0


def end_of_weights(content: bytes | mmap, at: int, count: int) -> int:
    """Return the byte behind `count` weights whose tag is at byte `at`: they fill whole words.

    Raises struct.error if `content` has no tag there.
    """
    (tag,) = struct.unpack_from("<I", content, at)
    table, size = (0, SIZES[tag]) if tag in SIZES else (TABLE_BYTES, 1)
    return at + TAG_BYTES + table + size * count + -size * count % 4
