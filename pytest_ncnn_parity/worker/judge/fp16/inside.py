"""Predicts the largest values inside a layer, which no blob shows, for the kernel that ncnn chooses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Inside
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.masks import (
    NO_FP16_ARITHMETIC,
    NO_FP16_STORAGE,
    NO_VULKAN,
    NO_WINOGRAD,
    has_no_fp16_kernel,
)
from pytest_ncnn_parity.network.parameters import NotANumber, decimal
from pytest_ncnn_parity.network.winograd import channels, padding, tile_on_vulkan
from pytest_ncnn_parity.worker.judge.fp16.accumulators import STORING, adds_up, largest_sum
from pytest_ncnn_parity.worker.judge.fp16.final_sums import largest_final_sum, with_sums_of_inf
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob, Made

NEAR = 4.0  # only values within this factor of fp16's largest value are looked at


class Insides:
    """Examines layers whose kernel in ncnn's Vulkan backend keeps inner values in fp16."""

    def __init__(self, nets: JobNets) -> None:
        self._nets = nets

    def of(self, layer: Layer, blobs: Made, headroom: float) -> Inside | None:
        """The largest value inside `layer`; None if it is far below 65504, or is not examined.

        Winograd's transforms are examined, and in other kernels the sums that are certainly reached.
        Where `headroom` is above 1, sums that may be reached in some order of the terms are examined
        too.
        """
        if not adds_up(layer) or not layer.inputs:
            return None
        if has_no_fp16_kernel(layer.mask):
            return None
        read = [blobs[blob] for blob in layer.inputs]
        if any(one.batch or not one.floating or not one.size for one in read):
            return None
        values = [one.array for one in read]
        if not np.isfinite(values[0]).all():
            return None
        try:
            inside = self._by_winograd(layer, values[0], headroom) if len(values) == 1 else None
            arithmetic = not layer.mask & NO_FP16_ARITHMETIC
            if inside is None and headroom > 1.0 and (layer.type in STORING or arithmetic):
                inside = self._summed(layer, values, headroom)
            if arithmetic and len(values) == 1:
                inside = _surely_summed(layer, values[0]) or inside
        except NotANumber:
            return None
        return inside

    def with_sums_of_inf(self, layer: Layer, blobs: Made) -> Made | None:
        """The output of `layer` where sums inside it are inf in fp16; None if it is not known."""
        (output,) = layer.outputs
        if blobs[layer.inputs[0]].batch:
            return None
        values = with_sums_of_inf(layer, blobs[layer.inputs[0]].array, blobs[output].array)
        return None if values is None else {output: Blob.of(values)}

    def _by_winograd(self, layer: Layer, value: Array, headroom: float) -> Inside | None:
        if layer.type != "Convolution" or value.ndim != 3 or len(value) != channels(layer)[0]:
            return None
        above, below, before, after = padding(layer)
        height, width = value.shape[1] + above + below, value.shape[2] + before + after
        side, other = (tile_on_vulkan(layer, width, height, discrete) for discrete in (False, True))
        if side is None or other is None:
            return None
        edges = ((0, 0), (above, below), (before, after))
        values = np.pad(value, edges, constant_values=decimal(layer, 18, 0.0))
        inside = self._look(layer, values, side, headroom)
        if inside is not None and side != other and self._nets.on_a_discrete_gpu():
            return self._look(layer, values, other, headroom)
        return inside

    def _look(self, layer: Layer, values: Array, side: int, headroom: float) -> Inside | None:
        limit = FP16_MAX / max(NEAR, headroom)
        most = self._nets.weights.gain(layer, side) * max(values.max(), -values.min())
        if most < limit:
            return None
        arithmetic = not layer.mask & NO_FP16_ARITHMETIC
        weights = self._nets.weights.of_convolution(layer)
        seen = winograd.look_inside(values, weights, side, limit, arithmetic)
        if seen.bound.size < limit:
            return None
        return Inside(
            f"winograd F({side},3)",
            NO_WINOGRAD,
            seen.stored.size,
            seen.stored.what,
            seen.bound.size,
            seen.bound.what,
        )

    def _summed(self, layer: Layer, values: Sequence[Array], headroom: float) -> Inside | None:
        bound = largest_sum(layer, values, lambda *counts: self._nets.weights.first(layer, *counts))
        if bound < FP16_MAX / headroom:
            return None
        if layer.type in STORING:
            mask = NO_VULKAN | NO_FP16_STORAGE
            return Inside("fp16 storage", mask, 0.0, "", bound, "a sum inside")
        return Inside("fp16 arithmetic", NO_FP16_ARITHMETIC, 0.0, "", bound, "a sum inside")


def _surely_summed(layer: Layer, value: Array) -> Inside | None:
    """A sum that overflows in whatever order its terms are added."""
    reached = largest_final_sum(layer, value)
    if reached < FP16_OVERFLOW:
        return None
    what = "a sum inside"
    return Inside("fp16 arithmetic", NO_FP16_ARITHMETIC, reached, what, reached, what)
