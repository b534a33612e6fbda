"""What a repeated kernel is given, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Constant
from pytest_ncnn_parity.worker.networks.job_nets import JobNets


class LayerRun(Frozen):
    """What a layer read and gave in fp32.

    `arithmetic`: whether it computes in fp16, or only stores its values so. `nets` has its weights.
    """

    inputs: Sequence[Array]
    output: Array
    arithmetic: bool
    nets: JobNets

    @property
    def value(self) -> Array:
        """The first input."""
        return self.inputs[0]


class Computed(Frozen):
    """The quantity that fp16 cannot hold, and the output that results from it."""

    constant: Constant
    made: Array


def saturated(values: Array) -> Array:
    """`values` with inf in place of those beyond fp16."""
    return np.where(np.abs(values) >= FP16_OVERFLOW, np.copysign(np.inf, values), values)


def largest_of(values: Array) -> float:
    """The largest finite magnitude; 0 if there is none."""
    sizes = np.abs(values)
    return float(sizes.max(initial=0.0, where=np.isfinite(sizes)))
