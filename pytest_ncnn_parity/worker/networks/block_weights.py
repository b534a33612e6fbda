"""Weights in blocks of a few bits, and whether they are those in floats.

A block is rounded to nearest by a scale of its own, or as AWQ and GPTQ do it: by scales of the inputs as
well, or with the error of each weight made up for by the next ones. So single weights may be off by
several steps. What remains is that a row, a block or a column follows the one in floats: the factor of
the least squares between both is 1, but for what rounding leaves.
"""

from __future__ import annotations

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
FEWEST = 16  # a block with fewer weights, as at the end of a row, is not judged by itself


class BlockWeights(Frozen):
    """A matrix in `blocks`. `integers`: of shape (rows, columns). `scales`: (rows, blocks of a row).

    `inputs`: (columns,), what each input is multiplied by.
    """

    integers: Array
    scales: Array
    inputs: Array
    blocks: Blocks

    @property
    def values(self) -> Array:
        """Return what the integers represent, float64 of shape (rows, columns)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self.integers / self._of_weights(self.scales) * self.inputs.astype(np.float64)

    @property
    def rounding(self) -> Array:
        """Return the root of the sum of squared steps of each row, (rows,)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            steps = self.inputs / self._of_weights(self.scales)
            return np.asarray(np.sqrt((steps**2).sum(1)))

    def against(self, floats: Array) -> WeightSteps:
        """Return which rows, or else which columns, do not follow `floats`, (rows, columns)."""
        wanted = floats.astype(np.float64)
        steps = self._steps(wanted)
        values = self.values
        in_blocks = _Factors.of(*map(self._in_blocks, (values, wanted, steps)))
        enough = self._in_blocks(np.ones_like(wanted)).sum(2) >= FEWEST
        rows = _Factors.of(values, wanted, steps)
        of_blocks = in_blocks.wrong & enough
        wrong = np.flatnonzero(rows.wrong | of_blocks.any(1))
        gains = np.concatenate([in_blocks.factors[of_blocks], rows.factors[rows.wrong]])
        lines: Literal["rows", "columns"] = "rows"
        if not wrong.size:
            columns = _Factors.of(values.T, wanted.T, steps.T)
            wrong, gains, lines = (
                np.flatnonzero(columns.wrong),
                columns.factors[columns.wrong],
                "columns",
            )
        return WeightSteps(
            layer="",
            largest=_largest(values - wanted, steps),
            outputs=tuple(map(int, wrong)),
            total=wanted.shape[0 if lines == "rows" else 1],
            factor=1.0,
            clipped=0.0,
            lines=lines,
            gain=float(np.median(gains)) if gains.size else 1.0,
        )

    def _of_weights(self, of_blocks: Array) -> Array:
        """Return (rows, blocks of a row) as (rows, columns)."""
        return np.repeat(of_blocks, self.blocks.size, 1)[:, : self.integers.shape[1]]

    def _in_blocks(self, of_weights: Array) -> Array:
        """Return (rows, columns) as (rows, blocks of a row, weights of a block), filled up with 0."""
        rows, columns = of_weights.shape
        padded = np.zeros((rows, self.scales.shape[1] * self.blocks.size))
        padded[:, :columns] = of_weights
        return padded.reshape(rows, -1, self.blocks.size)

    def _steps(self, wanted: Array) -> Array:
        """Return the step of each of the weights `wanted` if the largest of a block is not clipped.

        It does not depend on the scales in the file, which may be wrong.
        """
        inputs = np.where(self.inputs > 0.0, self.inputs, np.inf)
        largest = np.abs(self._in_blocks(wanted / inputs)).max(2)
        return self._of_weights(largest) / self.blocks.largest * np.where(self.inputs > 0.0, inputs, 0.0)


class _Factors(Frozen):
    """Of arrays by their last axis: by which `factors` they follow others, and which are `wrong`."""

    factors: Array
    wrong: Array

    @classmethod
    def of(cls, values: Array, wanted: Array, steps: Array) -> _Factors:
        power = (wanted**2).sum(-1)
        known = power > 0.0
        power = np.where(known, power, 1.0)
        factors = (values * wanted).sum(-1) / power
        uncertain = CERTAIN * 0.5 * np.sqrt(((wanted * steps) ** 2).sum(-1)) / power
        near = (factors > 1.0 / MOST_FACTOR) & (factors < MOST_FACTOR)
        return cls(factors, known & ~near & ~(np.abs(factors - 1.0) <= uncertain))


def _largest(off: Array, steps: Array) -> float:
    known = np.isfinite(off) & (steps > 0.0)
    return float((np.abs(off[known]) / steps[known]).max(initial=0.0))


def unpacked(packed: Array, rows: int, columns: int, blocks: Blocks) -> Array:
    """Return the integers in `packed`, int8 as the file has them, of shape (rows, columns).

    Each takes the next bits of its row, the least significant ones first, in two's complement
    (src/layer/gemm.cpp: gemm_weight_block_quantize_unpack).
    """
    bits = np.unpackbits(packed.view(np.uint8).reshape(rows, -1), axis=1, bitorder="little")
    each = bits[:, : columns * blocks.bits].reshape(rows, columns, blocks.bits)
    places = 2 ** np.arange(blocks.bits)
    places[-1] *= -1
    return np.asarray(each.astype(np.int64) @ places)
