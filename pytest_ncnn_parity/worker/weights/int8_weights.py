"""Reads a layer's int8 weights from its file, and compares them with the floats they represent."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL, INT8_MAX
from pytest_ncnn_parity.engine.int8_evidence import Direction, WeightSteps
from pytest_ncnn_parity.network import weight_tags
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import WEIGHTS, gives_int8, weight_count
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.winograd import is_plain_3x3

# ncnn2table limits the weights of a 3x3 kernel to 6 bits, so that int8 winograd can add them up
SIX_BITS = 31
# A scale derived from the largest weight uses all steps. ncnn2table's ACIQ estimates the scale, which
# then uses half of the steps if an output has 9 weights, and a third if it has 3.
MOST_SPARE = 3.0
FEWEST = 4  # the scale of an output with fewer weights is not judged
ALIVE = 0.01  # as a share of the layer's largest weight: an output below it counts as dead
UNSCALED = INT8_MAX / float(np.finfo(np.float32).max)  # ncnn2table's scale of less is inf
# In steps: rounding to nearest is off by at most half a step, a quantizer that may choose either
# neighbour by at most one.
MOST_STEPS = 1.01
# Of weights that are nearer to the integer on one side, and more than an edge, in steps, from either and
# from their middle, a quantizer that may choose does not take the other integer for nearly all.
EDGE, ENOUGH, NEARLY_ALL = 0.05, 100, 0.98
MOST_OF_BIAS = 1e-3  # the share by which a bias may differ, as it does if a file has it in fp16
MOST_OF_SUM = 1e-5  # the share of its summands by which a sum in fp32 may differ


class Int8Weights(Frozen):
    """A layer's quantized weights.

    `integers`: int8 of shape (outputs, weights per output). `scales`: those by which they were
    quantized, float32 of shape (outputs,). `infinite`: how many scales of the file are inf,
    where outputs may share one. `bias`: float32 of shape (outputs,), empty if there is none.
    """

    integers: Array
    scales: Array
    infinite: int = 0
    bias: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def against(
        self, floats: Array, folded: Array | None, lost_of_each: Array | None = None
    ) -> WeightSteps:
        """Return how far the weights are from `floats`, (outputs, weights per output), in int8 steps.

        Weights at the end of int8's range may have been clipped, which is not a fault by itself. In an
        output whose scale is inf, x86 makes -127 of weights that are 0: these are not clipped.
        `folded`, (outputs,), holds the factors of the layers folded into the weights. If it is None,
        they are unknown, and the factors by which both agree best (least squares) are used.
        `lost_of_each`: how far each of `floats` may be off, if they do not stand in a file.
        """
        steps = self.integers.astype(np.float64)
        has_scale = np.isfinite(self.scales)
        scales = np.where(has_scale, self.scales, 0.0)  # inf if all weights are 0
        unscaled = np.where(scales == 0.0, _alive(floats, folded), 0.0)
        wanted = floats.astype(np.float64) * scales[:, None]
        inside = np.abs(self.integers.astype(np.int16)) < INT8_MAX
        squares = (wanted**2 * inside).sum(1)
        factors = (wanted * steps * inside).sum(1) / np.where(squares > 0.0, squares, 1.0)
        folded_in = factors if folded is None else folded
        wanted = wanted * folded_in[:, None]
        if folded is not None:
            factors = factors / np.where(folded == 0.0, 1.0, folded)
        lost_of_each = lost_in_half(floats) if lost_of_each is None else lost_of_each
        lost = lost_of_each * np.abs(scales * folded_in)[:, None]
        off = (np.maximum(np.abs(steps - wanted) - lost, 0.0) * inside).max(1)
        off = np.where(unscaled > 0.0, 0.0, off)  # there are no steps
        rounded, against = _rounded(steps, wanted, inside, lost) if folded is not None else (None, 0)
        wrong = off > MOST_STEPS
        of_wrong = factors[wrong & (squares > 0.0)]
        factor = 1.0 / float(np.median(of_wrong)) if of_wrong.size and np.median(of_wrong) else 1.0
        clipped = np.count_nonzero(~inside[has_scale]) - np.count_nonzero(has_scale)
        return WeightSteps(
            layer="",
            largest=float(off.max()),
            outputs=tuple(int(n) for n in np.flatnonzero(wrong)),
            total=len(off),
            factor=factor,
            clipped=max(0.0, clipped / inside.size),
            unscaled=tuple(int(n) for n in np.flatnonzero(unscaled)),
            unscaled_largest=float(unscaled.max(initial=0.0)),
            rounded=rounded,
            against_nearest=against,
        )

    @property
    def rounding(self) -> Array:
        """Return the root of the sum of squared steps of each output, (outputs,)."""
        steps = np.divide(1.0, self.scales, out=np.zeros(len(self.scales)), where=self.scales > 0.0)
        return np.asarray(steps * math.sqrt(self.integers.shape[1]))

    @property
    def largest(self) -> int:
        """Return the largest magnitude. Of an output without a scale it may be 127 where all is 0."""
        integers = self.integers[np.isfinite(self.scales)]
        return int(np.abs(integers.astype(np.int16)).max(initial=0))

    def spare(self, full: int) -> Array:
        """Return the factor, (outputs,), by which each scale could grow until a weight is at `full`.

        Outputs that share one scale are judged together; dead ones get 1.
        """
        largest = np.abs(self.integers.astype(np.int16)).max(1).astype(np.float64)
        known = np.isfinite(self.scales) & (self.scales > 0.0) & (largest > 0.0)
        if self.integers.shape[1] < FEWEST or not known.any():
            return np.ones(len(largest))
        sizes = np.where(known, largest, 0.0) / np.where(known, self.scales, 1.0)
        known &= sizes >= ALIVE * sizes.max()
        groups, which = np.unique(self.scales, return_inverse=True)  # a layer may have one for each
        shared = np.zeros(len(largest))
        np.maximum.at(shared, which, largest)
        largest = shared[which]
        end = int(largest[known].max())
        if len(groups) > 1 and (largest[known] == end).all() and end & (end + 1) == 0:
            full = min(full, end)
        return np.where(known, full / np.where(known, largest, 1.0), 1.0)


def biases_off(
    own: Array, floats: Array, rounding: Array, largest: float, sizes: Array | float = 0.0
) -> Array:
    """Return how far each bias of `own` is from that in `floats`; 0 if that may be on purpose.

    A quantizer may take back what rounding has shifted an output by. Rounding is off by up to half a
    step of each weight; of n weights, the square root of n such steps times the `largest` input are a
    bound. `rounding`, (outputs,): that root times the step. Either of the biases is empty if all are 0.
    `sizes`: of the numbers that add up to a bias, if it is computed.
    """
    count = max(own.size, floats.size)
    has, wanted = (one if one.size else np.zeros(count) for one in (own, floats))
    if has.shape != wanted.shape:
        return np.zeros(count)
    off = np.abs(has.astype(np.float64) - wanted)
    steps = rounding if rounding.size == count else rounding.max(initial=0.0)
    allowed = 0.5 * steps * largest
    rounded = np.maximum(MOST_OF_BIAS * np.abs(wanted), MOST_OF_SUM * sizes)
    return np.where(off > np.maximum(allowed, rounded), off, 0.0)


def with_biases(steps: WeightSteps, off: Array) -> WeightSteps:
    """Return `steps` with what `biases_off` has found."""
    biased = tuple(map(int, np.flatnonzero(off)))
    return replace(steps, biased=biased, biases=len(off), bias_off=float(off.max(initial=0.0)))


def lost_in_half(floats: Array) -> Array:
    """Return how far `floats` may be from those that were quantized, if a file has them in fp16.

    ncnn's tools round to nearest, and what is subnormal in fp16 becomes 0 (float32_to_float16, mat.cpp).
    """
    with np.errstate(over="ignore"):
        rounded = bool((floats.astype(np.float16) == floats).all())
    return np.maximum(np.abs(floats) * 2.0**-11, FP16_NORMAL) if rounded else np.zeros(1)


def _alive(floats: Array, folded: Array | None) -> Array:
    """Return the largest weight of each output, 0 of those that may be dead.

    ncnn2table has no scale for an output that is 0, and none for what its 127 / largest makes inf of. A
    file in fp16 has 0 for less than the smallest normal number.
    """
    if folded is None:
        return np.zeros(len(floats))  # the factor of an output without a scale is not known
    sizes = np.abs(floats).max(1) * np.abs(folded)
    dead = max(UNSCALED, min(FP16_NORMAL, ALIVE * float(sizes.max())))
    return np.where(sizes > dead, sizes, 0.0)


def _rounded(steps: Array, wanted: Array, inside: Array, lost: Array) -> tuple[Direction | None, int]:
    """Return into which direction `steps` were rounded from `wanted`, and how many show it.

    None if it is to the nearest, or not certain. `lost`: what is not known of `wanted`.
    """
    above = wanted - np.floor(wanted)  # how far the integer below is
    apart = np.minimum(np.minimum(above, 1.0 - above), np.abs(above - 0.5)) > EDGE + lost
    apart = apart & inside & (np.abs(steps - wanted) <= MOST_STEPS)
    nearer_up, up, positive = above > 0.5, steps > wanted, wanted > 0.0
    sides: dict[Direction, tuple[Array, Array]] = {
        "down": (nearer_up, ~up),
        "up": (~nearer_up, up),
        "towards 0": (nearer_up == positive, up != positive),
    }
    for direction, (nearer_to_other, taken) in sides.items():
        shown = apart & nearer_to_other
        count = int(np.count_nonzero(shown & taken))
        if count >= ENOUGH and count >= NEARLY_ALL * np.count_nonzero(shown):
            return direction, count
    return None, 0


def is_static(layer: Layer) -> bool:
    """Return whether the file holds the weights of `layer` in int8, with a scale for its input."""
    return layer.type in WEIGHTS and layer.params.get("19", "0") == "0"


def is_biased(layer: Layer) -> bool:
    """Return whether the file holds a bias for each output of `layer`. Raises NotANumber."""
    return number(layer, WEIGHTS[layer.type][1]) != 0


def full_scale(layer: Layer) -> int:
    """Return the largest int8 weight that ncnn2table gives `layer` (tools/quantize/ncnn2table.cpp)."""
    return SIX_BITS if layer.type == "Convolution" and is_plain_3x3(layer) else INT8_MAX


def least_spare(weights: Iterable[tuple[Layer, Int8Weights | None]]) -> float:
    """Return the spare factor of the layer that uses the most steps, at least 1.

    It is above 1 if the weights of the whole model are limited to fewer bits.
    """
    spare = [full_scale(layer) / max(1, own.largest) for layer, own in weights if own is not None]
    return max(1.0, min(spare, default=1.0))


def read(path: str, span: Sequence[int], layer: Layer) -> Int8Weights | None:
    """Return the int8 weights of `layer`, which reads the bytes `span` (start, end) of the file.

    None if they are not int8 or do not have the expected layout: weights, bias, scales (one for each
    output, each group or all of them), and the scales of input and output (src/layer/convolution.cpp,
    convolutiondepthwise.cpp, innerproduct.cpp: load_model).
    """
    with Path(path).open("rb") as file:
        file.seek(span[0])
        content = file.read(span[1] - span[0])
    if len(content) < 4 or struct.unpack_from("<I", content)[0] != weight_tags.INT8:
        return None
    try:
        outputs, weights = number(layer, 0), weight_count(layer)
        biased = is_biased(layer)
    except NotANumber:
        return None
    if outputs <= 0 or weights % outputs:
        return None
    at = 4 + weights + -weights % 4
    start = at + 4 * outputs * biased
    end = len(content) - (8 if gives_int8(layer) else 4)
    scales = np.frombuffer(content[start:end], "<f4")
    integers = np.frombuffer(content, np.int8, weights, 4).reshape(outputs, -1)
    if not scales.size or outputs % scales.size:
        return None
    infinite = int(np.count_nonzero(np.isposinf(scales)))
    bias = np.frombuffer(content[at:start], "<f4")
    return Int8Weights(integers, np.repeat(scales, outputs // scales.size), infinite, bias)
