"""Feeds a layer alone with int8 values so that it computes the same as in a run of the whole network.

On the CPU a layer is fed with the int8 values as they are. To Vulkan they cannot always be uploaded:
ncnn cannot do it on a device that shares its memory with the host (src/gpu.cpp, convert_packing). There
a layer that quantizes floats is fed with the floats that quantize to exactly these integers. For any
other layer, the layer that computed them runs once more, in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import field

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_MAX, INT8_MAX
from pytest_ncnn_parity.engine.int8_evidence import OtherScale
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import quantizing_readers
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# What scales may differ by and be one: a table has six digits behind the point ("%f" in ncnn2table.cpp).
# Less than a thousandth moves no value by half of int8's 127 steps.
SAME_SCALE, DIGITS = 1e-3, 1e-6

OnVulkan = Callable[[Layer], bool]


class Int8Values(Frozen):
    """Which values of a model may be int8, and by which scales.

    `blobs`: their names. `scales`: by layer number, the scale of the layer's input. `given`: by layer
    number, the scale of the output of a layer that gives int8.
    """

    graph: Graph
    blobs: frozenset[str] = frozenset()
    scales: Mapping[int, float] = field(default_factory=dict)
    given: Mapping[int, float] = field(default_factory=dict)

    def taken_by(self, blob: str) -> float | None:
        """Return the scale by which readers interpret the int8 values of `blob`, or None if unknown.

        If readers differ, it is the scale furthest from the one by which the values were quantized.
        """
        scales = [self.scales[layer.number] for layer in quantizing_readers(self.graph, blob)]
        scales = [scale for scale in scales if scale > 0.0]
        maker = self._maker(blob)
        given = None if maker is None else self.given.get(maker.number)
        if given is None or not scales:
            return scales[0] if scales else given
        return max(scales, key=lambda scale: abs(math.log(scale / given)) if given > 0.0 else 0.0)

    def read_otherwise(self, layer: Layer) -> OtherScale | None:
        """Return by which other scale a reader takes the int8 that `layer` gives; None if none does.

        ncnn2int8 copies the scale of the readers. Only readers of the same integers are asked, and of
        these only such as have a scale at all.
        """
        given = self.given.get(layer.number)
        if given is None:
            return None
        read = [
            one for blob in layer.outputs for one in quantizing_readers(self.graph, blob, of_copies=True)
        ]
        scales = {one.name: self.scales[one.number] for one in read}
        scales = {name: scale for name, scale in scales.items() if 0.0 < scale < math.inf}
        others = {name: scale for name, scale in scales.items() if not _is_same(given, scale)}
        if not others:
            return None
        reader = next(iter(others))
        return OtherScale(given, reader, others[reader], of_all=len(others) == len(scales))

    def _maker(self, blob: str) -> Layer | None:
        """Return the layer that quantized the values of `blob`; if there are several, the first."""
        maker = self.graph.producer.get(blob)
        while maker is not None and maker.number not in self.given:
            before = [one for one in maker.inputs if one in self.blobs]
            maker = self.graph.producer[before[0]] if before else None
        return maker

    def reads(self, layer: Layer) -> tuple[str, ...]:
        """Return the names of the values needed to run `layer` alone, wherever it runs."""
        wanted: dict[str, None] = {}
        made_again: set[str] = set()
        waiting = [layer]
        while waiting:
            reader = waiting.pop()
            wanted.update(dict.fromkeys(reader.inputs))
            if self._exact_scale(reader) is None:
                again = self.blobs.intersection(reader.inputs) - made_again
                made_again |= again
                waiting += [self.graph.producer[blob] for blob in again]
        return tuple(wanted)

    def _exact_scale(self, layer: Layer) -> float | None:
        """Return the scale by which `layer` quantizes floats, if these fit into fp16 too; else None."""
        scale = self.scales.get(layer.number, 0.0)
        return scale if scale > INT8_MAX / FP16_MAX else None

    def in_floats(self, layer: Layer, value: Blob) -> Blob | None:
        """Return `value` as floats that `layer` quantizes to the same int8; None if int8 must be fed."""
        if not value.int8:
            return value
        scale = self._exact_scale(layer)
        return None if scale is None else value.dequantized(scale)

    def fed(self, layer: Layer, values: Mapping[str, Blob], on_vulkan: OnVulkan) -> Made:
        """Return what to feed, by blob, so that `layer` alone gets `values`.

        `on_vulkan` says whether a layer runs on Vulkan.
        """
        fed, made_again = self._fed(layer, values, on_vulkan)
        return {blob: value for blob, value in fed.items() if blob not in made_again}

    def run_before(
        self, layer: Layer, values: Mapping[str, Blob], on_vulkan: OnVulkan
    ) -> Collection[Layer]:
        """Return the layers to run in front of `layer`, as their int8 outputs cannot be uploaded."""
        return list(self._fed(layer, values, on_vulkan)[1].values())

    def _fed(
        self, layer: Layer, values: Mapping[str, Blob], on_vulkan: OnVulkan
    ) -> tuple[Made, Mapping[str, Layer]]:
        """Return the values to feed, and by blob the layers that compute the others once more."""
        fed: Made = {}
        made_again: dict[str, Layer] = {}
        waiting = [layer]
        while waiting:
            reader = waiting.pop()
            for blob in reader.inputs:
                value, maker = values[blob], self.graph.producer[blob]
                if not value.int8 or not on_vulkan(reader) or not on_vulkan(maker):
                    fed[blob] = value
                elif (scale := self._exact_scale(reader)) is not None:
                    fed[blob] = value.dequantized(scale)
                elif blob not in made_again:
                    made_again[blob] = maker
                    waiting.append(maker)
        return fed, made_again


def _is_same(given: float, taken: float) -> bool:
    return given == taken or abs(given - taken) <= max(SAME_SCALE * abs(given), DIGITS)
