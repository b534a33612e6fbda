"""What norms give in float64, and whether the reference alone is to blame for an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import graphs
import ncnn
import numpy as np
import pytest
from network import Network

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.evidence import Distrust
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.judge.exact import distrust
from pytest_ncnn_parity.worker.norms import exact, flat
from pytest_ncnn_parity.worker.values.blob import Blob

RNG = np.random.default_rng(5)
GAMMA, BETA = RNG.normal(1.0, 0.3, 8), RNG.normal(0.0, 1.0, 8)
NORMS = [
    "InstanceNorm 0=8 1=1e-3 2=1",
    "InstanceNorm 0=8 1=1e-5 2=0",
    "GroupNorm 0=4 1=8 2=1e-3 3=1",
    "GroupNorm 0=1 1=8 2=1e-5 3=0",
    "LayerNorm 0=16 1=1e-3 2=0",
    "LayerNorm 0=256 1=1e-5 2=0",
    "MVN 0=0 1=0",
    "MVN 0=1 1=0",
    "MVN 0=1 1=1 2=1e-3",
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


@pytest.mark.parametrize(
    ("text", "shape"),
    [(text, (8, 16, 16)) for text in NORMS] + [("LayerNorm 0=8 1=1e-5 2=1", (8, 3, 8))],
)
def test_float64_gives_what_ncnn_gives_where_sums_are_harmless(
    text: str, shape: tuple[int, ...], tmp_path: Any
) -> None:
    graph, net = norm(text, tmp_path)
    value = RNG.normal(0.5, 2.0, shape).astype(np.float32)
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


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("InstanceNorm 0=4", [True, False, False, True]),
        ("GroupNorm 0=4 1=4", [True, False, False, True]),
        ("GroupNorm 0=2 1=4", [False] * 4),  # two numbers in a group
        ("LayerNorm 0=6", [True, False, False, True]),
        ("LayerNorm 0=30", [True, False, False, True]),
    ],
)
def test_what_a_norm_makes_nothing_of_is_one_number_and_not_0(text: str, where: list[bool]) -> None:
    kind, _, params = text.partition(" ")
    layer = graphs.network(f"{kind} norm in0 out0 {params}").names["norm"]
    value = np.full((4, 5, 6), 0.3, np.float32)
    value[0, 0, 0] *= 1 + 2.0**-22  # as kernels round
    value[1] += RNG.normal(0.0, 1e-4, (5, 6))
    value[2] = 0.0
    found = flat(layer, value)
    assert found is not None
    assert np.broadcast_to(found, value.shape).all((1, 2)).tolist() == where


def test_only_norms_make_nothing_of_one_number() -> None:
    layer = graphs.network("ReLU norm in0 out0").names["norm"]
    assert flat(layer, np.ones((4, 5, 6), np.float32)) is None


class _Reference:
    """What is asked of the network that is the reference."""

    setup = CPU_FP32


class _Case:
    tolerance = DEFAULTS["fp32"].layer


@pytest.mark.parametrize(("share", "blamed"), [(0.0, True), (0.05, True), (0.5, False), (1.0, False)])
def test_the_reference_is_blamed_where_the_candidate_is_right(
    share: float, blamed: bool, tmp_path: Any
) -> None:
    """`share`: of the reference's error, how much the candidate is off by."""
    graph, net = norm(NORMS[1], tmp_path)
    value = np.full((8, 128, 128), 292.32935, np.float32)
    value[4:] = RNG.normal(3.0, 1.0, (4, 128, 128))  # of which the CPU is right
    true = exact(graph.layers[1], {"in0": Blob.of(value)}, weights_of)
    assert true is not None
    cpu = run(net, value)
    off = np.abs(cpu - true).max((1, 2))
    assert off[:4].min() > 0.01, "the CPU loses the mean"
    assert off[4:].max() < 1e-4

    def blame(candidate: np.ndarray, reference: np.ndarray = cpu) -> Distrust | None:
        sides = ({"out0": Blob.of(side.astype(np.float32))} for side in (candidate, reference, true))
        own, theirs, right = sides
        case, network = cast(Any, _Case), cast(Any, _Reference)
        return distrust(case, graph.layers[1], network, own, theirs, right)

    assert (blame(true + share * (cpu - true)) is not None) is blamed
    elsewhere = true.copy()
    elsewhere[5] += 0.5  # a fault of the candidate's own
    assert blame(elsewhere) is None
    assert blame(true, reference=true) is None, "both are right"
