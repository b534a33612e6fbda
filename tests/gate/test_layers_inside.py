"""x86 kernels without bf16 that hold layers which have it, and hand these fp32."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

BF16 = "{name: bf16, reference: {device: cpu}, candidate: {device: cpu, precision: bf16}}"


def network(pytester: pytest.Pytester, kind: str, groups: int) -> None:
    """A convolution, a layer of `kind` with 16 outputs in `groups`, and another convolution."""
    rng = np.random.RandomState(0)
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=3")
    weights = [rng.normal(0, 0.2, (16, 3, 3, 3)), rng.normal(0, 0.1, 16)]
    x = net.layer("Convolution", "first", [x], params="0=16 1=3 4=1 5=1 6=432", weights=weights)
    count = 16 // groups * 16 * 9
    weights = [rng.normal(0, 0.1, count), rng.normal(0, 0.1, 16)]
    x = net.layer(kind, "grouped", [x], params=f"0=16 1=3 4=1 5=1 6={count} 7={groups}", weights=weights)
    weights = [rng.normal(0, 0.2, (8, 16)), rng.normal(0, 0.1, 8)]
    net.layer("Convolution", "last", [x], ["out0"], "0=8 1=1 5=1 6=128", weights)
    net.write(pytester.path / "net")
    networks.spec(pytester.path, networks.NOISE + f"compare: [{BF16}]\n")


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20261020", "its convolutions have no bf16 on x86")
@pytest.mark.parametrize("kind", ["ConvolutionDepthWise", "DeconvolutionDepthWise"])
def test_the_layer_is_named_and_masked_with_the_one_in_front(
    gate: Gate, pytester: pytest.Pytester, kind: str
) -> None:
    network(pytester, kind, groups=4)
    run = gate()
    grouped = run.cases["noise::bf16::grouped"]
    assert grouped["outcome"] == "failed"
    assert grouped["cause"] in ("device", "crash")  # it reads and writes beyond the ends of values
    if grouped["cause"] == "device":
        assert "its kernel hands fp32 to layers inside it that read bf16" in grouped["message"]
    assert (run.fixes["bf16"]["masks"], run.fixes["bf16"]["verified"]) == (
        {"first": 4, "grouped": 4},
        True,
    )


@pytest.mark.since_ncnn("1.0.20261020", "its convolutions have no bf16 on x86")
def test_with_one_output_a_group_no_layer_is_inside(gate: Gate, pytester: pytest.Pytester) -> None:
    network(pytester, "ConvolutionDepthWise", groups=16)
    run = gate()
    assert run.ids("failed") == []
    assert "runs on cpu fp32 on both sides" in run.cases["noise::bf16::grouped"]["message"]
