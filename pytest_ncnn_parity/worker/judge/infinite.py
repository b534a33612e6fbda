"""Values of a reference that are inf: whatever the other side holds there, nothing was compared.

In the middle of a network inf may be meant, as exp(100) in 1 / (1 + exp(100)); given out it is a fault.
So is nan wherever it stands. -inf is what masks and logarithms of 0 give: it may be given out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Array
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import Skip
from pytest_ncnn_parity.worker.values.blob import Made


class InfMakers:
    """Which layers of the trajectory made inf of values without any."""

    def __init__(self) -> None:
        self._by_blob: dict[str, str] = {}  # which holds inf

    def observe(self, layer: Layer, outputs: Made) -> None:
        """Take note of what `layer` made."""
        handed_on = (self._by_blob[blob] for blob in layer.inputs if blob in self._by_blob)
        maker = next(handed_on, layer.name)
        self._by_blob |= {blob: maker for blob, value in outputs.items() if value.inf}

    def of(self, blob: str) -> str | None:
        """The layer that made the inf of `blob`, where the trajectory has come by."""
        return self._by_blob.get(blob)


def with_remark(metrics: Metrics, reference: Array) -> Metrics:
    """`metrics` of values that agree, with how many of them are inf or -inf on both sides.

    Skip where none is finite: nothing was compared.
    """
    infinite = int(np.count_nonzero(np.isinf(reference)))
    if not infinite:
        return metrics
    if infinite == reference.size:
        raise Skip("the reference holds nothing but inf and -inf here: nothing to compare")
    remark = f"{infinite} of {reference.size} values are inf or -inf on both sides"
    return replace(metrics, forgiven="; ".join(filter(None, (metrics.forgiven, remark))))
