"""What the rounding of an Interp's places does to its output."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.judge.rounding import LayerRounding
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob

pytestmark = pytest.mark.once

WIDTH, WIDER = 2560, 3840
TOLERANCE = DEFAULTS["fp32"].layer
CASE: Any = SimpleNamespace(tolerance=TOLERANCE, half=None)
NATURES: Any = SimpleNamespace(scale=lambda _, reference, *__, **___: float(np.abs(reference).max()))


def bilinear_in_fp32(rows: np.ndarray, late: float = 0.0) -> np.ndarray:
    """As Vulkan's kernel computes it, with places in fp32. `late`: by how much they are wrong."""
    half, step = np.float32(0.5), np.float32(WIDTH / WIDER)
    places = (np.arange(WIDER, dtype=np.float32) + half) * step - half + np.float32(late)
    at = np.clip(np.floor(places), 0, WIDTH - 2).astype(int)
    share = np.clip(places - at, 0, 1)
    return np.asarray(rows[:, at] * (1 - share) + rows[:, at + 1] * share, np.float32)


@pytest.mark.parametrize(("late", "explained"), [(0.0, True), (0.01, False)])
def test_the_rounding_of_places_explains_a_wide_resize(
    late: float, explained: bool, tmp_path: Path
) -> None:
    net = Network()
    net.layer("Interp", "wider", [net.layer("Input", "in0")], ["out0"], f"0=2 3=4 4={WIDER}")
    net.write(tmp_path / "net")
    graph = param.read(str(tmp_path / "net.param"))
    model = Model(str(tmp_path / "net.param"), str(tmp_path / "net.bin"))
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), model, graph.masks, 1, lambda _: None)
    rows = np.random.RandomState(0).normal(0, 1, (4, WIDTH)).astype(np.float32)
    layer, values = graph.names["wider"], {"in0": Blob.of(rows)}
    expected = loaded.run_layer(layer, values)
    outputs = {"out0": Blob.of(bilinear_in_fp32(rows, late))}
    off = np.abs(outputs["out0"].array - expected["out0"].array).max() / np.abs(rows).max()
    assert off > TOLERANCE.scaled, "red without a reason"
    rounding = LayerRounding(loaded.run_layer, NATURES)
    found = rounding.of(CASE, layer, values, outputs, expected, "out0")
    assert found.explains is explained
