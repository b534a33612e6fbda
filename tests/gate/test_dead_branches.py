"""A branch whose weights decayed to next to nothing: what fp16 makes of it matters to nobody."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP16, RANGE = "fp16-vs-fp32-vulkan", "fp16-range"


def branched(folder: Path, size: float, factor: float = 1.0, learned: bool = False) -> None:
    """x + conv(conv(x)), with weights of about `size`, the result times `factor`.

    `learned`: the weights are of usual size, and the result is multiplied by `size` from the file.
    """
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=12 1=12 2=8")
    skip, x = net.split(x, 2)
    for name in ("first", "second"):
        weights = rng.normal(0.0, 0.2 if learned else size, (8, 8, 1, 1))
        x = net.layer("Convolution", name, [x], params="0=8 1=1 6=64", weights=[weights])
    if learned:
        gamma = net.layer("MemoryData", "gamma", params="0=1", weights=[np.full(1, size)], flagged=False)
        x = net.layer("BinaryOp", "gated", [x, gamma], params="0=2")
    if factor != 1.0:
        x = net.layer("BinaryOp", "scaled", [x], params=f"0=2 1=1 2={factor:g}")
    net.layer("BinaryOp", "sum", [skip, x], ["out0"], "0=0")
    net.write(folder / "net")
    networks.spec(folder, f"{networks.NOISE}compare: [{FP16}, {RANGE}]\n")


@pytest.mark.parametrize("size", [1e-8, 4e-7, 2e-6])
def test_what_it_adds_is_nothing(gate: Gate, pytester: pytest.Pytester, size: float) -> None:
    branched(pytester.path, size)
    assert gate("--ncnn-parity-fix=off").ids("failed") == []


@pytest.mark.parametrize("size", [1e-7, 1e-5])
def test_a_learned_factor_of_next_to_nothing_is_right(
    gate: Gate, pytester: pytest.Pytester, size: float
) -> None:
    branched(pytester.path, size, learned=True)
    assert gate("--ncnn-parity-fix=off").ids("failed") == []


def test_what_is_made_large_again_behind_it_is_red(gate: Gate, pytester: pytest.Pytester) -> None:
    branched(pytester.path, 4e-7, factor=1e12)
    run = gate("--ncnn-parity-fix=off")
    assert run.cases[f"noise::{FP16}::output:out0"]["outcome"] == "failed"
    for comparison in (FP16, RANGE):
        assert {"first", "second"} & {name.rpartition("::")[2] for name in run.ids("failed", comparison)}


@pytest.mark.parametrize(
    ("epsilon", "red"), [(0.01, False), (1e-6, True)], ids=["beside-more", "beside-as-little"]
)
def test_a_sum_of_values_that_are_lost_matters_only_beside_as_little(
    gate: Gate, pytester: pytest.Pytester, epsilon: float, red: bool
) -> None:
    """The features of a linear attention that are shut, and the epsilon of its denominator."""
    net = Network()
    x = net.layer("Input", "in0", params="0=12 1=12 2=8")
    x = net.layer("ReLU", "features", [x])
    for name in ("small", "lost"):
        x = net.layer("BinaryOp", name, [x], params="0=2 1=1 2=0.0001")
    x = net.layer("Reduction", "total", [x], params="0=0 1=0 4=1 5=1 -23303=2,1,2")
    x = net.layer("BinaryOp", "denominator", [x], params=f"0=0 1=1 2={epsilon:g}")
    net.layer("BinaryOp", "share", [x], ["out0"], "0=8 1=1 2=0.001")
    net.write(pytester.path / "net")
    networks.spec(pytester.path, f"{networks.NOISE}compare: [{FP16}, {RANGE}]\n")
    run = gate("--ncnn-parity-fix=off")
    layers = {name.rpartition("::")[2] for name in run.ids("failed")} - {"output:out0"}
    assert layers == ({"lost"} if red else set())
