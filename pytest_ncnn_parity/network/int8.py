"""Which values may stay int8 between the layers of a quantized network, as far as the .param shows.

ncnn2int8 lets a convolution output int8 if all layers that read it take int8, which saves a conversion
to floats and back. Whether a value is int8 is certain only once it exists; here it is said where it may
be.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.integers import READ_INTEGERS
from pytest_ncnn_parity.network.operator_kinds import RECURRENT, copies
from pytest_ncnn_parity.network.parameters import NotANumber, differs, number

# Operators that multiply int8 by int8 and have a scale of their own for their input, and the id of the
# parameter that switches this on (src/layer/convolution.cpp, convolutiondepthwise.cpp,
# innerproduct.cpp).
_TERMS = {"Convolution": "8", "ConvolutionDepthWise": "8", "InnerProduct": "8"}
# Operators that quantize their input by a scale that they compute from it at run time, or only look up
# weights in int8, as Embed does, and the id of the parameter that switches this on.
INT8_TERM = {
    **dict.fromkeys(("Embed", "Gemm", "MultiHeadAttention", "SDPA"), "18"),
    **dict.fromkeys(RECURRENT, "8"),
}
# Operators whose CPU kernels read four bytes per element whatever they are given, with or without
# weights: given int8 they read, and those that work in place write, past its end (src/layer,
# src/layer/x86).
_READ_FLOATS = frozenset(
    "AbsVal ArgMax BNLL BatchNorm Bias BinaryOp CELU Clip Convolution Convolution1D "
    "Convolution3D ConvolutionDepthWise ConvolutionDepthWise1D ConvolutionDepthWise3D "
    "CumulativeSum Deconvolution Deconvolution1D Deconvolution3D DeconvolutionDepthWise "
    "DeconvolutionDepthWise1D DeconvolutionDepthWise3D DeformableConv2D DetectionOutput Diag "
    "ELU Einsum Eltwise Erf Exp Flip Fold GELU GLU GRU Gemm GridSample GroupNorm HardSigmoid "
    "HardSwish InnerProduct InstanceNorm Interp InverseSpectrogram LRN LSTM LayerNorm Log MVN "
    "MatMul Mish MultiHeadAttention Normalize PReLU PSROIPooling Permute PixelShuffle Pooling "
    "Pooling1D Pooling3D Power Proposal Quantize RMSNorm RNN ROIAlign ROIPooling Reduction "
    "Reorg SDPA SELU SPP Scale Shrink ShuffleChannel Sigmoid Softmax Softplus Spectrogram "
    "StatisticsPooling Swish TanH Threshold Tile UnaryOp Unfold YoloDetectionOutput "
    "Yolov3DetectionOutput".split()
)
# by operator that ncnn2int8 quantizes, the ids of the number of weights and of the bias flag
WEIGHTS = {"Convolution": (6, 5), "ConvolutionDepthWise": (6, 5), "InnerProduct": (2, 1)}
REQUANTIZES = 100  # added to the term where the output is int8 as well
_GIVES_INT8 = frozenset({"Quantize", "Requantize"})
_GIVES_FLOATS = frozenset({"Dequantize"})


def _term(layer: Layer) -> int:
    written = layer.params.get(_TERMS.get(layer.type, ""), "0")
    return int(written) if written.isascii() and written.isdigit() else 0


def weight_count(layer: Layer) -> int:
    """How many weights stand first in the .bin for a layer that can be quantized; 0 for others."""
    if layer.type not in WEIGHTS:
        return 0
    try:
        return number(layer, WEIGHTS[layer.type][0])
    except NotANumber:
        return 0


def computes_in_int8(layer: Layer) -> bool:
    """Whether `layer` computes in int8, and converts floats by a scale stored with its weights."""
    return _term(layer) > 0


def rounds_to_int8(layer: Layer) -> bool:
    """Whether `layer` rounds its inputs, or something on the way to its outputs, to int8."""
    return is_quantized(layer) or gives_int8(layer)


def is_quantized(layer: Layer) -> bool:
    """Whether `layer` multiplies in int8, by a scale of the file or by one that it computes."""
    return computes_in_int8(layer) or layer.params.get(INT8_TERM.get(layer.type, ""), "0") != "0"


def gives_int8(layer: Layer) -> bool:
    """Whether the outputs of `layer` are int8 whatever its inputs are."""
    return _term(layer) > REQUANTIZES or layer.type in _GIVES_INT8


def int8_blobs(graph: Graph) -> frozenset[str]:
    """The blobs that may be int8: outputs of layers that give it, and what others make of these."""
    blobs: set[str] = set()
    for layer in graph.layers:
        floats = computes_in_int8(layer) or layer.type in _GIVES_FLOATS
        handed_on = not floats and any(blob in blobs for blob in layer.inputs)
        if gives_int8(layer) or handed_on:
            blobs.update(layer.outputs)
    return frozenset(blobs)


def quantizing_readers(graph: Graph, blob: str, of_copies: bool = False) -> list[Layer]:
    """The layers that quantize the value of `blob` by a scale of their own, also behind other layers.

    `of_copies`: only behind such as copy it.
    """
    readers: dict[int, Layer] = {}
    handed_on = {blob}
    for layer in graph.layers:
        if handed_on.intersection(layer.inputs):
            if computes_in_int8(layer):
                readers[layer.number] = layer
            elif copies(layer) if of_copies else layer.type not in _GIVES_FLOATS:
                handed_on.update(layer.outputs)
    return list(readers.values())


def computes_with_floats(layer: Layer) -> bool:
    """Whether `layer` reads what it is given as floats, whatever that is."""
    return layer.type in _READ_FLOATS


def misreads_int8(layer: Layer) -> str:
    """The type for which `layer` mistakes an int8 value, four times as long; empty if it does not."""
    if layer.type in READ_INTEGERS:
        return "32-bit integers"
    slope = layer.type == "ReLU" and differs(layer, 0, 0.0)
    factor = layer.type == "Dropout" and not copies(layer)
    rows = layer.type == "Concat" and layer.params.get("0", "0") in ("1", "2")
    reads = layer.type in _READ_FLOATS and not computes_in_int8(layer)
    return "floats" if reads or slope or factor or rows else ""
