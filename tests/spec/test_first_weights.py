"""A first spec feeds bytes to a network beside whose first biases values of 0 to 1 are lost."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from written_graphs import network

from pytest_ncnn_parity.network import weight_tags
from pytest_ncnn_parity.spec.first_inputs import first_inputs

Kind = tuple[int, str]  # a tag, and the letter of a number
FP32, FP16 = (weight_tags.FP32, "f"), (weight_tags.FP16, "e")
CONVOLUTION = "Convolution conv 1 1 {} out0 0=3 1=1 5=1 6=9"


def fed(folder: Path, weight: float, bias: float, kind: Kind, *before: str) -> str:
    """The source and the comments of a 1x1 convolution with 9 equal weights and 3 equal biases."""
    tag, letter = kind
    halves = struct.pack(f"<9{letter}", *[weight] * 9)
    padding = bytes(-len(halves) % 4)
    content = struct.pack("<I", tag) + halves + padding + struct.pack("<3f", *[bias] * 3)
    (folder / "net.bin").write_bytes(content)
    reads = before[-1].split()[5] if before else "in0"
    lines = ["Input in0 0 1 in0", *before, CONVOLUTION.format(reads)]
    (first,) = first_inputs(network(*lines), folder / "net.param")
    return "\n".join([first.source, *first.comments])


@pytest.mark.parametrize("kind", [FP32, FP16], ids=["fp32", "fp16"])
def test_large_biases_ask_for_bytes(kind: Kind, tmp_path: Path) -> None:
    asked = fed(tmp_path, 0.01, 1.0, kind)
    assert "high: 255," in asked
    assert "# Values up to 1 are lost beside the biases of conv: it is fed with bytes." in asked
    assert "high: 1," in fed(tmp_path, 0.5, 1.0, kind)
    assert "high: 1," in fed(tmp_path, 0.01, 0.0, kind)


def test_behind_copies_as_well_and_not_behind_other_weights(tmp_path: Path) -> None:
    assert "high: 255," in fed(tmp_path, 0.01, 1.0, FP32, "Split copies 1 1 in0 a")
    assert "high: 1," in fed(tmp_path, 0.01, 1.0, FP32, "Scale scale 1 1 in0 a 0=3")


def test_weights_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    assert "high: 1," in fed(tmp_path, 0.01, 1.0, (weight_tags.INT8, "f"))
    whole = (tmp_path / "net.bin").read_bytes()
    lines = ["Input in0 0 1 in0", CONVOLUTION.format("in0")]
    graph = network(*lines)
    for content in (b"", whole[:3], bytes(4) + whole[4:-1]):
        (tmp_path / "net.bin").write_bytes(content)
        assert "high: 1," in next(iter(first_inputs(graph, tmp_path / "net.param"))).source
