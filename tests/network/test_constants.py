"""Which parameters fp16 makes inf or 0."""

from __future__ import annotations

import graphs
import pytest

from pytest_ncnn_parity.network.constants import keeps_weights, lost_parameters
from pytest_ncnn_parity.network.graph import Layer


def layer(line: str) -> Layer:
    kind, params = line.split(" ", 1)
    return graphs.network(f"{kind} one in0 out0 {params}").names["one"]


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("BinaryOp 0=2 1=1 2=-1e9", {2: -1e9}),
        ("BinaryOp 0=2 1=1 2=1e-9", {2: 1e-9}),
        ("BinaryOp 0=2 1=1 2=65504.0", {}),
        ("BinaryOp 0=2 1=1 2=0", {}),
        ("BinaryOp 0=2 2=-1e9", {}),  # without 1=1 it reads two values
        ("Clip 0=-3.402823e38 1=6.0", {0: -3.402823e38}),
        ("Sigmoid 0=1e9", {}),
    ],
)
def test_parameters_that_fp16_does_not_keep(line: str, lost: dict[int, float]) -> None:
    assert dict(lost_parameters(layer(line))) == lost


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Convolution 0=8", True),
        ("Convolution 0=8 8=101", False),
        ("Scale 0=8", True),
        ("Embed 0=8", False),
    ],
)
def test_weights_that_are_kept_in_fp16(line: str, kept: bool) -> None:
    assert keeps_weights(layer(line)) == kept
