"""Which layers have a word in front of their weights that says in which format these are."""

from __future__ import annotations

import pytest
from written_graphs import network

from pytest_ncnn_parity.network.weight_tags import has_tagged_weights


@pytest.mark.parametrize(
    ("line", "tagged"),
    [
        ("Convolution x 1 1 in0 out0 0=4 1=3 6=108", True),
        ("Convolution x 2 1 in0 in0 out0 0=4 1=3 19=1", False),  # its weights are an input
        ("Deconvolution x 1 1 in0 out0 0=4 1=3 3=2 18=1 19=1 6=108", True),  # 19: output_pad_bottom
        ("DeconvolutionDepthWise x 2 1 in0 in0 out0 0=4 1=3 28=1 7=4", False),
        ("Gemm x 1 1 in0 out0 3=1 5=1 8=4 9=3", True),
        ("Gemm x 2 1 in0 in0 out0 3=1", False),
        ("LSTM x 1 1 in0 out0 0=4 1=64", True),
        ("Scale x 1 1 in0 out0 0=3", False),
    ],
)
def test_which_weights_may_be_in_any_format(line: str, tagged: bool) -> None:
    assert has_tagged_weights(network("Input in0 0 1 in0", line).layers[1]) is tagged
