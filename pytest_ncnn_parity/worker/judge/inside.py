"""The largest values inside a layer, which no blob shows: predicted from the kernel that ncnn takes."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.compare.fp16 import FP16_MAX
from pytest_ncnn_parity.engine.evidence import Inside
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, NO_WINOGRAD
from pytest_ncnn_parity.network.param import Layer
from pytest_ncnn_parity.network.winograd import channels, padding, tile_on_vulkan
from pytest_ncnn_parity.worker.networks.pool import JobNets
from pytest_ncnn_parity.worker.values.blob import Made

NEAR = 4.0  # values within this factor of fp16's end are looked at: what is smaller is no matter


class Insides:
    """Looks into layers in the kernels of ncnn's Vulkan backend, whose values are kept in fp16."""

    def __init__(self, nets: JobNets) -> None:
        self._nets = nets

    def of(self, layer: Layer, blobs: Made) -> Inside | None:
        """What is inside `layer`; None where it is known to be far from fp16's end, or not looked at."""
        if layer.type != "Convolution" or not blobs[layer.inputs[0]].floating:
            return None
        value = blobs[layer.inputs[0]].array
        above, below, before, after = padding(layer)
        if value.ndim != 3 or len(value) != channels(layer)[0]:
            return None
        height, width = value.shape[1] + above + below, value.shape[2] + before + after
        side, other = (tile_on_vulkan(layer, width, height, discrete) for discrete in (False, True))
        if side is None or other is None or not np.isfinite(value).all():
            return None
        fill = float(layer.params.get("18", "0"))
        edges = ((0, 0), (above, below), (before, after))
        values = np.pad(value, edges, constant_values=fill)
        inside = self._look(layer, values, side)
        if inside is not None and side != other and self._nets.on_a_discrete_gpu():
            return self._look(layer, values, other)
        return inside

    def _look(self, layer: Layer, values: winograd.Array, side: int) -> Inside | None:
        limit = FP16_MAX / NEAR
        most = self._nets.gain(layer, side) * max(values.max(), -values.min())
        if most < limit:
            return None
        arithmetic = not layer.mask & NO_FP16_ARITHMETIC
        weights = self._nets.convolution_weights(layer)
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
