"""Values for which a layer gives 0 on Vulkan in fp16 although fp16 could hold them.

Below -11.09 the power of e in a Sigmoid or Swish is inf in fp16 arithmetic, and below -7.6 a Softplus
adds nothing to 1. And 1 - p is 0 where p is rounded to 1, by storage or by the Sigmoid that makes it.
Mostly that is harmless, as 1e-5 is beside 1; to a logarithm or a division it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW, FP16_TINIEST
from pytest_ncnn_parity.network.constants import ACTIVATED, ACTIVATION, WITH_SCALAR
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, copies, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.worker.judge.fp16.final_sums import runs_on_vulkan
from pytest_ncnn_parity.worker.judge.fp16.hidden_nan import SIGMOID
from pytest_ncnn_parity.worker.judge.fp16.in_fp16 import computes_in_fp16, was_in_fp16
from pytest_ncnn_parity.worker.judge.fp16.lost_values import LostValue
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob

END = -math.log(FP16_OVERFLOW)  # e to the power of minus this is inf
NOTHING = 2.0**-11  # what fp16 adds to 1 without effect
STEP = 2.0**-10  # from one value of fp16 to the next, as a share of it, at most
_FUNCTIONS = ("Swish", "Softplus")
DIFFERENCES = frozenset((Binary.ADD, Binary.SUB, Binary.RSUB))

IsMade = Callable[["Net | None"], bool]  # whether a candidate makes it


class _Zeros(NamedTuple):
    """An output with such zeros, and how many they are."""

    value: LostValue
    is_made: IsMade
    size: int


class Zeroed:
    """The outputs of the current layer with such values."""

    def __init__(self, reference: Reference, counts: dict[str, int]) -> None:
        """`counts`, which grows: by output, how many of its values are known to be made 0."""
        self._reference = reference
        self._counts = counts
        self._current: dict[str, Blob] = {}  # the outputs with such values
        self._zeros: dict[str, list[_Zeros]] = {}  # in them, once they have been looked at
        self.differences: set[str] = set()  # the outputs that are 0 because their terms are rounded

    def observe(self, name: str, value: Blob) -> int:
        """Take note of a reference output; return how many of its values are made 0."""
        layer = self._reference.graph.producer[name]
        if not (_subtracts(layer) or _is_sigmoid(layer) or layer.type in _FUNCTIONS):
            return 0
        if name not in self._counts:
            zeros = self._of(name, value)
            self._counts[name] = max((one.size for one in zeros), default=0)
        if self._counts[name]:
            self._current[name] = value
            if _subtracts(layer):
                self.differences.add(name)
        return self._counts[name]

    def made_by(self, candidate: Net | None) -> dict[str, LostValue]:
        """The outputs of the current layer that `candidate` makes with such zeros."""
        made = {}
        for name, blob in self._current.items():
            values = [one.value for one in self._of(name, blob) if one.is_made(candidate)]
            if values:
                made[name] = values[-1]
        return made

    def let_go(self) -> None:
        """Drop what was noted: the next layer follows."""
        self._current.clear()
        self._zeros.clear()

    def _of(self, name: str, value: Blob) -> list[_Zeros]:
        if name not in self._zeros:
            self._zeros[name] = list(self._found(name, value))
        return self._zeros[name]

    def _found(self, name: str, value: Blob) -> Iterator[_Zeros]:
        layer = self._reference.graph.producer[name]
        read = [self._reference.blobs[blob] for blob in layer.inputs if blob in self._reference.blobs]
        if not read or len(read) < len(layer.inputs):
            return
        if any(one.batch or not one.floating for one in (value, *read)):
            return
        cancels = _subtracts(layer)
        kinds = self._cancelled(layer, read, value) if cancels else _by_kernel(layer, read[0], value)
        for places, is_made in kinds:
            zeros = places & (np.abs(value.array) > FP16_TINIEST / 2)
            if zeros.any():
                blob = Blob.of(np.where(zeros, np.float32(0.0), value.array))
                stored = blob.with_tiny_stored()
                lost = LostValue(blob, stored, frozenset([name]), False, only_ends=cancels)
                yield _Zeros(lost, is_made, int(np.count_nonzero(zeros)))

    def _cancelled(
        self, layer: Layer, read: Sequence[Blob], value: Blob
    ) -> Iterator[tuple[Array, IsMade]]:
        """Where the difference of two terms of one shape is 0: as fp16 stores them, as kernels do."""
        graph, first, second = self._reference.graph, read[0].array, read[-1].array
        if layer.params.get(str(WITH_SCALAR)) == "1":
            number = _number(layer)
            second = np.asarray(-number if op_type(layer) == Binary.ADD else number, np.float32)
        elif len(read) != 2 or first.shape != second.shape or op_type(layer) == Binary.ADD:
            return
        near = np.abs(value.array) <= np.abs(first) * STEP
        if not near.any():
            return
        with np.errstate(over="ignore"):
            terms = [one.astype(np.float16) for one in (first, second)]
        yield (
            near & (terms[0] == terms[1]),
            lambda candidate: all(was_in_fp16(graph, blob, layer, candidate) for blob in layer.inputs),
        )
        maker = self._maker(layer.inputs[0])
        if _is_sigmoid(maker):
            ones = first >= 1.0 / (1.0 + NOTHING)
            by_kernel = np.where(ones, np.float16(1.0), terms[0])
            yield near & (by_kernel == terms[1]), partial(computes_in_fp16, maker)

    def _maker(self, blob: str) -> Layer:
        """The layer that computes `blob`, behind those that copy it."""
        layer = self._reference.graph.producer[blob]
        while copies(layer) and len(layer.inputs) == 1:
            layer = self._reference.graph.producer[layer.inputs[0]]
        return layer


def _by_kernel(layer: Layer, read: Blob, value: Blob) -> Iterator[tuple[Array, IsMade]]:
    """Where the kernel of `layer` gives 0 in fp16 arithmetic."""
    is_made = partial(computes_in_fp16, layer)
    if _is_sigmoid(layer):  # 1 / (1 + exp(-x)), of which `value` tells the sum
        yield value.array <= 1.0 / (1.0 + FP16_OVERFLOW), is_made
    elif layer.type == "Swish":
        yield read.array <= END, is_made
    elif layer.type == "Softplus" and runs_on_vulkan(layer):
        yield read.array <= math.log(NOTHING), is_made


def _subtracts(layer: Layer) -> bool:
    return layer.type == "BinaryOp" and op_type(layer) in DIFFERENCES


def _is_sigmoid(layer: Layer) -> bool:
    fused = layer.type in ACTIVATED and layer.params.get(str(ACTIVATION)) == SIGMOID
    return layer.type == "Sigmoid" or fused


def _number(layer: Layer) -> float:
    """The number that a BinaryOp takes; nan if it cannot be read, which is the same as nothing."""
    try:
        return decimal(layer, 2, 0.0)
    except NotANumber:
        return math.nan
