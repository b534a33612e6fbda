"""The largest values inside a convolution by winograd, as ncnn's Vulkan kernels compute it. Pure.

A tile d of the input becomes V = B^T d B, and a kernel g becomes U = G g G^T. Their products are summed
over the channels to M, and the outputs are A^T M A. U, V and M are stored in fp16. The matrices are
those of src/layer/vulkan/convolution_vulkan.cpp and of its shaders,
convolution_*winograd*_transform_*.comp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen

WEIGHTS = "the transform of its weights"
INPUTS = "the transform of its inputs"
SUMS = "a sum over its channels"
OUTPUTS = "the transform of its outputs"

MOST = 1 << 22  # how many elements of V, or of M, are in memory at a time
_S = math.sqrt(2.0)


class Tiles(Frozen):
    """F(m,3): m by m outputs from (m+2) by (m+2) inputs, with the matrices B^T, G and A^T."""

    inputs: Array
    weights: Array
    outputs: Array

    @property
    def size(self) -> int:
        """The side of a tile, in outputs."""
        return len(self.outputs)

    @cached_property
    def of_inputs(self) -> Array:
        """The matrix that turns d into V, both flat."""
        return np.kron(self.inputs, self.inputs).astype(np.float32)

    @cached_property
    def of_outputs(self) -> Array:
        """The matrix that turns M into outputs, both flat."""
        return np.kron(self.outputs, self.outputs).astype(np.float32)


TILES = {
    4: Tiles(
        np.array(
            [
                [1, 0, -2.5, 0, 1, 0],
                [0, -_S, -2, _S / 2, 1, 0],
                [0, _S, -2, -_S / 2, 1, 0],
                [0, -_S / 2, -0.5, _S, 1, 0],
                [0, _S / 2, -0.5, -_S, 1, 0],
                [0, 1, 0, -2.5, 0, 1],
            ]
        ),
        np.array(
            [
                [1, 0, 0],
                [-2 / 3, -_S / 3, -1 / 3],
                [-2 / 3, _S / 3, -1 / 3],
                [1 / 6, _S / 6, 1 / 3],
                [1 / 6, -_S / 6, 1 / 3],
                [0, 0, 1],
            ]
        ),
        np.array(
            [
                [1, 1, 1, 1, 1, 0],
                [0, _S / 2, -_S / 2, _S, -_S, 0],
                [0, 0.5, 0.5, 2, 2, 0],
                [0, _S / 4, -_S / 4, 2 * _S, -2 * _S, 1],
            ]
        ),
    ),
    2: Tiles(
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
        np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
        np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
    ),
}


class Peak(Frozen):
    """A magnitude inside a layer, and the name of what has it."""

    size: float = 0.0
    what: str = ""

    def or_larger(self, what: str, sizes: Array) -> Peak:
        size = float(sizes.max(initial=0.0))
        return Peak(size, what) if size > self.size else self


class Peaks(Frozen):
    """The largest magnitudes inside a convolution by winograd.

    `stored`: the largest value that is stored on the way, for any order of additions. `bound`: no
    partial sum exceeds it, in whatever order the terms are added; the compiler chooses that order. It
    is computed, like sums over channels, only where it may reach the `limit` in question.
    """

    stored: Peak
    bound: Peak


def _kernels(weights: Array, tiles: Tiles) -> Array:
    """U, of shape (positions, outputs, channels)."""
    transformed: Array = np.einsum(
        "ia,ocab,jb->ijoc", tiles.weights, weights, tiles.weights, optimize=True
    )
    flat: Array = transformed.reshape(-1, *weights.shape[:2])
    return flat.astype(np.float32)


def gain(weights: Array, side: int) -> float:
    """How many times the largest input a value inside the convolution by `weights` may be."""
    tiles = TILES[side]
    inputs = np.abs(tiles.of_inputs).sum(1)
    sums = np.abs(_kernels(weights, tiles)).sum(2) * inputs[:, None]
    return float(max(inputs.max(), (np.abs(tiles.of_outputs) @ sums).max()))


def look_inside(
    values: Array, weights: Array, side: int, limit: float, arithmetic: bool = True
) -> Peaks:
    """The magnitudes inside the convolution of padded `values` (c, h, w) by `weights` (o, c, 3, 3).

    `side`: the side of a tile, in outputs. Whatever stays below `limit` need not be exact.
    `arithmetic`: sums are added up in fp16, not in fp32. Values in tiles cut at an edge on which no
    output depends do not count, nor do the outputs themselves.
    """
    tiles = TILES[side]
    kernels = _kernels(weights, tiles)
    stored = Peak().or_larger(WEIGHTS, np.abs(kernels))
    bound = stored
    largest = np.zeros((len(kernels), weights.shape[1]), np.float32)
    for block in _blocks(values, tiles, len(weights)):
        size = np.abs(block.transformed)
        np.maximum(largest, size.max(2), out=largest)
        stored = stored.or_larger(INPUTS, size)
        if arithmetic:
            bound = bound.or_larger(
                INPUTS, _in_any_order(tiles.of_inputs, block.tiles, size, block.used)
            )
    most = np.einsum("koc,kc->ko", np.abs(kernels), largest)
    if float((np.abs(tiles.of_outputs) @ most).max()) >= limit:
        for block in _blocks(values, tiles, len(weights)):
            sums = kernels @ block.transformed
            size = np.abs(sums)
            stored = stored.or_larger(SUMS, size)
            if arithmetic:
                terms = np.abs(kernels) @ np.abs(block.transformed)
                bound = bound.or_larger(SUMS, (terms + size) / 2)
                flat = sums.reshape(len(sums), -1)
                outputs = np.abs(tiles.of_outputs @ flat)
                ends = np.repeat(block.kept[:, None], sums.shape[1], 1).reshape(len(outputs), -1)
                bound = bound.or_larger(OUTPUTS, _in_any_order(tiles.of_outputs, flat, outputs, ends))
    return Peaks(stored, bound if bound.size > stored.size else stored)


def _in_any_order(matrix: Array, terms: Array, sums: Array, used: Array) -> Array:
    """What no partial sum exceeds: the sum of all positive or of all negative terms."""
    sizes = np.tensordot(np.abs(matrix), np.abs(terms), 1)
    return (sizes + sums) / 2 * used.reshape(*used.shape[:1], *(1,) * (sums.ndim - used.ndim), -1)


class _Block(Frozen):
    """Some tiles: `tiles` and `transformed` are d and V, each (positions, channels, tiles).

    `used` is 1 where an output depends on V at a position of a tile, and `kept` is 1 where a tile has
    an output at a position: both (positions, tiles), and otherwise 0.
    """

    tiles: Array
    transformed: Array
    used: Array
    kept: Array


def _blocks(values: Array, tiles: Tiles, outputs: int) -> Iterator[_Block]:
    """The tiles of `values`, row by row; at the edges they are filled up with 0."""
    size, (count, height, width) = tiles.size, values.shape
    whole = size + 2
    down, across = -(-(height - 2) // size), -(-(width - 2) // size)
    rows = max(1, MOST // (whole**2 * max(count, outputs) * across))
    for start in range(0, down, rows):
        some = min(rows, down - start)
        area = np.zeros((count, size * some + 2, size * across + 2), np.float32)
        part = values[:, size * start : size * start + area.shape[1]]
        area[:, : part.shape[1], : part.shape[2]] = part
        windows = np.lib.stride_tricks.sliding_window_view(area, (whole, whole), (1, 2))
        flat = windows[:, ::size, ::size].transpose(3, 4, 0, 1, 2).reshape(whole**2, count, -1)
        ends = _kept(size, height - 2 - size * start, some), _kept(size, width - 2, across)
        both = np.einsum("iy,jx->ijyx", *map(_of_places, ends)).reshape(whole**2, -1)
        kept = np.einsum("iy,jx->ijyx", *ends).reshape(size**2, -1)
        transformed = np.tensordot(tiles.of_inputs, flat, 1) * both[:, None]
        yield _Block(flat, transformed, both, kept)


def _kept(size: int, outputs: int, count: int) -> Array:
    """1 where a tile, one of `count` along a side, has an output: (positions, tiles)."""
    return (np.arange(size)[:, None] + size * np.arange(count) < outputs).astype(np.float32)


def _of_places(kept: Array) -> Array:
    """1 where an output depends on V: only the last output of a tile depends on the last position."""
    first = np.ones((len(kept) + 1, kept.shape[1]), np.float32)
    return np.concatenate([first, kept[-1:]])
