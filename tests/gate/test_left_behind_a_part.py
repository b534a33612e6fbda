"""Little of a fault in a part that another model computes otherwise may reach what agrees again."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once


def residual(path: Path, several: bool, dead: bool = False) -> None:
    """Two convolutions with a HardSwish behind each, the second beside a larger sum, and a mean.

    `several`: of layers in place of a HardSwish. `dead`: one output of the first has no weights.
    """
    rng = np.random.RandomState(0)
    first, last = rng.normal(0.0, 0.2, (8, 8)), rng.normal(0.0, 0.2, (8, 8))
    first[1] *= 0.0 if dead else 1.0
    net = Network()

    def activated(x: str, name: str, weights: np.ndarray) -> str:
        params = "0=8 1=1 6=64"
        if not several:
            params += " 9=6 -23310=2,0.16666667,0.5"
            return net.layer("Convolution", name, [x], params=params, weights=[weights])
        a, b = net.split(net.layer("Convolution", name, [x], params=params, weights=[weights]), 2)
        a = net.layer("BinaryOp", f"{name}_plus", [a], params="0=0 1=1 2=3.0")
        a = net.layer("Clip", f"{name}_clip", [a], params="0=0.0 1=6.0")
        a = net.layer("BinaryOp", f"{name}_gate", [a, b], params="0=2")
        return net.layer("BinaryOp", f"{name}_sixth", [a], params="0=3 1=1 2=6.0")

    x, beside = net.split(net.layer("Input", "in0", params="0=8 1=8 2=8"), 2)
    x = activated(x, "first", first)
    depthwise = rng.normal(0.0, 0.2, (8, 1, 3, 3))
    x = net.layer(
        "ConvolutionDepthWise", "wide", [x], params="0=8 1=3 4=1 6=72 7=8", weights=[depthwise]
    )
    beside = net.layer("BinaryOp", "large", [beside], params="0=2 1=1 2=150.0")
    x = net.layer("BinaryOp", "sum", [x, beside])
    x = activated(x, "last", last)
    net.layer("Pooling", "mean", [x], ["out0"], "0=1 4=1")
    net.write(path)


def test_a_dead_channel_is_red_and_right_weights_are_not(gate: Gate, pytester: pytest.Pytester) -> None:
    residual(pytester.path / "net", True)
    residual(pytester.path / "right", False)
    residual(pytester.path / "dead", False, dead=True)
    compared = ", ".join(
        f"{{name: {one}, candidate: {{device: cpu, model: {{param: {one}.param, bin: {one}.bin}}}}}}"
        for one in ("right", "dead")
    )
    networks.spec(pytester.path, f"{networks.NOISE}compare: [{compared}]\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed", "right") == []
    assert [name.split("::")[-1] for name in run.ids("failed", "dead")] == ["wide"]
