"""Which constants of a layer ncnn's Vulkan kernels take in fp16: its parameters and its weights. Pure.

Read from ncnn's shaders (src/layer/vulkan/shader): a parameter is cast to `afp`, which is fp16 under
fp16 arithmetic; weights are uploaded in fp16 under fp16 storage (VkTransfer::record_upload).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import is_quantized
from pytest_ncnn_parity.network.parameters import decimal, decimals, number

WITH_SCALAR, INT8 = 1, 8  # parameter ids: BinaryOp's constant, and the flag of quantized layers
MOST_OFF = 0.02  # the share of itself by which fp16 may be off a number: below 1.5e-6 it may be further
SUM, COEFFICIENTS = 1, 1  # Eltwise: the operation that has coefficients, and the id of their array

# by operator, the ids of the parameters that are cast, with their defaults
CAST: Mapping[str, Mapping[int, float]] = {
    "BinaryOp": {2: 0.0},
    "CELU": {0: 1.0},
    "Clip": {0: 0.0, 1: 0.0},
    "Dropout": {0: 1.0},
    "ELU": {0: 0.1},
    "Gemm": {0: 1.0, 1: 1.0},
    "HardSigmoid": {0: 0.2, 1: 0.5},
    "HardSwish": {0: 0.2, 1: 0.5},
    "Normalize": {2: 0.0001},
    "ReLU": {0: 0.0},
    "Shrink": {0: 0.0, 1: 0.5},
}

ALPHA, LAMBDA = (0, 1.67326324), (1, 1.050700987)  # SELU: parameter id and default

# operators with ids for the type and the parameters of an activation (vulkan_activation.comp)
ACTIVATED = frozenset(
    "Convolution Convolution1D ConvolutionDepthWise Deconvolution DeconvolutionDepthWise "
    "InnerProduct".split()
)
ACTIVATION, ACTIVATION_PARAMETERS = 9, 10
TAKEN = {2: 1, 3: 2, 6: 2}  # number of parameters by type: leaky ReLU, Clip, HardSwish

# operators whose weights are used as the file has them; a BatchNorm derives a factor and a bias
WEIGHTED = frozenset(
    "Convolution Convolution1D ConvolutionDepthWise Deconvolution DeconvolutionDepthWise Gemm GroupNorm "
    "InnerProduct InstanceNorm LayerNorm MultiHeadAttention Normalize PReLU RMSNorm Scale".split()
)


class Parameter(Frozen):
    """A parameter by its id: the numbers that a kernel casts to fp16, and what fp16 keeps of them.

    Each is a single number, except for an array.
    """

    key: int
    cast: tuple[float, ...]
    kept: tuple[float, ...]
    array: bool = False

    @property
    def lost(self) -> float | None:
        """The first of the numbers that fp16 does not keep."""
        return next(filter(is_lost, self.cast), None)


def is_lost(value: float) -> bool:
    """Whether fp16 turns a number into inf or 0 that is neither, or keeps it more than MOST_OFF off."""
    return not abs(_in_fp16(value) - value) <= MOST_OFF * abs(value)


def lost_parameters(layer: Layer) -> Iterator[Parameter]:
    """The parameters that fp16 arithmetic does not keep. Raises NotANumber."""
    return (parameter for parameter in _cast(layer) if parameter.lost is not None)


def _cast(layer: Layer) -> Iterator[Parameter]:
    """The parameters that kernels cast."""
    if layer.type == "SELU":  # lambda, and its product with alpha
        scale, alpha = decimal(layer, *LAMBDA), decimal(layer, *ALPHA)
        kept = _in_fp16(scale)
        yield Parameter(LAMBDA[0], (scale,), (kept,))
        of_alpha = _in_fp16(alpha * scale) / kept if kept else alpha
        yield Parameter(ALPHA[0], (alpha * scale,), (of_alpha,))
    elif layer.type == "Eltwise" and number(layer, 0) == SUM:
        yield _array(COEFFICIENTS, decimals(layer, COEFFICIENTS))
    elif layer.type in ACTIVATED and not number(layer, INT8):
        taken = TAKEN.get(number(layer, ACTIVATION), 0)
        yield _array(ACTIVATION_PARAMETERS, decimals(layer, ACTIVATION_PARAMETERS)[:taken])
    elif layer.type != "BinaryOp" or number(layer, WITH_SCALAR):
        for key, default in CAST.get(layer.type, {}).items():
            value = decimal(layer, key, default)
            yield Parameter(key, (value,), (_in_fp16(value),))


def _array(key: int, values: tuple[float, ...]) -> Parameter:
    return Parameter(key, values, tuple(map(_in_fp16, values)), array=True)


def _in_fp16(value: float) -> float:
    try:
        (kept,) = struct.unpack("<e", struct.pack("<e", value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return float(kept)


def keeps_weights(layer: Layer) -> bool:
    """Whether the weights of `layer` are kept in fp16 as the file has them."""
    return layer.type in WEIGHTED and not is_quantized(layer)
