"""Sums that ncnn's kernels on Vulkan surely reach, for they divide or take a root once all is added.

Only those are here that were seen to overflow on a device at 65504, whatever the size and order: means
and norms of a Reduction, and an average Pooling by windows. Norms add up in fp32; a global or adaptive
Pooling and products of matrices may do so.
"""

from __future__ import annotations

import ncnn
import numpy as np

from pytest_ncnn_parity.compare import accumulators
from pytest_ncnn_parity.compare.accumulators import Array
from pytest_ncnn_parity.compare.fp16 import FP16_OVERFLOW
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.shape_rules.reading import number
from pytest_ncnn_parity.worker.judge.accumulators import SUMMED, pooled, reduced_axes

# by op_type of a Reduction that goes on from the sum: mean, L2 norm, LogSum, LogSumExp
_GOES_ON = frozenset((3, 8, 9, 10))
_REDUCES_ON_VULKAN = "1.0.20260526"  # before, a Reduction runs on the CPU, in fp32


def final_sum(layer: Layer, value: Array) -> float:
    """The largest magnitude of a sum inside `layer` once all terms of `value` are added.

    0 for operators that are not known here, and where it is far from fp16's end. Raises Unreadable.
    """
    size = max(float(value.max(initial=0.0)), -float(value.min(initial=0.0)))
    if layer.type == "Pooling":
        windows = pooled(layer, value)
        if windows is None or size * np.prod(windows.kernel) < FP16_OVERFLOW:
            return 0.0
        sums = accumulators.sums_of_windows(windows.values, None, *windows.sliding)
        return float(np.abs(sums).max(initial=0.0))
    operation = number(layer, 0)
    if layer.type != "Reduction" or operation not in _GOES_ON or ncnn.__version__ < _REDUCES_ON_VULKAN:
        return 0.0
    with np.errstate(over="ignore"):
        terms = SUMMED[operation](value.astype(np.float64))
    sums = np.abs(terms.sum(reduced_axes(layer, value)))
    return float(sums.max(initial=0.0, where=np.isfinite(sums)))
