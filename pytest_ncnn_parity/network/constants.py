"""Which constants of a layer ncnn's Vulkan kernels take in fp16: parameters, and weights. Pure.

Read from ncnn's shaders (src/layer/vulkan/shader): a parameter is cast to `afp`, which is fp16 under
fp16 arithmetic; weights are uploaded in fp16 under fp16 storage (VkTransfer::record_upload).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_ncnn_parity.compare.fp16 import FP16_OVERFLOW, FP16_TINIEST
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.shape_rules.reading import decimal, number

WITH_SCALAR, INT8 = 1, 8  # of BinaryOp; of what is quantized

# by operator, the ids of the parameters that are cast, with what they are if they are not given
CAST: Mapping[str, Mapping[int, float]] = {
    "BinaryOp": {2: 0.0},
    "Clip": {0: 0.0, 1: 0.0},
    "Dropout": {0: 1.0},
    "ELU": {0: 0.1},
    "HardSigmoid": {0: 0.2, 1: 0.5},
    "HardSwish": {0: 0.2, 1: 0.5},
    "Normalize": {2: 0.0001},
    "ReLU": {0: 0.0},
}

# those whose weights are used as they are in the file; a BatchNorm makes a factor and a bias of its own
WEIGHTED = frozenset(
    "Convolution Convolution1D ConvolutionDepthWise Deconvolution DeconvolutionDepthWise Gemm GroupNorm "
    "InnerProduct InstanceNorm LayerNorm MultiHeadAttention Normalize PReLU RMSNorm Scale".split()
)


def is_lost(value: float) -> bool:
    """Whether fp16 makes inf or 0 of a number that is neither."""
    return abs(value) >= FP16_OVERFLOW or 0.0 < abs(value) <= FP16_TINIEST / 2


def lost_parameters(layer: Layer) -> Iterator[tuple[int, float]]:
    """Ids and values of the parameters that fp16 arithmetic makes inf or 0. Raises Unreadable."""
    if layer.type == "BinaryOp" and not number(layer, WITH_SCALAR):
        return
    for key, default in CAST.get(layer.type, {}).items():
        value = decimal(layer, key, default)
        if is_lost(value):
            yield key, value


def keeps_weights(layer: Layer) -> bool:
    """Whether the weights of `layer` are kept in fp16 as they are in the file. Raises Unreadable."""
    return layer.type in WEIGHTED and not (
        layer.type.startswith(("Conv", "Inner")) and number(layer, INT8)
    )
