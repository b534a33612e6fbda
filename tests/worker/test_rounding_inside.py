"""What a kernel rounds inside explains an error: the places of an Interp, the sum of a Softmax."""

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
CLASSES = 18710
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
    rows = np.random.RandomState(0).normal(0, 1, (4, WIDTH)).astype(np.float32)
    params = f"0=2 3=4 4={WIDER}"
    assert explains(tmp_path, "Interp", params, rows, bilinear_in_fp32(rows, late)) is explained


def softmax_in_fp32(rows: np.ndarray, lost: float = 0.0) -> np.ndarray:
    """As Vulkan's kernel adds up, term by term. `lost`: the share of a sum that it drops."""
    powers = np.exp(rows - rows.max(1, keepdims=True))
    sums = np.zeros(len(rows), np.float32)
    for column in powers.T:
        sums += column
    return np.asarray(powers / (sums * np.float32(1 - lost))[:, None], np.float32)


@pytest.mark.parametrize(("lost", "explained"), [(0.0, True), (0.05, False)])
def test_adding_up_term_by_term_explains_a_softmax_over_many_classes(
    lost: float, explained: bool, tmp_path: Path
) -> None:
    """Of a text recognizer: one class has nearly all of the probability, and others alike shares."""
    rows = np.repeat(np.linspace(-13.9, -13.7, 20, dtype=np.float32)[:, None], CLASSES, 1)
    rows[:, 0] = 0.0
    assert explains(tmp_path, "Softmax", "0=1 1=1", rows, softmax_in_fp32(rows, lost)) is explained


def explains(folder: Path, kind: str, params: str, rows: np.ndarray, made: np.ndarray) -> bool:
    """Whether rounding explains that a layer makes `made` of `rows`, which it does not on the CPU."""
    net = Network()
    net.layer(kind, "layer", [net.layer("Input", "in0")], ["out0"], params)
    net.write(folder / "net")
    graph = param.read(str(folder / "net.param"))
    model = Model(str(folder / "net.param"), str(folder / "net.bin"))
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), model, graph.masks, 1, lambda _: None)
    layer, values = graph.names["layer"], {"in0": Blob.of(rows)}
    expected = loaded.run_layer(layer, values)
    off = np.abs(made - expected["out0"].array).max() / np.abs(expected["out0"].array).max()
    assert off > TOLERANCE.scaled, "red without a reason"
    rounding = LayerRounding(loaded.run_layer, NATURES)
    return rounding.of(CASE, layer, values, {"out0": Blob.of(made)}, expected, "out0").explains
