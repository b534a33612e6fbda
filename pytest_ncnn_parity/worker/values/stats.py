"""The statistics of a value: its largest element, and how many are NaN, inf or lost in fp16."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.blocks import each, scratch
from pytest_ncnn_parity.compare.number_formats import FP16_TINIEST


class Stats(NamedTuple):
    """Of fp32: the largest finite absolute value, and the numbers of NaN, inf and -inf.

    `tiny`: how many nonzero elements fp16 rounds to 0.
    """

    absmax: float = 0.0
    nan: int = 0
    inf: int = 0
    minus_inf: int = 0
    tiny: int = 0


def stats_of(array: Array) -> Stats:
    """Measure fp32 of at least one element block by block: a copy would set the peak of memory use."""
    blocks = list(each(_of_block, array))
    if len(blocks) == 1:
        return blocks[0]
    absmax, *counts = zip(*blocks, strict=True)
    return Stats(max(absmax), *map(sum, counts))


def _of_block(_: int, block: Array) -> Stats:
    (size,) = scratch("float32", block.size, 1)
    np.abs(block, out=size)
    absmax, nan, inf, minus_inf = float(size.max()), 0, 0, 0
    if not math.isfinite(absmax):
        nan = int(np.count_nonzero(np.isnan(size)))
        inf = int(np.count_nonzero(np.isposinf(block)))
        minus_inf = int(np.count_nonzero(np.isneginf(block)))
        absmax = float(size[np.isfinite(size)].max(initial=0.0))
    tiny = 0
    if not float(size.min()) > FP16_TINIEST / 2:
        (met,) = scratch("bool", block.size, 1)
        tiny = int(np.count_nonzero(np.less_equal(size, FP16_TINIEST / 2, out=met)))
        tiny -= int(np.count_nonzero(np.equal(size, 0.0, out=met)))
    return Stats(absmax, nan, inf, minus_inf, tiny)
