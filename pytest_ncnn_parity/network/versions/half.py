"""Weights in fp32 as the bits of fp16, as tools that write .bin files store them.

They differ about a number in the middle between two of fp16: ncnn's scalar code rounds it away from 0
(float32_to_float16 in src/mat.cpp), its vector code and numpy to an even last bit. What would be
subnormal in fp16 becomes 0, as in ncnn's scalar code, and what is beyond its range inf.
"""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL

_EXPONENT, _SIGN, _SUBNORMAL = 0x7C00, 0x8000, 0x03FF  # of fp16; the largest subnormal number
_DROPPED, _TIE = 0x1FFF, 0x1000  # bits of fp32 that fp16 does not keep, and their value in a tie


def ties_to_even(floats: Array) -> Array:
    """Return `floats` (fp32) in fp16 as uint16, each the nearest, and of two as near the even one."""
    normal = np.where(np.abs(floats) < FP16_NORMAL, np.copysign(np.float32(0), floats), floats)
    with np.errstate(over="ignore", invalid="ignore"):  # inf, and the bits of nan
        return normal.astype("<f2").view("<u2")


def ties_away_from_zero(floats: Array) -> Array:
    """Like `ties_to_even`, but of two that are as near it returns the one that is further from 0."""
    bits = floats.view("<u4")
    return ties_to_even((bits | ((bits & _DROPPED) == _TIE)).view("<f4"))


def flushed(half: Array) -> Array:
    """Return `half`, fp16 as uint16, with 0 in place of subnormal numbers, which some tools keep."""
    return np.where(half & _EXPONENT, half, half & _SIGN).astype("<u2")


def distances(one: Array, other: Array) -> Array:
    """By how many steps numbers differ, fp16 as uint16 each; a subnormal one counts as 0, and inf."""
    places = []
    for half in (one, other):
        size = np.maximum((half & ~np.uint16(_SIGN)).astype(np.int64) - _SUBNORMAL, 0)
        places.append(np.where(half & _SIGN, -size, size))
    steps = np.abs(places[0] - places[1])
    infinite = [(half & _EXPONENT) == _EXPONENT for half in (one, other)]
    return np.where((infinite[0] | infinite[1]) & (one != other), np.inf, steps)
