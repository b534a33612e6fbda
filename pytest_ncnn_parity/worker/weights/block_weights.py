"""Weights in blocks of a few bits, and whether they are those in floats.

A block is rounded to nearest by a scale of its own, or as AWQ and GPTQ do it: by scales of the inputs as
well, or with the error of each weight made up for by the next ones. So single weights may be off by
several steps. What remains is that a row, a block or a column follows the one in floats: the factor of
the least squares between both is 1, but for what rounding leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.int8_evidence import WeightSteps
from pytest_ncnn_parity.network.int8_tensors import Blocks

# Of 191 trained layers, rounded to 4 bits with 128 to a block, the rows have 0.91 to 1.07. GPTQ, which
# leaves its errors to the last columns, has 0.7 to 1.14 in blocks of 16 and more.
MOST_FACTOR = 1.75
# The factor is uncertain by the noise of rounding, which GPTQ makes up to several times as large: in
# units of half a step for each weight.
CERTAIN = 6.0
PIECE = 1 << 20  # weights that are compared at a time
FEWEST = 16  # a block with fewer weights, as at the end of a row, is not judged by itself


class BlockWeights(Frozen):
    """A matrix of `columns` in `blocks`. `packed`: int8 as in the file, of shape (rows, bytes of a row).

    `scales`: (rows, blocks of a row). `inputs`: (columns,), what each input is multiplied by.
    """

    packed: Array
    columns: int
    scales: Array
    inputs: Array
    blocks: Blocks

    @property
    def rounding(self) -> Array:
        """Return the root of the sum of squared steps of each row, (rows,)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            of_blocks = 1.0 / self.scales.astype(np.float64) ** 2
            inputs = np.zeros(self.scales.shape[1] * self.blocks.size)
            inputs[: self.columns] = self.inputs
            return np.asarray(np.sqrt(of_blocks @ (inputs**2).reshape(-1, self.blocks.size).sum(1)))

    def integers(self, rows: slice) -> Array:
        """Return what is packed in `rows`, int16 of shape (rows, columns).

        Each takes the next bits of its row, the least significant ones first, in two's complement
        (src/layer/gemm.cpp: gemm_weight_block_quantize_unpack).
        """
        bits = np.unpackbits(self.packed[rows].view(np.uint8), axis=1, bitorder="little")
        each = bits[:, : self.columns * self.blocks.bits].reshape(-1, self.columns, self.blocks.bits)
        places = 2 ** np.arange(self.blocks.bits, dtype=np.int16)
        places[-1] *= -1
        return np.asarray(each.astype(np.int16) @ places)

    def against(self, floats: Array) -> WeightSteps:
        """Return which rows, or else which columns, do not follow `floats`, (rows, columns)."""
        wrong: list[Array] = []
        gains: list[Array] = []
        of_columns = _Sums.of_none(self.columns)
        weights = np.minimum(
            self.columns - self.blocks.size * np.arange(self.scales.shape[1]), self.blocks.size
        )
        largest = 0.0
        for rows in self._pieces():
            wanted = floats[rows].astype(np.float64)
            steps, values = self._steps(wanted), self._values(rows)
            largest = max(largest, _largest(values - wanted, steps))
            sums = _Sums.of(values, wanted, steps)
            of_columns = of_columns.plus(sums.over(lambda one: one.sum(0)))
            of_blocks = sums.over(lambda one: self._in_blocks(one).sum(2))
            of_rows = of_blocks.over(lambda one: one.sum(1))
            bad_blocks = of_blocks.wrong & (weights >= FEWEST)
            wrong.append(rows.start + np.flatnonzero(of_rows.wrong | bad_blocks.any(1)))
            gains += [of_blocks.factors[bad_blocks], of_rows.factors[of_rows.wrong]]
        found = np.concatenate(wrong)
        lines: Literal["rows", "columns"] = "rows" if found.size else "columns"
        if not found.size:
            found = np.flatnonzero(of_columns.wrong)
            gains = [of_columns.factors[of_columns.wrong]]
        return WeightSteps(
            layer="",
            largest=largest,
            outputs=tuple(map(int, found)),
            total=len(floats) if lines == "rows" else self.columns,
            factor=1.0,
            clipped=0.0,
            lines=lines,
            gain=float(np.median(np.concatenate(gains))) if found.size else 1.0,
        )

    def _pieces(self) -> Iterator[slice]:
        """The rows in pieces, because a matrix may have a hundred million weights."""
        step = max(1, PIECE // self.columns)
        for start in range(0, len(self.scales), step):
            yield slice(start, start + step)

    def _values(self, rows: slice) -> Array:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scales = self._of_weights(self.scales[rows].astype(np.float64))
            return np.asarray(self.integers(rows) / scales * self.inputs)

    def _of_weights(self, of_blocks: Array) -> Array:
        """Return (rows, blocks of a row) as (rows, columns)."""
        return np.repeat(of_blocks, self.blocks.size, 1)[:, : self.columns]

    def _in_blocks(self, of_weights: Array) -> Array:
        """Return (rows, columns) as (rows, blocks of a row, weights of a block), filled up with 0."""
        padded = np.zeros((len(of_weights), self.scales.shape[1] * self.blocks.size))
        padded[:, : self.columns] = of_weights
        return padded.reshape(len(of_weights), -1, self.blocks.size)

    def _steps(self, wanted: Array) -> Array:
        """Return the step of each of the weights `wanted` if the largest of a block is not clipped.

        It does not depend on the scales in the file, which may be wrong.
        """
        inputs = np.where(self.inputs > 0.0, self.inputs, np.inf)
        largest = np.abs(self._in_blocks(wanted / inputs)).max(2)
        return self._of_weights(largest) / self.blocks.largest * np.where(self.inputs > 0.0, inputs, 0.0)


class _Sums(Frozen):
    """Of weights: their products with those wanted, the squares of these, and those of rounding."""

    products: Array
    squares: Array
    rounding: Array

    @classmethod
    def of(cls, values: Array, wanted: Array, steps: Array) -> _Sums:
        return cls(values * wanted, wanted**2, (wanted * steps) ** 2)

    @classmethod
    def of_none(cls, count: int) -> _Sums:
        return cls(*np.zeros((3, count)))

    def over(self, add: Callable[[Array], Array]) -> _Sums:
        return _Sums(add(self.products), add(self.squares), add(self.rounding))

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.products + other.products,
            self.squares + other.squares,
            self.rounding + other.rounding,
        )

    @property
    def factors(self) -> Array:
        """By which factors the weights follow those wanted (least squares); nan where all are 0."""
        known = np.where(self.squares > 0.0, self.squares, np.nan)
        return np.asarray(self.products / known)

    @property
    def wrong(self) -> Array:
        """Where the factor is not 1, for certain."""
        factors, known = self.factors, self.squares > 0.0
        uncertain = CERTAIN * 0.5 * np.sqrt(self.rounding) / np.where(known, self.squares, 1.0)
        near = (factors > 1.0 / MOST_FACTOR) & (factors < MOST_FACTOR)
        return np.asarray(known & ~near & ~(np.abs(factors - 1.0) <= uncertain))


def _largest(off: Array, steps: Array) -> float:
    known = np.isfinite(off) & (steps > 0.0)
    return float((np.abs(off[known]) / steps[known]).max(initial=0.0))
