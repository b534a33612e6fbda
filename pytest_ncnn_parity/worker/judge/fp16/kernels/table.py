"""Which kernels are repeated, by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_ncnn_parity.network.constants import ACTIVATED, INT8
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import number
from pytest_ncnn_parity.worker.judge.fp16.final_sums import runs_on_vulkan
from pytest_ncnn_parity.worker.judge.fp16.kernels.activated import activated
from pytest_ncnn_parity.worker.judge.fp16.kernels.affine import batch_norm, norm, weighted_sum
from pytest_ncnn_parity.worker.judge.fp16.kernels.functions import (
    exponential,
    remainder,
    softplus,
    unary,
)
from pytest_ncnn_parity.worker.judge.fp16.kernels.int8 import descaled, quantize, requantized
from pytest_ncnn_parity.worker.judge.fp16.kernels.priors import prior_box
from pytest_ncnn_parity.worker.judge.fp16.kernels.products import gemm, multi_head_attention, sdpa
from pytest_ncnn_parity.worker.judge.fp16.kernels.ran import Computed, LayerRun
from pytest_ncnn_parity.worker.judge.fp16.kernels.resized import interp
from pytest_ncnn_parity.worker.judge.fp16.kernels.summed import lrn, normalize, reduction, softmax

Kernel = Callable[[Layer, LayerRun], Computed | None]


def _inner_product(layer: Layer, run: LayerRun) -> Computed | None:
    return descaled(layer, run) if number(layer, INT8) else _activated(layer, run)


def _convolution(layer: Layer, run: LayerRun) -> Computed | None:
    return requantized(layer, run) if number(layer, INT8) else _activated(layer, run)


def _activated(layer: Layer, run: LayerRun) -> Computed | None:
    return activated(layer, run) if run.arithmetic else None


# in fp16 arithmetic alone
_COMPUTING: Mapping[str, Kernel] = {
    **dict.fromkeys(ACTIVATED, activated),
    "BinaryOp": remainder,
    "CELU": exponential,
    "ELU": exponential,
    "Gemm": gemm,
    "Interp": interp,
    "LRN": lrn,
    "Normalize": normalize,
    "PriorBox": prior_box,
    "Reduction": reduction,
    "SELU": exponential,
    "Softmax": softmax,
    "Softplus": softplus,
    "UnaryOp": unary,
}
# in fp16 storage too
_STORING: Mapping[str, Kernel] = {
    "BatchNorm": batch_norm,
    "Convolution": _convolution,
    "ConvolutionDepthWise": _convolution,
    "Eltwise": weighted_sum,
    "GroupNorm": norm,
    "InnerProduct": _inner_product,
    "InstanceNorm": norm,
    "MultiHeadAttention": multi_head_attention,
    "Quantize": quantize,
    "SDPA": sdpa,
}


def is_repeated(layer: Layer, arithmetic: bool) -> bool:
    """Whether `computed` knows this operator; `arithmetic`: whether it computes in fp16."""
    known = layer.type in _STORING or (arithmetic and layer.type in _COMPUTING)
    return known and runs_on_vulkan(layer)


def computed(layer: Layer, run: LayerRun) -> Computed | None:
    """What the kernel of `layer` computes or stores in fp16 and cannot hold. Raises NotANumber."""
    kernel = _STORING.get(layer.type) or (_COMPUTING[layer.type] if run.arithmetic else None)
    return None if kernel is None or not run.value.size else kernel(layer, run)
