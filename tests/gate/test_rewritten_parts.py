"""What is written otherwise, beside what only seems to be, and rounded besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from calibrated import FP16_WEIGHTS
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once


def hidden(path: Path, pooling: str, wrong: float = 1.0) -> None:
    """A global `pooling`, and a product behind it whose third row a ReLU makes 0.

    `wrong`: a factor of the weights of that row.
    """
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=8 1=8 2=3")
    x = net.layer("Convolution", "conv", [x], params="0=8 1=3 6=216", weights=[rng.rand(8, 3, 3, 3)])
    whole = "0=1 4=1" if pooling == "Pooling" else "0=3 1=0 -23303=2,1,2 5=1"
    x = net.layer(pooling, "pool", [x], params=whole)
    rows = rng.rand(4, 8)
    rows[2] *= -wrong
    x = net.layer("InnerProduct", "product", [x], params="0=4 2=32", weights=[rows])
    x = net.layer("ReLU", "relu", [x])
    net.layer("InnerProduct", "last", [x], ["out0"], "0=2 2=8", [rng.rand(2, 4)])
    net.write(path)


@pytest.mark.parametrize("wrong", [1.0, 1.3], ids=["right", "wrong"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_wrong_weight_that_is_levelled_behind_what_is_written_otherwise_is_red(
    wrong: float, swapped: bool, gate: Gate, pytester: pytest.Pytester
) -> None:
    poolings = ("Reduction", "Pooling") if swapped else ("Pooling", "Reduction")
    for name, pooling, factor in zip(("net", "other"), poolings, (1.0, wrong), strict=True):
        hidden(pytester.path / name, pooling, factor)
    networks.spec(pytester.path, "inputs: {s: {in0: {random: uniform}}}\n" + networks.WITH_OTHER)
    failed = gate("--ncnn-parity-fix=off").ids("failed")
    assert failed == ([] if wrong == 1.0 else ["s::other::product"])


class HalfNetwork(Network):
    """Its weights are in fp16 in the file."""

    def layer(self, *args: Any, **kwargs: Any) -> str:
        before = len(self._weights)
        blob = super().layer(*args, **kwargs)
        if len(self._weights) > before:
            self._weights[before] = FP16_WEIGHTS
            self._weights[before + 1] = self._weights[before + 1].astype(np.float16)
        return blob


def rep_vgg(path: Path, merged: bool, wrong: float = 1.0) -> None:
    """Two blocks of three branches each, or what they are `merged` to, with weights in fp16.

    `wrong`: a factor of the weights of the last block.
    """
    rng = np.random.RandomState(0)
    net = HalfNetwork() if merged else Network()
    x = net.layer("Input", "in0", params="0=10 1=10 2=8")
    for n in range(2):
        wide, point = rng.normal(0.0, 0.15, (8, 8, 3, 3)), rng.normal(0.0, 0.3, (8, 8))
        wide, point = (weights * (wrong if n else 1.0) for weights in (wide, point))
        if merged:
            wide[:, :, 1, 1] += point + np.eye(8)
            x = net.layer("Convolution", f"rep{n}", [x], params="0=8 1=3 4=1 6=576", weights=[wide])
        else:
            a, b, c = net.split(x, 3)
            a = net.layer("Convolution", f"wide{n}", [a], params="0=8 1=3 4=1 6=576", weights=[wide])
            b = net.layer("Convolution", f"point{n}", [b], params="0=8 1=1 6=64", weights=[point])
            x = net.layer("BinaryOp", f"one{n}", [a, b])
            x = net.layer("BinaryOp", f"two{n}", [x, c])
        x = net.layer("ReLU", f"relu{n}", [x])
    net.layer("Convolution", "last", [x], ["out0"], "0=4 1=1 6=32", [rng.normal(0.0, 0.3, (4, 8))])
    net.write(path)


@pytest.mark.parametrize("wrong", [1.0, 1.1], ids=["right", "wrong"])
def test_blocks_that_are_merged_and_rounded_to_half_are_no_difference(
    wrong: float, gate: Gate, pytester: pytest.Pytester
) -> None:
    rep_vgg(pytester.path / "net", False)
    rep_vgg(pytester.path / "other", True, wrong)
    networks.spec(pytester.path, networks.NOISE + networks.WITH_OTHER)
    found = gate("--ncnn-parity-fix=off").ids("failed")
    assert (found == []) is (wrong == 1.0)
