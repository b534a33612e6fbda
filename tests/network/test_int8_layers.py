"""What a .param says about values in int8."""

import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import (
    computes_in_int8,
    gives_int8,
    int8_blobs,
    misreads_int8,
    rounds_to_int8,
)
from pytest_ncnn_parity.network.operators import operator


def layer(params: str, kind: str = "Convolution") -> Layer:
    return fed(f"{kind} a 1 1 in0 a {params}").layers[1]


@pytest.mark.parametrize(
    ("kind", "params", "computes", "gives"),
    [
        ("Convolution", "0=8", False, False),
        ("Convolution", "0=8 8=0", False, False),
        ("Convolution", "0=8 8=2", True, False),
        ("Convolution", "0=8 8=102", True, True),
        ("ConvolutionDepthWise", "8=1", True, False),
        ("ConvolutionDepthWise", "8=101", True, True),
        ("InnerProduct", "8=2", True, False),
        ("Pooling", "8=101", False, False),
        ("Quantize", "", False, True),
    ],
)
def test_which_layers_take_and_give_int8(kind: str, params: str, computes: bool, gives: bool) -> None:
    one = layer(params, kind)
    assert (computes_in_int8(one), gives_int8(one)) == (computes, gives)
    assert rounds_to_int8(one) == (computes or gives)
    assert operator(one) == (f"int8 {kind}" if computes else kind)


@pytest.mark.parametrize(("kind", "params"), [("Gemm", "18=2"), ("SDPA", "18=2"), ("LSTM", "8=2")])
def test_layers_that_find_their_scales_as_values_come(kind: str, params: str) -> None:
    assert rounds_to_int8(layer(params, kind))
    assert not computes_in_int8(layer(params, kind))
    assert not rounds_to_int8(layer("0=1", kind))


def test_int8_is_handed_on_until_a_layer_makes_floats_of_it() -> None:
    graph = fed(
        "Convolution a 1 1 in0 a 8=102",
        "Split s 1 2 a left right",
        "ReLU r 1 1 left held",
        "Concat c 2 1 held right both",
        "ConvolutionDepthWise d 1 1 both d 8=1",
        "ReLU last 1 1 d out0",
        "Quantize q 1 1 out0 whole",
        "Dequantize f 1 1 whole out1",
    )
    assert int8_blobs(graph) == {"a", "left", "right", "held", "both", "whole"}


@pytest.mark.parametrize(
    ("kind", "params", "takes_it_for"),
    [
        ("Dequantize", "0=1", "32-bit integers"),
        ("Requantize", "0=1 1=1", "32-bit integers"),
        ("Embed", "0=4 1=9", "32-bit integers"),
        ("Yolov3DetectionOutput", "0=2", "floats"),
        ("StatisticsPooling", "0=1", "floats"),
        ("Sigmoid", "", "floats"),
        ("Pooling", "0=0 1=2 2=2", "floats"),
        ("Tile", "0=0 1=2", "floats"),
        ("Flip", "-23300=1,-1", "floats"),
        ("GLU", "", "floats"),
        ("Spectrogram", "0=16", "floats"),
        ("Convolution", "0=8", "floats"),
        ("Convolution", "0=8 8=2", ""),
        ("Convolution", "0=8 8=102", ""),
        ("InnerProduct", "0=8", "floats"),
        ("ReLU", "", ""),
        ("ReLU", "0=0.1", "floats"),
        ("ReLU", "0=0.0", ""),
        ("Dropout", "", ""),
        ("Dropout", "0=0.5", "floats"),
        ("Concat", "0=0", ""),
        ("Concat", "0=1", "floats"),
        ("Split", "", ""),
        ("Padding", "0=1 1=1", ""),
        ("Unheard", "", ""),
    ],
)
def test_which_layers_take_int8_for_more_bytes_than_there_are(
    kind: str, params: str, takes_it_for: str
) -> None:
    assert misreads_int8(layer(params, kind)) == takes_it_for
