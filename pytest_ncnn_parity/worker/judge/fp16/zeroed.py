"""Values for which a layer gives 0 on Vulkan in fp16 although fp16 could hold them.

Below -11.09 the power of e in a Sigmoid or Swish is inf in fp16 arithmetic, and below -7.6 a Softplus
adds nothing to 1. And 1 - p is 0 where storage has rounded p to 1. Mostly that is harmless, as 1e-5 is
beside 1; to a logarithm or a division it is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW, FP16_TINIEST
from pytest_ncnn_parity.network.constants import ACTIVATED, ACTIVATION, WITH_SCALAR
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.worker.judge.fp16.final_sums import runs_on_vulkan
from pytest_ncnn_parity.worker.judge.fp16.hidden_nan import SIGMOID
from pytest_ncnn_parity.worker.judge.fp16.in_fp16 import computes_in_fp16, was_in_fp16
from pytest_ncnn_parity.worker.judge.fp16.lost_values import LostValue
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob

ENDS = -math.log(FP16_OVERFLOW)  # the exponential of minus this is inf
NOTHING_BESIDE_1 = math.log(2.0**-11)  # what fp16 adds to 1 without effect, as a power of e
FP16_STEP = 2.0**-10  # from one value to the next, as a share of it, at most
DIFFERENCES = frozenset((Binary.ADD, Binary.SUB, Binary.RSUB))


class _Zeros(NamedTuple):
    """An output with these zeros, and the inputs whose rounding makes them; none if its kernel does."""

    value: LostValue
    rounded: tuple[str, ...]


class Zeroed:
    """The outputs of the current layer with such values."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._found: dict[str, _Zeros] = {}

    def observe(self, name: str, value: Blob) -> int:
        """Take note of a reference output; return how many of its values are made 0."""
        layer = self._reference.graph.producer[name]
        read = [self._reference.blobs[blob] for blob in layer.inputs if blob in self._reference.blobs]
        if not read or len(read) < len(layer.inputs) or not all(one.floating for one in (value, *read)):
            return 0
        cancels = layer.type == "BinaryOp" and op_type(layer) in DIFFERENCES
        zeros = _cancelled(layer, read, value) if cancels else _of_kernel(layer, read[0], value)
        if zeros is None:
            return 0
        zeros &= np.abs(value.array) > FP16_TINIEST / 2
        count = int(np.count_nonzero(zeros))
        if count:
            blob = Blob.of(np.where(zeros, np.float32(0.0), value.array))
            stored = blob.with_tiny_stored()
            lost = LostValue(blob, stored, frozenset([name]), False, only_ends=cancels)
            self._found[name] = _Zeros(lost, layer.inputs if cancels else ())
        return count

    def made_by(self, layer: Layer, candidate: Net | None) -> dict[str, LostValue]:
        """The outputs of `layer`, the current one, that `candidate` makes with such zeros."""
        graph, made = self._reference.graph, {}
        for blob, zeros in self._found.items():
            if zeros.rounded:
                is_made = all(was_in_fp16(graph, b, layer, candidate) for b in zeros.rounded)
            else:
                is_made = computes_in_fp16(layer, candidate)
            if is_made:
                made[blob] = zeros.value
        return made

    def let_go(self) -> None:
        """Drop what was noted: the next layer follows."""
        self._found.clear()


def _of_kernel(layer: Layer, read: Blob, value: Blob) -> Array | None:
    """Where the kernel of `layer` gives 0 in fp16 arithmetic; None if it never does."""
    fused = layer.type in ACTIVATED and layer.params.get(str(ACTIVATION)) == SIGMOID
    if layer.type == "Sigmoid" or fused:  # 1 / (1 + exp(-x)), of which `value` tells the sum
        return np.asarray(value.array <= 1.0 / (1.0 + FP16_OVERFLOW))
    if layer.type == "Swish":
        return np.asarray(read.array <= ENDS)
    if layer.type == "Softplus" and runs_on_vulkan(layer):
        return np.asarray(read.array <= NOTHING_BESIDE_1)
    return None


def _cancelled(layer: Layer, read: Sequence[Blob], value: Blob) -> Array | None:
    """Where the difference of two terms is 0 as fp16 holds them; None if they are not of one shape."""
    first, second = read[0].array, read[-1].array
    if layer.params.get(str(WITH_SCALAR)) == "1":
        try:
            number = decimal(layer, 2, 0.0)
        except NotANumber:
            return None
        second = np.asarray(number if op_type(layer) != Binary.ADD else -number, np.float32)
    elif len(read) != 2 or first.shape != second.shape or op_type(layer) == Binary.ADD:
        return None
    near = np.abs(value.array) <= np.abs(first) * FP16_STEP
    if not near.any():
        return None
    with np.errstate(over="ignore"):
        return np.asarray(near & (first.astype(np.float16) == second.astype(np.float16)))
