"""Which parameters fp16 does not keep."""

from __future__ import annotations

import math

import graphs
import pytest

from pytest_ncnn_parity.network.constants import keeps_weights, lost_parameters
from pytest_ncnn_parity.network.graph import Layer


def layer(line: str) -> Layer:
    kind, _, params = line.partition(" ")
    return graphs.network(f"{kind} one in0 out0 {params}").names["one"]


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("BinaryOp 0=2 1=1 2=-1e9", {2: -1e9}),
        ("BinaryOp 0=2 1=1 2=1e-9", {2: 1e-9}),
        ("BinaryOp 0=2 1=1 2=3e-8", {2: 3e-8}),  # 6e-8 in fp16
        ("BinaryOp 0=2 1=1 2=1e-6", {}),
        ("BinaryOp 0=2 1=1 2=65504.0", {}),
        ("BinaryOp 0=2 1=1 2=0", {}),
        ("BinaryOp 0=2 2=-1e9", {}),  # without 1=1 it reads two values
        ("Clip 0=-3.402823e38 1=6.0", {0: -3.402823e38}),
        ("Sigmoid 0=1e9", {}),
        ("SELU", {}),
        ("SELU 0=5e4 1=2.0", {0: 1e5}),  # their product
        ("CELU 0=1e5", {0: 1e5}),
        ("Shrink 0=1e-9 1=1e9", {0: 1e-9, 1: 1e9}),
        ("Eltwise 0=1 -23301=2,1.0,1e5", {1: 1e5}),
        ("Eltwise 0=0 -23301=2,1.0,1e5", {}),  # a product has no coefficients
        ("Convolution 0=8 9=2 -23310=1,1e5", {10: 1e5}),
        ("Convolution 0=8 9=1 -23310=1,1e5", {}),  # a ReLU has no parameters
        ("Convolution 0=8 8=2 9=2 -23310=1,1e5", {}),  # nor is this one in fp16
        ("InnerProduct 0=8 9=3 -23310=2,-3e38,6.0", {10: -3e38}),
    ],
)
def test_parameters_that_fp16_does_not_keep(line: str, lost: dict[int, float]) -> None:
    assert {parameter.key: parameter.lost for parameter in lost_parameters(layer(line))} == lost


def test_what_a_layer_computes_with_instead() -> None:
    (slope,) = lost_parameters(layer("Convolution 0=8 9=3 -23310=2,-3e38,6.01"))
    assert (slope.array, slope.kept) == (True, (-math.inf, 6.01171875))
    (alpha,) = lost_parameters(layer("SELU 0=5e4 1=2.0"))
    assert alpha.kept == (math.inf,)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Convolution 0=8", True),
        ("Convolution 0=8 8=101", False),
        ("Scale 0=8", True),
        ("Embed 0=8", False),
        ("Gemm 5=1", True),
        ("Gemm 5=1 18=2", False),
        ("Gemm 5=1 18=400", False),  # blocks of 4 bits
        ("MultiHeadAttention 0=16 18=2", False),
    ],
)
def test_weights_that_are_kept_in_fp16(line: str, kept: bool) -> None:
    assert keeps_weights(layer(line)) == kept
