"""The factors and offsets of layers that may be folded into the weights of one in front of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Binary, copies, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.network.versions.folding import ACTIVATION_ID, is_activation
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.worker.weights.stored import Format, StoredLayer

_REVERSED = {Binary.RSUB: Binary.SUB, Binary.RDIV: Binary.DIV}


class Affine(Frozen):
    """What is made of each output of a layer: its value times `factors` plus `offsets`.

    `sizes`: of the numbers that add up to the offsets, of which rounding leaves a share. Each is float64
    of shape (outputs,) or (1,).
    """

    factors: Array
    offsets: Array
    sizes: Array

    def then(self, factors: Array | float, offsets: Array | float) -> Affine:
        return Affine(
            self.factors * factors,
            self.offsets * factors + offsets,
            self.sizes * np.abs(factors) + np.abs(offsets),
        )

    def beside(self, other: Affine) -> Affine | None:
        """Return what must be folded into weights of which `other` is made, so that both are equal."""
        if not other.factors.all():
            return None
        return Affine(
            self.factors / other.factors,
            (self.offsets - other.offsets) / other.factors,
            (self.sizes + other.sizes) / np.abs(other.factors),
        )


UNFOLDED = Affine(np.ones(1), np.zeros(1), np.zeros(1))


def made_of(
    core: Layer, layers: Sequence[Layer], outputs: int, source: Callable[[Layer], StoredLayer]
) -> Affine | None:
    """Return what `layers`, in running order, make of the `outputs` of `core`, which is one of them.

    None if they compute anything else but copies and, at the end, an activation; or if it is not known.
    In front of the core are copies and activations at most.
    """
    found = UNFOLDED
    value = set(core.outputs)  # the blobs that hold what was found
    constants: dict[str, Array] = {}
    ended = core.params.get(ACTIVATION_ID, "0") != "0"
    for layer in layers:
        if layer is core:
            continue
        if layer.type == "MemoryData":
            stored = stored_constant(source(layer), core, outputs)
            constants.update({} if stored is None else dict.fromkeys(layer.outputs, stored))
        elif is_copy(layer) and layer.inputs[0] in constants:
            constants.update(dict.fromkeys(layer.outputs, constants[layer.inputs[0]]))
        elif layer.number < core.number and (copies(layer) or is_activation(layer)):
            continue
        elif is_copy(layer) and layer.inputs[0] in value:
            value.update(layer.outputs)
        elif ended or not value.intersection(layer.inputs):
            return None
        else:
            ended = is_activation(layer)
            made = found if ended else then(found, source(layer), value, constants, outputs)
            if made is None:
                return None
            found = made
            value = set(layer.outputs)
    return found


def then(
    before: Affine, source: StoredLayer, value: set[str], constants: Mapping[str, Array], outputs: int
) -> Affine | None:
    """Return what a BatchNorm, Scale, Dropout or BinaryOp makes of `before` (src/layer)."""
    layer = source.layer
    try:
        if layer.type == "BinaryOp":
            return _by_constant(before, layer, value, constants)
        if layer.type == "Dropout":
            return before.then(decimal(layer, 0, 1.0), 0.0)
        if layer.type == "BatchNorm":
            read = _floats(source, 4, outputs)
            if read is None:
                return None
            slope, mean, variance, bias = read
            return before.then(1.0, -mean).then(slope / np.sqrt(variance + decimal(layer, 1, 0.0)), bias)
        if layer.type == "Scale" and len(layer.inputs) == 1:
            read = _floats(source, 2 if number(layer, 1) else 1, outputs)
            return None if read is None else before.then(read[0], sum(read[1:], 0.0))
    except NotANumber:
        return None
    return None


def _by_constant(
    before: Affine, layer: Layer, value: set[str], constants: Mapping[str, Array]
) -> Affine | None:
    """Return what a BinaryOp with a number of its line, or with a MemoryData, makes of `before`."""
    first, last = layer.inputs[0], layer.inputs[-1]
    if len(layer.inputs) == 1:
        turned, constant = False, np.full(1, decimal(layer, 2, 0.0))
    elif last in constants and first in value:
        turned, constant = False, constants[last]
    elif first in constants and last in value:
        turned, constant = True, constants[first]
    else:
        return None
    operation = op_type(layer)
    if operation in _REVERSED:
        turned, operation = not turned, _REVERSED[operation]
    if operation == Binary.ADD:
        return before.then(1.0, constant)
    if operation == Binary.MUL:
        return before.then(constant, 0.0)
    if operation == Binary.SUB:
        return before.then(-1.0, constant) if turned else before.then(1.0, -constant)
    if operation == Binary.DIV and not turned and constant.all():
        return before.then(1.0 / constant, 0.0)
    return None


def _floats(source: StoredLayer, count: int, outputs: int) -> list[Array] | None:
    """Return `count` arrays of a layer with as many numbers each as its parameter 0 says."""
    each = number(source.layer, 0)
    read = source.read([(each, "floats")] * count) if each in (1, outputs) else ()
    return [one.astype(np.float64) for one in read] if read else None


def stored_constant(source: StoredLayer, core: Layer, outputs: int) -> Array | None:
    """Return the numbers of a MemoryData, one for all outputs or one for each; None if neither."""
    layer = source.layer
    try:
        width, height, depth, channels = (number(layer, key) for key in (0, 1, 11, 2))
        stored: Format = "floats" if number(layer, 21, 1) == 1 else "tagged"
    except NotANumber:
        return None
    of_each = outputs, 0, 0, 0
    shapes = [of_each] if core.type == "InnerProduct" else [of_each, (1, 1, 0, outputs)]
    shape = width, height, depth, channels
    count = outputs if shape in shapes else 1
    if count == 1 and max(shape) > 1:
        return None
    read = source.read([(count, stored)])
    return read[0].astype(np.float64) if read else None
