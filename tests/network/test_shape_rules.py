"""Which shapes each operator takes: what does not fit is reported, and nothing else is."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_graphs import network

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.network.shapes.rules.hints import contradicted
from pytest_ncnn_parity.network.shapes.rules.outcomes import outcome
from pytest_ncnn_parity.network.shapes.rules.table import (
    RULES,
    misshaped,
    of_another_size,
    remedy,
    unfit,
)

Shapes = list[tuple[int, ...]]


def layer(text: str, inputs: int, outputs: int = 1) -> Layer:
    """A layer written `Type params...`, with so many inputs and outputs."""
    kind, *params = text.split()
    blobs = [f"b{i}" for i in range(inputs)]
    tops = [f"out{i}" for i in range(outputs)]
    lines = [*(f"Input {blob} 0 1 {blob}" for blob in blobs)]
    lines.append(" ".join([kind, "it", str(inputs), str(outputs), *blobs, *tops, *params]))
    return network(*lines).layers[-1]


def misfit_of(text: str, *shapes: tuple[int, ...], outputs: int = 1) -> str:
    return unfit(layer(text, len(shapes), outputs), shapes)


IK_JK = f"-23300=9,{','.join(map(str, b'ik,jk->ij'))}"  # an equation
# query, key and value of 6 steps each, and the keys and values of 5 before them
CACHED: Shapes = [(4, 6, 16), (2, 6, 16), (2, 6, 8), (2, 5, 16), (2, 5, 8)]
FITS: list[tuple[str, Shapes]] = [
    ("Reshape 0=1024 1=4", [(4, 32, 32)]),
    ("Reshape 0=-1", [(4, 32, 32)]),
    ("Reshape 0=0 1=-1", [(4, 6, 10)]),
    ("Reshape 0=0 1=0 2=-1", [(4, 6, 10)]),
    ("Reshape 0=5 1=2 11=6 2=-1", [(4, 6, 10)]),
    ('Reshape 6="//(0w,2),*(0h,2),0c"', [(4, 6, 10)]),
    ('Reshape 6="1w,1h,-1"', [(240,), (7, 6, 10)]),
    ("Padding 2=-2", [(3, 6, 11)]),
    ("Padding 7=-1", [(8, 32, 32)]),
    ('Reshape 6="sqrt(16),24"', [(7,)]),  # worked out when it runs
    ('Reshape 6="//(0w,0),24"', [(7,)]),
    ("BinaryOp 0=0 1=1 2=0.5", [(3, 4, 5)]),
    ("BinaryOp 0=0", [(3, 4, 5), (3, 4, 5)]),
    ("BinaryOp 0=0", [(3, 4, 5), (3, 1, 1)]),
    ("BinaryOp 0=0", [(1, 4, 1), (3, 1, 5)]),
    ("BinaryOp 0=0", [(3, 4, 5), (1,)]),
    ("BinaryOp 0=0", [(3, 4, 5), (3,)]),  # a vector goes along the channels if it can
    ("BinaryOp 0=0", [(3, 4, 5), (5,)]),  # and along w if not
    ("BinaryOp 0=0", [(3, 4), (3, 4, 5)]),  # (h, w) are taken for (c, h)
    ("BinaryOp 0=0", [(3, 2, 4), (3, 2, 4, 5)]),
    ("Eltwise 0=1", [(3, 4, 5), (3, 4, 5), (3, 4, 5)]),
    ("Eltwise 0=1", [(16,), (16, 1, 1)]),
    ("Concat 0=0", [(3, 4, 5), (7, 4, 5)]),
    ("Concat 0=-1", [(3, 4, 5), (3, 4, 1)]),
    ("Concat 0=1", [(3, 2, 4, 5), (3, 7, 4, 5)]),
    ("Concat 0=2", [(3,), (7,)]),  # a vector has one axis
    ("Concat 0=0", [(4, 3), (3,)]),  # a vector that no device packs is a row
    ("Concat 0=0", [(4, 1, 6), (6,)]),
    ("Convolution 0=4 1=3 6=108", [(3, 3, 3)]),
    ("Convolution 0=4 1=3 6=36", [(7, 10)]),  # one channel of 7 rows, which no pack divides
    ("Convolution 0=4 1=3 4=1 6=36", [(8, 10)]),  # unpacked, to be padded
    ("Convolution 0=4 1=3 11=1 6=12", [(7,)]),
    ("ConvolutionDepthWise1D 0=1 1=3 6=3 7=1", [(8,)]),
    ("PixelShuffle 0=1", [(8, 8)]),
    ("Permute 0=3", [(4, 5, 6)]),
    ("Permute 0=3", [(4,)]),
    ("Convolution 0=4 1=3 11=1 6=36", [(3, 1, 3)]),
    ("Convolution 0=4 1=3 4=1 6=108", [(3, 1, 1)]),
    ("Convolution 0=4 1=3 2=4 3=2 4=-233 15=-233 14=-233 16=-233 6=108", [(3, 1, 1)]),
    ("Convolution 0=4 1=1 6=64", [(16,)]),  # an InnerProduct of old
    ("Convolution 0=4 1=1 6=4", [(5, 7)]),  # one channel
    ("Convolution 0=4 1=3 19=1", [(3, 8, 8), (4, 3, 3, 3)]),
    ("ConvolutionDepthWise 0=8 1=3 6=72 7=8", [(8, 8, 8)]),
    ("ConvolutionDepthWise 0=16 1=3 6=144 7=8", [(8, 8, 8)]),
    ("ConvolutionDepthWise 0=8 1=3 6=288 7=2", [(8, 8, 8)]),
    ("Convolution1D 0=4 1=3 6=96", [(8, 3)]),
    ("Convolution1D 0=4 1=3 6=96", [(1, 8, 3)]),  # exported with its batch
    ("Deconvolution1D 0=4 1=3 6=96", [(1, 8, 3)]),
    ("Pooling1D 0=1 1=3", [(1, 8, 3)]),
    ("Convolution3D 0=4 1=3 6=324", [(3, 3, 3, 3)]),
    ("Convolution3D 0=4 1=3 21=1 6=108", [(3, 8, 8)]),  # of depth 1
    ("Pooling3D 0=1 1=2 2=2 21=1 22=1 5=1", [(4, 8, 8)]),
    ("Deconvolution 0=4 1=2 3=2 6=48", [(3, 1, 1)]),
    ("DeconvolutionDepthWise 0=8 1=2 3=2 6=32 7=8", [(8, 1, 1)]),
    ("Pooling 0=0 1=7 5=1", [(3, 7, 7)]),
    ("Pooling 0=0 1=7 5=2", [(3, 2, 2)]),
    ("Pooling 0=0 4=1", [(3, 2, 2)]),
    ("Pooling 0=0 1=2 2=2", [(6, 8)]),
    ("Pooling 0=1 7=1 8=7", [(3, 2, 2)]),
    ("Pooling 0=0 1=3 2=2 5=1 3=1", [(64, 1, 1)]),
    ("Crop 0=2 1=2 3=-233 4=-233 5=-233 6=2 7=2", [(3, 8, 8)]),
    ("Crop -23309=1,0 -23310=1,16 -23311=1,0", [(16, 8, 8)]),
    ("Crop -23309=1,2 -23310=1,2147483647 -23311=1,-1", [(16, 8, 8)]),
    ("Crop -23309=1,-3 -23310=1,-233 -23311=1,1", [(16, 8, 8)]),
    ("Crop 0=2 1=2", [(3, 8, 8), (2, 4, 4)]),
    ("Crop 2=4 3=-233 4=-233 5=4", [(6, 8, 8)]),  # as much as there is
    ("Crop 0=-233", [(3, 8, 8), (6,)]),
    ("Slice -23300=2,-233,-233", [(7, 4, 4)]),
    ("Slice -23300=2,3,4 1=-1", [(2, 4, 7)]),
    ("Slice -23300=2,2,4 1=0", [(7, 3, 4)]),  # the rest goes nowhere
    ("Slice -23302=1,3", [(7, 4, 4)]),
    ("Slice -23302=1,-3", [(7, 4, 4)]),
    ("Unfold 1=3", [(3, 3, 3)]),
    ("Interp 0=1 1=0.5 2=0.5", [(3, 2, 2)]),
    ("Interp 0=1 1=0.1 2=0.1 3=4 4=4", [(3, 2, 2)]),
    ("Interp 0=2 1=1.0 2=0.25", [(2, 4)]),
    ("Padding 0=9 1=9 2=9 3=9", [(3, 4, 4)]),
    ("Padding 0=3 1=3 2=3 3=3 4=2", [(3, 4, 4)]),
    ("PixelShuffle 0=2", [(12, 4, 4)]),
    ("InnerProduct 0=10 2=480", [(3, 4, 4)]),
    ("InnerProduct 0=10 2=480", [(7, 48)]),
    ("InnerProduct 0=10 2=480", [(48,)]),
    ("LSTM 0=8 1=512 2=0", [(5, 16)]),
    ("LSTM 0=8 1=1024 2=2", [(5, 16)]),
    ("GRU 0=8 1=384", [(5, 16)]),
    ("RNN 0=8 1=128", [(5, 16)]),
    ("MatMul", [(3, 4, 5), (3, 5, 6)]),
    ("MatMul 0=1", [(3, 4, 5), (6, 5)]),
    ("MatMul", [(5,), (2, 5, 6)]),
    ("MatMul", [(2, 4, 5), (5,)]),
    ("MatMul", [(2, 3, 4, 5), (3, 5, 6)]),
    ("MatMul", [(2, 3, 4, 5), (2, 1, 5, 6)]),
    ("Gemm", [(4, 5), (5, 6)]),
    ("Gemm 2=1 3=1", [(5, 4), (6, 5)]),
    ("Gemm", [(5,), (5, 6)]),
    ("Gemm", [(4, 1, 5), (5, 6)]),
    ("Gemm", [(4, 5), (5, 6), (6,)]),
    ("Gemm", [(4, 5), (5, 6), (4, 1)]),
    ("Gemm 3=1 5=1 6=1 8=6 9=5 10=4", [(4, 5)]),
    ("Gemm 2=1 4=1 6=1 7=4 9=5", [(5, 6)]),
    ("MultiHeadAttention 0=16 1=4 2=256", [(5, 16)]),
    ("MultiHeadAttention 0=16 1=4 2=256", [(5, 16), (7, 16)]),
    ("MultiHeadAttention 0=16 1=4 2=256 3=8 4=6", [(5, 16), (7, 8), (7, 6)]),
    ("MultiHeadAttention 0=16 1=4 2=256 5=1", [(5, 16), (5, 5)]),
    ("SDPA", [(4, 6, 16), (2, 9, 16), (2, 9, 8)]),
    ("BatchNorm 0=3", [(3, 4, 4)]),
    ("BatchNorm 0=3", [(3, 4)]),
    ("Scale 0=-233", [(3, 4, 4), (3,)]),
    ("PReLU 0=1", [(3, 4, 4)]),
    ("InstanceNorm 0=0 2=0", [(3, 4, 4)]),
    ("GroupNorm 0=2 1=4", [(4, 4, 4)]),
    ("LayerNorm 0=16", [(3, 4, 4)]),
    ("LayerNorm 0=4", [(3, 4, 4)]),
    ("LayerNorm 0=4 2=0", [(3, 4, 4)]),
    ("InstanceNorm 0=1", [(4, 4)]),
    ("Reorg 0=2", [(3, 2, 5)]),
    ("Reorg 0=2", [(4, 4)]),
    ("Diag", [(4, 5)]),
    ("Pooling3D 0=0 4=1", [(3, 4, 4, 4)]),
    ("Crop -23309=1,1 -23310=1,-233", [(4,)]),
    ("RMSNorm 0=4", [(7, 4)]),
    ("Bias 0=3", [(3, 4, 4)]),
    ("Bias 0=3", [(5, 4)]),  # the first is added to all
    ("Normalize 1=1 3=1", [(3, 4, 4)]),
    ("Normalize 3=3", [(3, 4, 4)]),
    ("Normalize 0=1 1=1 3=1", [(8,)]),
    ("Normalize 0=1 3=1 4=0", [(3, 8)]),
    ("Quantize 0=1", [(3, 4, 4)]),
    ("Quantize 0=3", [(3, 4)]),
    ("Quantize 0=3", [(5,)]),  # the first is for all
    ("Dequantize 0=1 1=3", [(3, 4, 4)]),
    ("Requantize 0=3 1=1 2=3", [(3, 4, 4)]),
    ("ShuffleChannel 0=3", [(6, 4, 4)]),
    ("ShuffleChannel 0=2 1=1", [(6, 4, 4)]),
    ("GLU 0=0", [(6, 3, 3)]),
    ("GLU 0=-1", [(3, 3, 4)]),
    ("GLU 0=2", [(4,)]),  # a vector has one axis
    ("Softmax 0=-3", [(3, 4, 4)]),
    ("Softmax 0=2", [(4,)]),  # a vector has one axis
    ("CopyTo", [(3, 8, 8), (3, 8, 8)]),
    ("CopyTo 0=2 1=4 2=1", [(3, 8, 8), (2, 4, 6)]),
    ("CopyTo -23309=1,-4 -23311=1,1", [(3, 8, 8), (3, 4, 8)]),
    ("Fold 1=3 4=1 20=10", [(18, 100)]),
    ("Fold 1=2 3=2 20=6 21=8", [(4, 12)]),
    ("DeformableConv2D 0=8 1=3 4=1 6=432", [(6, 8, 8), (18, 8, 8), (9, 8, 8)]),
    ("DeformableConv2D 0=8 1=3 3=2 6=432", [(6, 9, 7), (18, 4, 3)]),
    ("GridSample", [(4, 8, 8), (6, 5, 2)]),
    ("GridSample 3=1", [(4, 8, 8), (2, 6, 5)]),
    ("GridSample", [(4, 8, 8, 8), (6, 5, 7, 3)]),
    ("PSROIPooling 0=3 1=3 3=2", [(18, 8, 8), (4,)]),
    ("ROIPooling 0=3 1=3", [(18, 8, 8), (4,)]),
    ("ROIAlign 0=3 1=3", [(18, 8, 8), (1, 4)]),
    ("ROIAlign 0=3 1=3", [(18, 8, 8), (20, 1, 4)]),  # as Proposal makes them; the first is taken
    ("DetectionOutput 0=3", [(32,), (24,), (2, 32)]),
    ("DetectionOutput 0=3", [(8, 4), (8, 3), (1, 2, 32)]),
    ("DetectionOutput 0=-233", [(32,), (3, 8), (8, 4)]),
    ("Spectrogram 0=64", [(33,)]),
    ("Spectrogram 0=64 5=0", [(64,)]),
    ("Spectrogram 0=64 6=0", [(1,)]),
    ("LSTM 0=8 1=512", [(5, 16), (1, 8), (1, 8)]),
    ("LSTM 0=8 1=512", [(1, 5, 16)]),
    ("LSTM 0=4 1=512 3=8", [(5, 16), (4,), (8,)]),  # projected
    ("GRU 0=8 1=768 2=2", [(5, 16), (2, 8)]),
    ("MultiHeadAttention 0=16 1=4 2=256 5=1", [(5, 16), (7, 16), (4, 5, 7)]),
    ("SDPA 5=1", [(4, 6, 16), (2, 9, 16), (2, 9, 8), (6, 9)]),
    ("SDPA 5=1", [(4, 6, 16), (2, 9, 16), (2, 9, 8), (1, 6, 9)]),
    ("RotaryEmbed", [(2, 6, 16), (6, 8), (6, 8)]),
    ("RotaryEmbed", [(2, 6, 16), (99, 8), (99, 8)]),  # for longer sequences as well
    ("RotaryEmbed", [(2, 6, 16), (6, 16), (6, 16)]),  # each half of a row has its own
    ("SomebodysOwn 0=7", [(3, 4, 4)]),
    (f"Einsum {IK_JK}", [(12, 16), (9, 16)]),
    ("Einsum -23300=2,105,105", [(4, 4)]),
    ("Einsum", [(12, 16), (9, 15)]),  # ncnn refuses a file without an equation
    ("SDPA 5=1 7=1", [*CACHED[:3], (6, 11), *CACHED[3:]]),
    ("SDPA 7=1", CACHED),
    ("SDPA 7=1", [(4, 6, 16), (1, 6, 16), (1, 6, 8), (5, 16), (5, 8)]),
    ("MultiHeadAttention 0=16 1=4 2=256", [(16,)]),
    ("Proposal", [(18, 8, 9), (36, 8, 9), (3,)]),
    ("Yolov3DetectionOutput 0=2 1=3", [(21, 8, 8), (21, 4, 4)]),
    ("YoloDetectionOutput", [(125, 8, 8)]),
    ("CumulativeSum 0=-2", [(4, 9)]),
    ("CumulativeSum 0=2", [(9,)]),
    ("Reduction 1=0 -23303=2,0,-1", [(4, 9)]),
    ("Reduction 1=1 -23303=1,2", [(4, 9)]),
    ("Flip -23300=1,-2", [(4, 9)]),
    ("InverseSpectrogram 0=64 2=16", [(33, 30, 2)]),
    ("InverseSpectrogram 0=64 2=16", [(64, 30, 2)]),
    ("InverseSpectrogram 0=64 5=0", [(33, 1, 2)]),
    ("Spectrogram 0=64", [(1, 400)]),
]


@pytest.mark.parametrize(("text", "shapes"), FITS, ids=[f"{t} {s}" for t, s in FITS])
def test_nothing_is_reported_of_what_fits(text: str, shapes: Shapes) -> None:
    outputs = 2 if text.startswith("Slice") else 1
    assert misfit_of(text, *shapes, outputs=outputs) == ""


MISFITS: list[tuple[str, Shapes, str]] = [  # and what is reported beside the shapes that came
    ("Reshape 0=1024 1=4", [(4, 16, 16)], "4096"),
    ("Reshape 0=1024", [(4, 32, 32)], "1024"),
    ('Reshape 6="0w,1w,2"', [(7, 4)], "asks for 1w"),
    ('Reshape 6="10,24"', [(7,)], '[24, 10] by "10,24", which needs 240'),
    ('Reshape 6="1w,1h,17"', [(16, 32, 32), (16, 32, 32)], '"1w,1h,17", which needs 17408'),
    ('Reshape 6="+(0w,1),-1"', [(4, 6)], '"+(0w,1),-1", which needs a multiple of 7'),
    ('Reshape 6="1x,0h"', [(4, 6)], '[4, 1] by "1x,0h", which needs 4'),  # 1x is 1 to ncnn
    ('Reshape 6="0w,-(0h,half)"', [(4, 6)], "its 6= has 'half', which is no size"),
    ("Padding 0=-1 1=-1 2=-1 3=-1", [(8, 32, 32)], "its padding is negative, -1"),
    ("Padding 2=-2", [(3, 32, 32)], "its padding is negative, -2"),
    ("Padding 2=-2", [(8, 6, 6)], "its padding is negative, -2"),  # packed
    ("Padding 2=1 3=-1 4=1", [(3, 6, 6)], "its padding is negative, -1"),
    ('Interp 9="2w,0h"', [(3, 4, 5), (3, 8, 10)], "its 9= asks for 2w"),
    ('Interp 9="width,0h"', [(3, 4, 5)], "its 9= has 'width'"),
    ('Crop 19="0" 20="1h" 21="2"', [(3, 4, 5)], "its 20= asks for 1h"),
    ('Crop 19="0" 20="+(0w,1)" 21="axis"', [(3, 4, 5)], "its 21= has 'axis'"),
    ('Crop 19="0w" 20="+(0w,1)" 21="2"', [(3, 4, 5)], "keeps nothing along axis 2"),
    ("Reshape 0=-1 1=7", [(4, 32, 32)], "multiple of 7"),
    ("Reshape 0=8 1=4 2=0", [(16, 16, 16)], "[16, 4, 8]"),
    ("BinaryOp 0=0", [(16, 32, 64), (64, 32, 64)], "broadcast"),
    ("BinaryOp 0=0", [(3, 4, 5), (4, 5)], "[4, 5, 1]"),  # as numpy would, ncnn does not
    ("BinaryOp 0=2", [(3, 4, 5), (4,)], "[1, 1, 4]"),
    ("BinaryOp 0=2", [(5,), (6,)], "broadcast"),
    ("Eltwise 0=1", [(3, 4, 5), (3, 4, 6)], "one shape"),
    ("Eltwise 0=1", [(8, 6), (6, 8)], "one shape"),
    ("Eltwise 0=0", [(3, 4, 5), (3, 1, 1)], "one shape"),
    ("Eltwise 0=1", [(4, 2, 2), (2, 4, 2)], "one shape"),
    ("Concat 0=0", [(8, 24, 24), (3, 26, 26)], "axis 0"),
    ("Concat 0=-1", [(8, 24, 24), (8, 26, 24)], "axis 2"),
    ("Concat 0=2", [(8, 24), (8, 24)], "no axis 2"),
    ("Concat 0=1", [(3, 2, 4, 5), (3, 2, 4, 6)], "axis 1"),
    (
        "Concat 0=0",
        [(150, 32), (32,), (32,)],
        "[32] and [32], which ncnn packs along other axes",
    ),
    ("Concat 0=0", [(3, 4, 5), (4, 5)], "as many axes"),
    ("Concat 0=1", [(4, 3), (1, 4, 3)], "as many axes"),
    ("Convolution 0=10 1=3 6=270", [(12, 12, 3)], "for 3"),
    ("Convolution 0=10 1=3 6=270", [(3, 2, 3)], "3x3 does not fit into 2x3"),
    ("Convolution 0=10 1=3 2=4 4=1 6=270", [(3, 5, 8)], "9x9 does not fit into 5x8 (7x10"),
    ("Convolution 0=4 1=1 6=64", [(15,)], "for 16"),
    ("Convolution 0=4 1=1 6=4", [(16,)], "for 1"),
    ("Convolution 0=4 1=3 6=36", [(8, 10)], "feed [1, 8, 10]"),
    ("Convolution 0=4 1=3 11=1 6=12", [(8,)], "feed [1, 8]"),
    ("Convolution 0=4 1=3 4=1 6=36", [(10,)], "3x3 does not fit into 1x10"),
    ("Convolution1D 0=4 1=3 6=12", [(12,)], "feed [1, 12]"),
    ("ConvolutionDepthWise 0=1 1=3 4=1 6=9 7=1", [(8, 10)], "feed [1, 8, 10]"),
    ("Deconvolution 0=4 1=2 3=2 4=1 6=16", [(12, 10)], "feed [1, 12, 10]"),
    ("PixelShuffle 0=2", [(8, 8)], "multiple of 4"),
    ("Permute 0=3", [(4, 8)], "order 3"),
    ("Convolution 0=4 1=3 6=100", [(3, 8, 8)], "100 weights"),
    ("Convolution 0=4 1=3 19=1", [(5, 8, 8), (4, 3, 3, 3)], "for 3"),
    ("ConvolutionDepthWise 0=8 1=5 6=200 7=8", [(8, 4, 4)], "5x5 does not fit into 4x4"),
    ("ConvolutionDepthWise 0=8 1=3 6=72 7=8", [(4, 8, 8)], "for 8"),
    ("Convolution1D 0=4 1=3 6=96", [(7, 9)], "for 8"),
    ("Convolution1D 0=4 1=3 6=96", [(8, 2)], "3 does not fit into 2"),
    ("Convolution3D 0=4 1=3 6=324", [(3, 2, 3, 3)], "3x3x3 does not fit into 2x3x3"),
    ("Convolution3D 0=4 1=3 4=1 6=108", [(4, 8, 8)], "of 4 channels; its weights are for 1"),
    ("Convolution3D 0=4 1=3 4=1 6=432", [(4, 8, 8)], "ncnn pads none: feed [4, 1, 8, 8]"),
    ("Deconvolution 0=4 1=2 3=2 6=48", [(4, 8, 8)], "for 3"),
    ("Deconvolution 0=4 1=4 3=2 4=3 6=192", [(3, 2, 2)], "cut away 6"),
    ("Pooling 0=0 1=7 5=1", [(3, 6, 7)], "7x7 does not fit into 6x7"),
    ("Pooling 0=0 1=2 2=2", [(8, 6)], "feed [1, 8, 6]"),
    ("Pooling 0=1 4=1", [(8,)], "feed [1, 8]"),
    ("Pooling 0=0 1=3 2=2", [(3, 1, 1)], "3x3 does not fit into 1x1"),
    ("Pooling 0=0 1=2 2=2", [(3, 10, 1)], "a window of 2 in steps of 2 along w begins behind the end"),
    ("Pooling 0=1 1=3 2=2", [(3, 2, 2)], "at 2 of 2, and pools nothing"),
    ("Pooling 0=0 1=1 2=2", [(3, 9, 10)], "a window of 1 in steps of 2 along w"),
    ("Crop 0=8 1=0 3=-233 4=-233 5=-233", [(6, 8, 8)], "nothing along axis 2"),
    ("Crop -23309=1,8 -23310=1,20 -23311=1,0", [(8, 4, 4)], "nothing along axis 0"),
    ("Crop -23309=1,-9 -23310=1,4 -23311=1,0", [(8, 4, 4)], "axis 0"),
    ("Crop 0=2 1=2", [(3, 8, 8), (3, 7, 7)], "axis 1"),
    ("Slice -23300=2,4,4", [(7, 4, 4)], "4, 4"),
    ("Slice -23300=2,-233,-233", [(1, 4, 4)], "0, 1"),
    ("Slice -23300=2,2,4 1=2", [(3, 4, 7)], "2, 4"),  # the rest of a row would go to the next
    ("Slice -23302=1,9", [(7, 4, 4)], "9, -2"),
    ("Slice -23300=2,2,2 1=2", [(4, 4)], "no axis 2"),
    ("Unfold 1=3", [(3, 2, 4)], "3x3 does not fit into 2x4"),
    ("Interp 0=1 1=0.5 2=0.5", [(3, 1, 2)], "0x1"),
    ("Padding 2=4 3=4 4=2", [(3, 4, 4)], "at most 3"),
    ("PixelShuffle 0=2", [(10, 4, 4)], "multiple of 4"),
    ("InnerProduct 0=10 2=480", [(3, 4, 5)], "for 48"),
    ("InnerProduct 0=10 2=480", [(48, 7)], "for 48"),
    ("LSTM 0=8 1=512", [(16, 5)], "rows of 16"),
    ("LSTM 0=8 1=512", [(5, 1, 16)], "reads [1, 16] of it"),
    ("GRU 0=8 1=384", [(5, 2, 16)], "reads [2, 16] of it"),
    ("GRU 0=8 1=768 2=2", [(5, 17)], "rows of 16"),
    ("RNN 0=8 1=128", [(5, 17)], "rows of 16"),
    ("MatMul", [(4, 5), (6, 5)], "rows of 5 times columns of 6"),
    ("MatMul 0=1", [(4, 5), (5, 6)], "columns of 6"),
    ("MatMul", [(3, 4, 5), (2, 5, 6)], "matrices"),
    ("Gemm", [(4, 5), (6, 5)], "columns of 6"),
    ("Gemm 3=1 5=1 6=1 8=6 9=5 10=4", [(4, 7)], "columns of 5"),
    ("Gemm", [(4, 5), (5, 6), (3, 6)], "[4, 6]"),
    ("MultiHeadAttention 0=16 1=4 2=256", [(5, 17)], "rows of 16"),
    ("MultiHeadAttention 0=16 1=4 2=256", [(5, 16), (7, 16), (8, 16)], "as many rows"),
    ("SDPA", [(4, 6, 16), (2, 9, 15), (2, 9, 8)], "columns"),
    ("SDPA", [(4, 6, 16), (2, 9, 16), (2, 8, 8)], "rows"),
    ("SDPA", [(4, 6, 16), (3, 9, 16), (3, 9, 8)], "multiple"),
    ("BatchNorm 0=3", [(4, 4, 4)], "for 3"),
    ("Scale 0=3", [(4, 4)], "for 3"),
    ("Scale 0=-233", [(4, 4, 4), (3,)], "for 3"),
    ("PReLU 0=3", [(4, 4, 4)], "for 3"),
    ("InstanceNorm 0=3", [(4, 4, 4)], "for 3"),
    ("GroupNorm 0=1 1=3", [(4, 4, 4)], "for 3"),
    ("LayerNorm 0=16", [(16, 4)], "for 16"),
    ("LayerNorm 0=5 2=0", [(3, 4, 4)], "for 5"),  # the CPU takes whole channels, and Vulkan 5 elements
    ("InstanceNorm 0=4 2=0", [(8, 4, 4)], "for 4"),
    ("InstanceNorm 0=8 2=0", [(8, 4)], "feed [channels, h, w]"),
    ("Reorg 0=2", [(8,)], "2x2 does not fit into 1x8"),
    ("Diag", [(3, 4, 4)], "a vector or a matrix"),
    ("Convolution1D 0=4 1=3 6=96", [(8, 8, 8)], "of 3 axes"),
    ("Convolution1D 0=4 1=3 6=96", [(1, 7, 9)], "for 8"),
    ("Convolution1D 0=4 1=3 6=96", [(1, 8, 2)], "3 does not fit into 2"),
    ("Convolution 0=4 1=3 6=288", [(1, 8, 8, 8)], "of 4 axes"),
    ("Convolution 0=4 1=3 6=108", [(3, 4, 4, 4)], "of 4 axes"),
    ("Deconvolution 0=4 1=2 3=2 6=48", [(3, 4, 4, 4)], "of 4 axes"),
    ("Pooling 0=0 4=1", [(3, 4, 4, 4)], "of 4 axes"),
    ("Unfold 1=3", [(3, 4, 4, 4)], "of 4 axes"),
    ("Gemm 5=1 6=1 8=6 9=5 10=-1", [(3, 4, 4, 5)], "matrices"),
    ("Gemm 5=1 6=1 8=6 9=5 10=-1", [(1, 4, 5)], "matrices"),
    ("MultiHeadAttention 0=16 1=4 2=256", [(1, 5, 16)], "matrices"),
    ("MultiHeadAttention 0=16 1=4 2=256", [(5, 16), (5, 1, 16)], "matrices"),
    ("Crop -23309=1,1 -23310=1,-1", [(8, 4, 4)], "1 of its 3 axes"),
    ("RMSNorm 0=5", [(3, 4, 4)], "for 5"),
    ("Bias 0=3", [(4, 4, 4)], "for 3"),
    ("Normalize 3=3", [(4, 4, 4)], "for 3"),
    ("Normalize 1=1 3=1 9=1", [(8,)], "1 or -1"),
    ("Normalize 1=1 3=1 4=1", [(3, 8)], "1 or -1"),
    ("Quantize 0=3", [(4, 4, 4)], "for 3"),
    ("Dequantize 0=1 1=3", [(4, 4)], "for 3"),
    ("Requantize 0=1 1=3", [(4, 4, 4)], "for 3"),
    ("ShuffleChannel 0=4", [(6, 4, 4)], "multiple of 4"),
    ("GLU 0=0", [(7, 3, 3)], "7 long"),
    ("GLU 0=3", [(8, 4, 4)], "no axis 3"),
    ("Softmax 0=2", [(4, 4)], "no axis 2"),
    ("CopyTo", [(3, 8, 8), (3, 9, 8)], "the second is larger"),
    ("CopyTo -23309=1,0", [(8, 6, 6), (8, 9, 9)], "the second is larger"),
    ("CopyTo -23309=1,4 -23311=1,0", [(8, 6, 6), (8, 6, 6)], "4 to 12 along axis 0"),
    ("CopyTo 0=5", [(3, 8, 8), (3, 8, 4)], "5 to 9 along axis 2"),
    ("CopyTo", [(3, 8, 8), (8, 8)], "dimensions"),
    ("Fold 1=3 4=1 20=10", [(18, 64)], "of 100"),
    ("Fold 1=3 4=1 20=10", [(20, 100)], "multiple of 9"),
    ("Fold 1=3 4=1 20=10", [(18,)], "a matrix"),
    ("DeformableConv2D 0=8 1=3 4=1 6=432", [(5, 8, 8), (18, 8, 8)], "for 6"),
    ("DeformableConv2D 0=8 1=3 4=1 6=432", [(6, 8, 8), (16, 8, 8)], "[18, 8, 8]"),
    ("DeformableConv2D 0=8 1=3 4=1 6=432", [(6, 8, 8), (18, 8, 8), (9, 7, 8)], "[9, 8, 8]"),
    ("DeformableConv2D 0=8 1=9 6=3888", [(6, 8, 8), (162, 8, 8)], "does not fit"),
    ("GridSample", [(4, 8, 8), (6, 5, 3)], "must be 2 of them"),
    ("GridSample 3=1", [(4, 8, 8), (6, 5, 2)], "first"),
    ("PSROIPooling 0=3 1=3 3=2", [(12, 8, 8), (4,)], "18"),
    ("PSROIPooling 0=3 1=3 3=2", [(18, 8, 8), (5,)], "[left, top, right, bottom]"),
    ("ROIAlign 0=3 1=3", [(18, 8, 8), (1, 5)], "without the number of a picture"),
    ("ROIPooling 0=3 1=3", [(18, 8, 8), (3,)], "boxes of [3]"),
    ("DetectionOutput 0=3", [(32,), (27,), (2, 32)], "32 offsets and 24 scores fit"),
    ("DetectionOutput 0=3", [(36,), (27,), (2, 32)], "36 offsets and 27 scores"),
    ("DetectionOutput 0=3", [(24,), (18,), (2, 32)], "24 offsets and 18 scores"),
    ("Spectrogram 0=64", [(32,)], "at most 31"),
    ("Spectrogram 0=64 5=0", [(63,)], "64 samples"),
    ("LSTM 0=8 1=512", [(5, 16), (1, 6), (1, 8)], "rows of 8"),
    ("LSTM 0=4 1=512 3=8", [(5, 16), (1, 4), (1, 4)], "rows of 8"),
    ("GRU 0=8 1=768 2=2", [(5, 16), (1, 8)], "2 of them"),
    ("MultiHeadAttention 0=16 1=4 2=256 5=1", [(5, 16), (7, 7)], "mask of [7, 7]"),
    ("MultiHeadAttention 0=16 1=4 2=256 5=1", [(5, 16), (2, 5, 5)], "mask of [2, 5, 5]"),
    ("SDPA 5=1", [(4, 6, 16), (2, 9, 16), (2, 9, 8), (9, 6)], "mask of [9, 6]"),
    ("RotaryEmbed", [(2, 6, 16), (6, 4), (6, 4)], "[6, 8]"),
    ("RotaryEmbed", [(2, 6, 16), (5, 8), (5, 8)], "[6, 8]"),
    ("RotaryEmbed", [(2, 6, 16), (6, 16), (6, 8)], "[6, 8]"),
    ("RotaryEmbed 0=1", [(2, 6, 16), (6, 16), (6, 16)], "[6, 8]"),
    ("RotaryEmbed", [(2, 6, 15), (6, 7), (6, 7)], "in pairs"),
    (f"Einsum {IK_JK}", [(12, 16), (9, 15)], "for 'ik,jk->ij': k is 16 and 15"),
    (f"Einsum {IK_JK}", [(12, 15), (9, 16)], "k is 15 and 16"),
    (f"Einsum {IK_JK}", [(12, 16), (16,)], "jk has 2 letters for [16]"),
    ("Einsum -23300=2,105,105", [(4, 5)], "i is 4 and 5"),
    ("SDPA 5=1 7=1", [*CACHED[:3], (6, 9), *CACHED[3:]], "with 11 keys [6, 11]"),
    ("SDPA 7=1", [*CACHED[:3], (1, 5, 16), (2, 5, 8)], "past keys of [1, 5, 16]"),
    ("SDPA 7=1", [*CACHED[:3], (2, 5, 16), (2, 5, 16)], "past values of [2, 5, 16]"),
    ("SDPA 7=1", [*CACHED[:3], (2, 5, 16), (2, 4, 8)], "must have as many rows"),
    ("Proposal", [(10, 8, 9), (36, 8, 9), (3,)], "9 anchors take 18 channels of scores and 36"),
    ("Proposal", [(18, 8, 9), (36, 8, 8), (3,)], "of one size"),
    ("Proposal", [(18, 8, 9), (36, 8, 9), (2,)], "gets [18, 8, 9] and a picture of [2]"),
    ("Yolov3DetectionOutput 0=2 1=3", [(20, 8, 8)], "3 boxes with scores for 2 classes take 21"),
    ("YoloDetectionOutput", [(28, 8, 8)], "take 125"),
    ("CumulativeSum 0=2", [(4, 9)], "no axis 2"),
    ("Reduction 1=0 -23303=2,0,2", [(4, 9)], "no axis 2"),
    ("Flip -23300=1,-3", [(4, 9)], "no axis -3"),
    ("InverseSpectrogram 0=64", [(20, 30, 2)], "20 frequencies; a frame of 64 samples has 64, or 33"),
    ("InverseSpectrogram 0=64", [(33, 1, 2)], "nothing is left"),
    ("InverseSpectrogram 0=64", [(33, 30)], "it takes [frequencies, frames, 2]"),
    ("Spectrogram 0=64", [(2, 400)], "2 signals, and reads the first one alone"),
    ("ReLU", [(0,)], "empty"),
    ("Split", [(0, 6)], "empty"),
]


@pytest.mark.parametrize(("text", "shapes", "more"), MISFITS, ids=[f"{t} {s}" for t, s, _ in MISFITS])
def test_what_does_not_fit_is_reported_with_the_shapes_that_came(
    text: str, shapes: Shapes, more: str
) -> None:
    outputs = 2 if text.startswith("Slice") else 1
    said = misfit_of(text, *shapes, outputs=outputs)
    assert said.startswith("gets ")
    assert str(list(shapes[0])) in said
    assert more in said


def test_each_rule_is_shown_both_ways() -> None:
    """Of each rule of the table at least one operator is in both lists."""
    fitting = {RULES[text.split()[0]] for text, _ in FITS if text.split()[0] in RULES}
    unfit = {RULES[text.split()[0]] for text, _, _ in MISFITS if text.split()[0] in RULES}
    assert fitting == unfit == set(RULES.values())


def test_what_a_layer_mistakes_in_any_size_says_nothing_of_the_size() -> None:
    norm = layer("Normalize 1=1 3=1", 1)
    assert unfit(norm, [(8,)]) != ""
    assert of_another_size(norm, [(8,)]) == ""
    assert remedy(unfit(norm, [(8,)])).startswith("the input is not at fault: state 0=1")
    join = layer("Concat 0=0", 2)
    assert unfit(join, [(150, 32), (32,)]) != ""
    assert of_another_size(join, [(150, 32), (32,)]) == ""
    assert remedy(unfit(join, [(150, 32), (32,)])).startswith("the input is not at fault: keep the axis")


def test_parameters_that_fit_no_input_are_no_fault_of_it() -> None:
    pad = layer("Padding 1=-1", 1)
    assert remedy(unfit(pad, [(3, 32, 32)])).startswith("the input is not at fault: write a Crop")
    view = layer('Reshape 6="0w,foo(0h)"', 1)
    assert remedy(unfit(view, [(4, 6)])).startswith("the input is not at fault: correct the expression")
    total = layer("BinaryOp 0=0", 2)
    assert remedy(unfit(total, [(16, 8, 9), (64, 8, 9)])).startswith("where weights make both, no size")
    for other in ((64, 8, 8), (16, 9, 9)):
        assert remedy(unfit(total, [(16, 8, 9), other])).startswith("feed the size")


sizes = st.integers(1, 9)
shapes_of_any = st.lists(sizes, min_size=1, max_size=4).map(tuple)


@given(st.sampled_from(sorted(RULES)), st.lists(shapes_of_any, min_size=1, max_size=3), st.data())
def test_no_rule_trips_over_any_shape_or_number(kind: str, shapes: Shapes, data: st.DataObject) -> None:
    values = st.one_of(st.integers(-234, 40).map(str), st.sampled_from(["1.5", '"size(@0,0)"', "1,2"]))
    params = data.draw(st.dictionaries(st.integers(0, 21), values, max_size=6))
    text = " ".join([kind, *(f"{key}={value}" for key, value in params.items())])
    assert isinstance(misfit_of(text, *shapes), str)
    assert all(map(all, outcome(layer(text, len(shapes), 1), shapes)))


@pytest.mark.parametrize(
    ("params", "made", "said"),
    [
        (
            '6="0w,+(0h,4),0c"',
            (4, 12, 8),
            "256 elements, and reshapes it to [4, 12, 8], which",
        ),
        ('6="0w,4,0c"', (4, 4, 8), "which needs 128"),
        ('6="0w,0c,0h"', (8, 4, 8), ""),
        ('6="0w,0h,0c,0n"', (4, 8), ""),  # of a batch one picture is seen
        ("12=0", (4, 8), ""),
    ],
)
def test_what_a_reshape_has_made_tells_whether_its_input_fitted(
    params: str, made: tuple[int, ...], said: str
) -> None:
    reason = misshaped(layer(f"Reshape {params}", 1), [(4, 8, 8)], [made])
    assert said in reason
    assert bool(reason) == bool(said)
    assert misshaped(layer("Flatten", 1), [(4, 8, 8)], [made]) == ""


def test_an_attention_takes_a_vector_for_one_row() -> None:
    assert outcome(layer("MultiHeadAttention 0=16 1=4 2=256", 1), [(16,)]) == ((1, 16),)


@given(shapes_of_any)
def test_a_reshape_to_as_many_elements_fits(shape: tuple[int, ...]) -> None:
    assert misfit_of(f"Reshape 0={prod(shape)}", shape) == ""
    assert misfit_of(f"Reshape 0={prod(shape) + 1}", shape) != ""


HINTED = """\
7767517
4 5
Input     in0   0 1 in0 0=64 1=64 2=3 -23330=4,3,32,16,3
Slice     fork  1 2 in0 left right -23330=8,3,32,16,3,3,32,16,3
Pooling   pool  1 1 left pooled 0=1 1=2 2=2
BinaryOp  add   2 1 pooled right sum 0=0 -23330=5,3,32,16,1,3
"""


def test_hints_are_what_ncnn_takes_for_hints() -> None:
    """Not the shape on the Input line; and of three dimensions given with a depth, not the depth."""
    graph = parse(HINTED, "net.param")
    assert graph.hints == dict.fromkeys(("in0", "left", "right", "sum"), (3, 16, 32))
    assert graph.shapes["in0"] == (3, 64, 64)
    assert graph.shapes["sum"] == (3, 16, 32)


@pytest.mark.parametrize(
    "kind",
    "Gemm LayerNorm RMSNorm MultiHeadAttention SDPA Convolution1D Reduction Split Unfold".split(),
)
def test_no_hint_matters_to_a_layer_whose_shader_takes_no_shape(kind: str) -> None:
    hints = {"b0": (10, 20), "out0": (10, 20)}
    shapes = {"b0": (15, 20), "out0": (15, 20)}
    assert contradicted(layer(kind, 1), hints, shapes) == ""
    assert contradicted(layer("BinaryOp 0=2 1=1", 1), hints, shapes) != ""


def test_a_hint_that_differs_is_reported_at_the_layers_that_read_or_write_the_blob() -> None:
    graph = parse(HINTED, "net.param")
    shapes = {"in0": (3, 48, 40), "left": (3, 16, 32), "right": (3, 16, 32), "pooled": (3, 8, 16)}
    said = contradicted(graph.layers[1], graph.hints, shapes)
    assert "[3, 16, 32] for 'in0', which is [3, 48, 40]" in said
    assert "Vulkan" in said
    assert contradicted(graph.layers[2], graph.hints, shapes) == ""
    assert contradicted(graph.layers[3], graph.hints, {**shapes, "sum": (3, 16, 31)}) != ""
    assert contradicted(graph.layers[3], {}, shapes) == ""


@pytest.mark.parametrize("text", ["Reshape", "Reshape 0=-233", 'Reshape 6=""'])
def test_a_shape_without_axes_is_none(text: str) -> None:
    """As of a file that lost its sizes: what lies behind is not known, and nothing is refused."""
    assert outcome(layer(text, 1), [(8,)]) == ()
