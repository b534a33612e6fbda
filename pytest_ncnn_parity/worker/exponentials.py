"""Operators whose kernels for the CPU give nan or inf because a power of e inside them overflows.

1 / (1 + exp(-x)) is 0 in IEEE 754 for an x below -88, and nan in a GLU that is built with -ffast-math;
the logarithm in a Softplus is taken of exp(x) itself, and in a Reduction of a sum of such, and both are
inf above 88 (src/layer/glu.cpp, softplus.cpp and reduction.cpp). The activations of other layers and the
gates of an LSTM or GRU do not overflow.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Reduction, op_type
from pytest_ncnn_parity.worker.values.blob import Made

_OVERFLOWING = frozenset({"GLU", "Softplus"})


def overflow(layer: Layer, values: Made, outputs: Made) -> bool:
    """Return whether `layer`, which computes `outputs` from finite values, gives nan or inf.

    False for operators of which that is no fault of the kernel.
    """
    log_sum = layer.type == "Reduction" and op_type(layer) == Reduction.LOG_SUM_EXP
    if layer.type not in _OVERFLOWING and not log_sum:
        return False
    if any(values[blob].nan or values[blob].infinite for blob in layer.inputs):
        return False
    return any(value.nan or value.inf for value in outputs.values())
