"""The quantized matrices of an operator that has several, each beside the one in floats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.int8_tensors import Blocks, Tensor, blocks, input_scales, tensors
from pytest_ncnn_parity.worker.weights.block_weights import BlockWeights
from pytest_ncnn_parity.worker.weights.int8_weights import Int8Weights
from pytest_ncnn_parity.worker.weights.stored import Format, StoredLayer

NONE = np.zeros(0)


class Matrix(Frozen):
    """The matrix `name`, its weights as they are quantized and in `floats`, (rows, columns).

    `bias` and `wanted` are what is added to its products, there and in floats; empty if nothing is.
    """

    name: str
    weights: Int8Weights | BlockWeights
    floats: Array
    bias: Array
    wanted: Array


class Quantized(Frozen):
    """What a quantized layer reads: `tensors` in the order of the file, and the last ones by matrix.

    `scales`: of the weights. `inputs`: those by which the inputs are multiplied, of weights in blocks.
    """

    tensors: Sequence[Array]
    scales: Mapping[str, Array]
    inputs: Mapping[str, Array]

    @property
    def not_finite(self) -> int:
        """The number of all that are inf or nan."""
        numbers = (*self.tensors, *self.scales.values(), *self.inputs.values())
        return sum(int(np.count_nonzero(~np.isfinite(one))) for one in numbers)


def read(quantized: StoredLayer) -> Quantized | None:
    """Return what a quantized layer reads; None if its layout is not known."""
    layout = tensors(quantized.layer)
    named = [one for one in layout if one.name]
    counts = [*(one.scales for one in named), *input_scales(quantized.layer)]
    last: list[tuple[int, Format]] = [(count, "floats") for count in counts]
    found = quantized.read([*map(_size, layout), *last])
    if not found and blocks(quantized.layer) is not None:  # in 20261020 they have no tag
        found = quantized.read([*(_size(one, packed=bool(one.name)) for one in layout), *last])
    if not found:
        return None
    names = [one.name for one in named]
    own, behind = found[: len(layout)], found[len(layout) :]
    scales, inputs = behind[: len(named)], behind[len(named) :]
    return Quantized(own, dict(zip(names, scales, strict=True)), dict(zip(names, inputs, strict=False)))


def matrices(own: StoredLayer, other: StoredLayer) -> Iterator[Matrix]:
    """Yield the matrices that are quantized in the layer `other`, beside the floats of `own`."""
    layout, in_floats = tensors(other.layer), own.read(map(_size, tensors(own.layer)))
    quantized = read(other)
    if not in_floats or quantized is None:
        return
    floats = _by_rows(tensors(own.layer), in_floats)
    wanted, biases = _biases(tensors(own.layer), in_floats), _biases(layout, quantized.tensors)
    packing = blocks(other.layer)
    for tensor, stored in zip(layout, quantized.tensors, strict=True):
        name = tensor.name
        shape = (tensor.rows, tensor.columns)
        if not name or stored.dtype != np.int8 or name not in floats or floats[name].shape != shape:
            continue
        scales = quantized.scales[name]
        weights = (
            Int8Weights(_in_rows(tensor, stored), np.resize(scales, tensor.rows))
            if packing is None
            else _of_blocks(tensor, stored, scales, quantized.inputs.get(name, NONE), packing)
        )
        yield Matrix(name, weights, floats[name], biases.get(name, NONE), wanted.get(name, NONE))


def _of_blocks(
    tensor: Tensor, stored: Array, scales: Array, inputs: Array, packing: Blocks
) -> BlockWeights:
    given = inputs if inputs.size else np.ones(tensor.columns)
    packed, of_rows = (one.reshape(tensor.rows, -1) for one in (stored, scales))
    return BlockWeights(packed, tensor.columns, of_rows, given, packing)


def _biases(layout: Sequence[Tensor], values: Sequence[Array]) -> dict[str, Array]:
    return {one.bias_of: read for one, read in zip(layout, values, strict=True) if one.bias_of}


def _by_rows(layout: Sequence[Tensor], values: Sequence[Array]) -> dict[str, Array]:
    """The matrices among `values` by name, (rows, columns)."""
    pairs = zip(layout, values, strict=True)
    return {one.name: _in_rows(one, read) for one, read in pairs if one.name}


def _in_rows(tensor: Tensor, read: Array) -> Array:
    return read.reshape(-1, tensor.rows).T if tensor.transposed else read.reshape(tensor.rows, -1)


def _size(tensor: Tensor, packed: bool = False) -> tuple[int, Format]:
    return tensor.count, "bytes" if packed else "tagged" if tensor.tagged else "floats"
