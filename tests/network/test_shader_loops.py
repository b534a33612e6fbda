"""How long the loops of ncnn's shaders are, where they go through rows or planes."""

from __future__ import annotations

import pytest
from written_graphs import network

from pytest_ncnn_parity.network.shader_loops import iterations

LANES = 8


@pytest.mark.parametrize(
    ("line", "shape", "count"),
    [
        ("Pooling x 1 1 in0 out0 0=1 7=1 8=1 18=1", (4, 256, 300), 256 * 301),
        ("Pooling x 1 1 in0 out0 0=1 7=1 8=2", (4, 256, 256), 128 * 129),
        ("Pooling x 1 1 in0 out0 0=1 7=1 8=1 18=-233", (4, 256, 300), 301),
        ("Pooling x 1 1 in0 out0 0=0 1=7 11=5", (4, 64, 64), 5 * 8),
        ("Pooling x 1 1 in0 out0 0=1 4=1", (4, 999, 999), 0),
        ("Pooling x 1 1 in0 out0 0=1 1=0", (4, 9, 9), 0),
        ("Softmax x 1 1 in0 out0 0=1 1=1", (6, 70_001), 70_001),
        ("Softmax x 1 1 in0 out0 0=0 1=1", (8, 10), 2),
        ("Softmax x 1 1 in0 out0 0=0 1=1", (7, 10), 7),
        ("Softmax x 1 1 in0 out0 0=5 1=1", (8, 10), 0),
        ("InstanceNorm x 1 1 in0 out0 0=4", (4, 640, 640), 102_400),
        ("GroupNorm x 1 1 in0 out0 0=32 1=64", (64, 512, 512), 131_072),
        ("GroupNorm x 1 1 in0 out0 0=1 1=6", (6, 10, 10), 150),
        ("LayerNorm x 1 1 in0 out0 0=100", (3, 10, 10), 26),
        ("RMSNorm x 1 1 in0 out0 0=100", (3, 100), 13),
        ("ReLU x 1 1 in0 out0", (4, 999, 999), 0),
    ],
)
def test_they_follow_from_the_layer_and_the_shape_of_its_input(
    line: str, shape: tuple[int, ...], count: int
) -> None:
    layer = network("Input in0 0 1 in0", line).layers[1]
    assert iterations(layer, shape, LANES) == count
