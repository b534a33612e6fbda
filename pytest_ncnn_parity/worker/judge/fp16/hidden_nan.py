"""Where the sum in front of a Sigmoid is nan, which ncnn's kernels on x86 make a number of.

A layer that adds inf and -inf gives nan by IEEE 754, and so does a Sigmoid of it, as on Vulkan. On x86,
exp clips its argument, and a nan is lost there (avx_mathfun.h in src/layer/x86).
"""

from __future__ import annotations

import ncnn
import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.network.constants import ACTIVATED, ACTIVATION
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import is_quantized
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.rounded import run
from pytest_ncnn_parity.worker.values.blob import Made

SIGMOID = "4"  # as an activation (src/layer/fused_activation.h); a Mish or a HardSwish hides no nan


class HiddenNan:
    """Runs layers without their Sigmoid, each in a network of its own that is loaded once."""

    def __init__(self, nets: JobNets) -> None:
        self._nets = nets
        self._loaded: dict[int, ncnn.Net] = {}

    def of(self, layer: Layer, values: Made) -> Array | None:
        """Where the sums of `layer` are nan, given `values`; None if no Sigmoid hides it."""
        hides = layer.type in ACTIVATED and layer.params.get(str(ACTIVATION)) == SIGMOID
        if not hides or is_quantized(layer) or not any(value.infinite for value in values.values()):
            return None
        try:
            if layer.number not in self._loaded:
                self._loaded[layer.number] = self._nets.without_activation(layer)
            (sums,) = run(self._loaded[layer.number], layer, values).values()
        except StepFailed:
            return None
        lost = np.isnan(sums.array)
        return lost if lost.any() else None
