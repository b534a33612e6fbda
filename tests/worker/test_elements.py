"""An element that is computed otherwise among others than alone, and one that only rounds otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.elements import are_uneven
from pytest_ncnn_parity.worker.values.blob import Blob, Made

SWISH = fed("Swish s 1 1 in0 y").layers[1]


@pytest.mark.parametrize(
    ("among", "alone", "uneven"),
    [
        (-9.4e-34, -0.0, False),  # a Swish of -100 where exp ends at 88, and where it does not
        (-9.4e-34, -9.4e-24, True),
        (2.4e38, 0.0, True),  # ncnn's pow of 0 on x86
        (1.0, 1.0 + 1e-6, False),
        (1.0, 0.5, True),
    ],
)
def test_what_is_0_to_any_layer_is_not_uneven(among: float, alone: float, uneven: bool) -> None:
    inputs = {"in0": Blob.of(np.full(64, -100.0, np.float32))}
    outputs = {"y": Blob.of(np.full(64, among, np.float32))}

    def run(_: Layer, few: Made) -> Made:
        return {"y": Blob.of(np.full(few["in0"].size, alone, np.float32))}

    assert are_uneven(SWISH, inputs, outputs, run) is uneven
