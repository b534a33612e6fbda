"""Heads that smooth, scale or add up probabilities or masked values, where there is nothing to find."""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = pytest.mark.once

FP16 = "fp16-vs-fp32-vulkan"
NOTHING = np.random.RandomState(0).normal(-11.5, 0.5, (8, 16, 16))  # exp(11.5) is inf in fp16
COMPARE = """\
compare:
  - fp16-vs-fp32
  - {name: wrong, reference: {device: cpu}, candidate: {device: vulkan, precision: fp16, model: wrong}}
"""
KERNEL = np.random.RandomState(1).normal(0, 0.3, (4, 8, 1, 1))
HEADS = {
    "convolution": ("Convolution", "0=4 1=1 5=0 6=32", [KERNEL], True),
    "blur": ("ConvolutionDepthWise", "0=8 1=3 4=1 5=0 6=72 7=8", [np.full((8, 1, 3, 3), 1 / 9)], True),
    "grey": ("Scale", "0=8 1=0", [np.full(8, 255.0)], False),
    "sum": ("Reduction", "0=0 1=0 -23303=1,0 4=1 5=1", [], False),
    "vector": ("InnerProduct", "0=4 1=0 2=8192", [np.full((4, 2048), 0.01)], True),
}


def written(folder: Path, head: str, shift: float = 0.0, name: str = "net") -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=16 1=16 2=8")
    x = net.layer("BinaryOp", "logits", [x], params=f"0=0 1=1 2={shift:g}")
    if head == "softplus":
        net.layer("Softplus", "head", [x], ["out0"])
    elif head == "elu":  # as the features of a linear attention
        x = net.layer("ELU", "elu", [x], params="0=1.0")
        net.layer("BinaryOp", "head", [x], ["out0"], "0=0 1=1 2=1.0")
    elif head == "absorbed":
        x = net.layer("UnaryOp", "negative", [x], params="0=1")
        x = net.layer("UnaryOp", "exponent", [net.layer("Softplus", "thickness", [x])], params="0=1")
        net.layer("UnaryOp", "head", [x], ["out0"], "0=7")
    elif head == "decoder":  # of a spectrum to which a mask is applied
        x, value = net.split(x, 2)
        x = net.layer("BinaryOp", "masked", [value, net.layer("Sigmoid", "mask", [x])], params="0=2")
        net.layer("Deconvolution", "head", [x], ["out0"], "0=4 1=1 5=0 6=32", [KERNEL])
    elif head == "region":  # of a map to which a mask is applied
        x, value = net.split(x, 2)
        x = net.layer("BinaryOp", "masked", [value, net.layer("Sigmoid", "mask", [x])], params="0=2")
        corners = [np.array([1.0, 1.0, 12.0, 12.0])]
        region = net.layer("MemoryData", "region", params="0=4", weights=corners, flagged=False)
        net.layer("ROIAlign", "head", [x, region], ["out0"], "0=4 1=4 2=1.0 3=2")
    else:
        kind, params, weights, flagged = HEADS[head]
        x = net.layer("Sigmoid", "probabilities", [x])
        net.layer(kind, "head", [x], ["out0"], params, weights, flagged)
    net.write(folder / name)


@pytest.mark.parametrize("head", [*HEADS, "decoder", "region", "softplus", "elu", "absorbed"])
def test_nothing_is_found_in_fp16_as_in_fp32(gate: Gate, pytester: pytest.Pytester, head: str) -> None:
    """And a model whose logits are higher by 9, so that it finds what is not there, is red."""
    written(pytester.path, head)
    written(pytester.path, head, shift=9.0, name="wrong")
    wrong = "{param: wrong.param, bin: wrong.bin}"
    networks.fed(pytester.path, COMPARE.replace("model: wrong", f"model: {wrong}"), in0=NOTHING)
    run = gate()
    assert run.ids("failed", FP16) == []
    assert "s::wrong::output:out0" in run.ids("failed", "wrong")
