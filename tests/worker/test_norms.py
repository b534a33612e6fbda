"""What norms give in float64, and whether the reference alone is to blame for an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import ncnn
import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.judge.exact import Exact
from pytest_ncnn_parity.worker.norms import exact
from pytest_ncnn_parity.worker.values.blob import Blob

RNG = np.random.default_rng(5)
GAMMA, BETA = RNG.normal(1.0, 0.3, 8), RNG.normal(0.0, 1.0, 8)
NORMS = [
    "InstanceNorm 0=8 1=1e-3 2=1",
    "InstanceNorm 0=8 1=1e-5 2=0",
    "GroupNorm 0=4 1=8 2=1e-3 3=1",
    "GroupNorm 0=1 1=8 2=1e-5 3=0",
]


def norm(text: str, folder: Any) -> tuple[Graph, ncnn.Net]:
    kind, *params = text.split()
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=8")
    weights = [GAMMA, BETA] if text.endswith("=1") else []
    net.layer(kind, "norm", [x], ["out0"], " ".join(params), weights, flagged=False)
    net.write(folder / "net")
    loaded = ncnn.Net()
    loaded.opt.use_vulkan_compute = False
    assert loaded.load_param(str(folder / "net.param")) == 0
    assert loaded.load_model(str(folder / "net.bin")) == 0
    return param.read(str(folder / "net.param")), loaded


def weights_of(_: Layer) -> np.ndarray:
    return np.concatenate([GAMMA, BETA]).astype(np.float32).astype(np.float64)


def run(net: ncnn.Net, value: np.ndarray) -> np.ndarray:
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(value).clone())
    code, mat = extractor.extract("out0")
    assert code == 0
    return np.array(mat)


@pytest.mark.parametrize("text", NORMS)
def test_float64_gives_what_ncnn_gives_where_sums_are_harmless(text: str, tmp_path: Any) -> None:
    graph, net = norm(text, tmp_path)
    value = RNG.normal(0.5, 2.0, (8, 16, 16)).astype(np.float32)
    true = exact(graph.layers[1], {"in0": Blob.of(value)}, weights_of)
    assert true is not None
    assert true == pytest.approx(run(net, value), rel=1e-4, abs=1e-5)


def test_nothing_is_known_of_other_layers_and_other_shapes(tmp_path: Any) -> None:
    graph, _ = norm(NORMS[0], tmp_path)
    layer = graph.layers[1]
    flat = {"in0": Blob.of(np.ones((8, 16), np.float32))}
    assert exact(layer, flat, weights_of) is None
    inf = {"in0": Blob.of(np.full((8, 4, 4), np.inf, np.float32))}
    assert exact(layer, inf, weights_of) is None
    assert exact(replace(layer, type="ReLU"), flat, weights_of) is None


class _Net:
    """What of a network and of a job's networks is asked here."""

    setup = CPU_FP32
    raw_weights = staticmethod(weights_of)


class _Case:
    comparison, output = "cpu-vs-vulkan", "out0"
    tolerance = DEFAULTS["fp32"].layer


@pytest.mark.parametrize(("share", "blamed"), [(0.0, True), (0.05, True), (0.5, False), (1.0, False)])
def test_the_reference_is_blamed_where_the_candidate_is_right(
    share: float, blamed: bool, tmp_path: Any
) -> None:
    """`share`: of the reference's error, how much the candidate is off by."""
    graph, net = norm(NORMS[1], tmp_path)
    value = np.full((8, 128, 128), 292.32935, np.float32)
    value[4:] = RNG.normal(3.0, 1.0, (4, 128, 128))  # of which the CPU is right
    values = {"in0": Blob.of(value)}
    true = exact(graph.layers[1], values, weights_of)
    assert true is not None
    wrong = run(net, value)
    off = np.abs(wrong - true).max((1, 2))
    assert off[:4].min() > 0.01, "the CPU loses the mean"
    assert off[4:].max() < 1e-4
    sides = cast(Any, _Net)
    case = cast(Any, _Case)
    found = Exact(graph, sides, values)
    expected = {"out0": Blob.of(wrong)}

    def distrust(candidate: np.ndarray) -> Distrust | None:
        outputs = {"out0": Blob.of(candidate.astype(np.float32))}
        return found.distrust(case, graph.layers[1], None, sides, outputs, expected)

    elsewhere = true.copy()
    elsewhere[5] += 0.5  # a fault of the candidate's own
    assert distrust(elsewhere) is None
    assert found.behind(case) is None
    seen = distrust(true + share * (wrong - true))
    assert (seen is not None) is blamed
    assert found.behind(case) == seen
