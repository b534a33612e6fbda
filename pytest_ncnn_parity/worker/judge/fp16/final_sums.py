"""Sums that Vulkan kernels certainly compute in full, because they divide or take a root afterwards.

Listed are only those that were seen to overflow on a device at 65504, for every size and order of
terms: means, norms and sums with a factor below 1 of a Reduction, an average Pooling over windows, and
the sum of squares of a Normalize, which is added up in fp32 and then converted (normalize_coeffs.comp).
Other norm layers use fp32; a global or adaptive Pooling and matrix products may do so as well.
"""

from __future__ import annotations

import ncnn
import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare import accumulators
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Reduction, op_type
from pytest_ncnn_parity.network.parameters import decimal
from pytest_ncnn_parity.worker.judge.fp16.accumulators import (
    SUMMED,
    normalized_axes,
    pooled,
    reduced_axes,
)

# these go on from the sum
_GOES_ON = frozenset((Reduction.MEAN, Reduction.L2, Reduction.LOG_SUM, Reduction.LOG_SUM_EXP))
# before these versions, which have a kernel for Vulkan, the operator runs on the CPU, in fp32
_ON_VULKAN_SINCE = {"Reduction": "1.0.20260526", "Softplus": "1.0.20260526"}


def runs_on_vulkan(layer: Layer) -> bool:
    """Whether this ncnn has a kernel of the operator for Vulkan, which not all versions have."""
    return str(ncnn.__version__) >= _ON_VULKAN_SINCE.get(layer.type, "")


def largest_final_sum(layer: Layer, value: Array) -> float:
    """The largest magnitude of a sum inside `layer` once all terms of `value` are added.

    It is 0 for other operators, and where the sum is far below 65504. Raises NotANumber.
    """
    if layer.type == "Normalize" and value.ndim == 3:
        sums = np.square(value.astype(np.float64)).sum(normalized_axes(layer, value))
    else:
        sums = _sums(layer, value)
    sizes = np.abs(sums)
    return float(sizes.max(initial=0.0, where=np.isfinite(sizes)))


def with_sums_of_inf(layer: Layer, value: Array, output: Array) -> Array | None:
    """The `output` of `layer` in fp16 arithmetic: inf wherever the sum of an element overflows.

    None for an operator whose sums are not those of single elements. Raises NotANumber.
    """
    sums = _sums(layer, value)
    if sums.size != output.size:
        return None
    over = np.abs(sums) >= FP16_OVERFLOW
    return np.where(over.reshape(output.shape), np.copysign(np.float32(np.inf), output), output)


def _sums(layer: Layer, value: Array) -> Array:
    """The sum behind each element that `layer` gives; empty for other operators and for small sums."""
    if layer.type == "Pooling":
        windows = pooled(layer, value)
        size = max(float(value.max(initial=0.0)), -float(value.min(initial=0.0)))
        if windows is None or size * np.prod(windows.kernel) < FP16_OVERFLOW:
            return np.empty(0)
        return accumulators.sums_of_windows(windows.values, None, *windows.sliding)
    operation = op_type(layer)
    if layer.type != "Reduction" or operation not in SUMMED or not runs_on_vulkan(layer):
        return np.empty(0)
    if operation not in _GOES_ON and abs(decimal(layer, 2, 1.0)) >= 1.0:
        return np.empty(0)
    with np.errstate(over="ignore"):
        terms = SUMMED[operation](value.astype(np.float64))
    return np.asarray(terms.sum(reduced_axes(layer, value)))
