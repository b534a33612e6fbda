"""Layers that llvmpipe cuts short: it ends the loops of a shader after 65,535 iterations.

It counts those of all loops of a shader together (LP_MAX_TGSI_LOOP_ITERATIONS in Mesa's
src/gallium/auxiliary/gallivm/lp_bld_limits.h), and reports nothing. What a layer adds up is then
incomplete. A GPU has no such limit, so this says nothing about the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.shader_loops import iterations
from pytest_ncnn_parity.network.shapes.flow import Flow, flow
from pytest_ncnn_parity.worker.failures import Skip
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net

MOST_ITERATIONS = 65_535
_LLVMPIPE = re.compile(r"llvmpipe .*?(\d+) bits")
_BITS = 32  # of a lane


class CutShort:
    """Refuses to judge what differs because of such layers."""

    def __init__(self, sample: SampleRun) -> None:
        self._sample = sample

    def refuse(self, layers: Iterable[Layer], nets: Iterable[Net]) -> None:
        """Raise Skip if llvmpipe cuts one of `layers` short in one of `nets`."""
        nets = tuple(nets)
        for layer in layers:
            for net in nets:
                count = self._iterations(layer, net)
                if count > MOST_ITERATIONS:
                    raise Skip(
                        f"llvmpipe ends the loops of a shader after {MOST_ITERATIONS:,} iterations, and "
                        f"{layer.name} ({layer.type}) takes {count:,}: use a GPU, or a smaller input",
                        Evidence(device=net.device_name, origin=layer.name),
                    )

    def _iterations(self, layer: Layer, net: Net) -> int:
        """How many a shader takes for `layer` on llvmpipe; 0 on other devices, or if it is not known."""
        device = _LLVMPIPE.match(net.device_name)
        shape = self._flow.shapes.get(layer.inputs[0]) if layer.inputs else None
        if device is None or not shape or net.execution(layer).where != "vulkan":
            return 0
        return iterations(layer, shape, int(device[1]) // _BITS)

    @cached_property
    def _flow(self) -> Flow:
        inputs = {blob: value.shape for blob, value in self._sample.inputs.items()}
        return flow(self._sample.graph, inputs)
