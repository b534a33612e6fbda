"""The table of rules by operator: which inputs do not fit a layer, and what to do about it.

A rule applies only if ncnn reads or writes past the end of a blob, refuses the shape, or misinterprets
the elements. If this cannot be known, it says nothing. A network that runs as intended breaks no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ncnn_parity.base.errors import quoted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber
from pytest_ncnn_parity.network.shapes.rules import (
    axes,
    channels,
    cut,
    detectors,
    expressions,
    gathered,
    pairs,
    poolings,
    products,
    spectra,
    views,
    windows,
)
from pytest_ncnn_parity.network.shapes.rules.reading import DIMENSIONS, Rule, Shape

RULES: Mapping[str, Rule] = {
    **{f"Convolution{group}{n}": windows.convolution for group in ("", "DepthWise") for n in DIMENSIONS},
    **{
        f"Deconvolution{group}{n}": windows.deconvolution
        for group in ("", "DepthWise")
        for n in DIMENSIONS
    },
    **{f"Pooling{n}": poolings.pooling for n in DIMENSIONS},
    "BinaryOp": pairs.binary_op,
    "Eltwise": pairs.eltwise,
    "Concat": pairs.concat,
    "Unfold": windows.unfold,
    "Interp": views.interp,
    "Reshape": views.reshape,
    "Crop": cut.crop,
    "Slice": cut.slices,
    "CopyTo": cut.copy_to,
    "Padding": views.padding,
    "ShuffleChannel": views.shuffle_channel,
    "GLU": axes.glu,
    "Softmax": axes.along_one,
    "CumulativeSum": axes.along_one,
    "Flip": axes.flip,
    "Reduction": axes.reduction,
    "Fold": gathered.fold,
    "DeformableConv2D": gathered.deformable_convolution,
    "GridSample": gathered.grid_sample,
    "ROIAlign": gathered.pooled_in_a_box,
    "ROIPooling": gathered.pooled_in_a_box,
    "DetectionOutput": detectors.detection_output,
    "Proposal": detectors.proposal,
    "YoloDetectionOutput": detectors.yolo,
    "Yolov3DetectionOutput": detectors.yolo,
    "PSROIPooling": gathered.position_sensitive_pooling,
    "Spectrogram": spectra.spectrogram,
    "InverseSpectrogram": spectra.inverse_spectrogram,
    "Permute": views.permute,
    "PixelShuffle": views.pixel_shuffle,
    "Reorg": views.reorg,
    "Diag": views.diag,
    "InnerProduct": products.inner_product,
    "LSTM": products.recurrent,
    "GRU": products.recurrent,
    "RNN": products.recurrent,
    "MatMul": products.matmul,
    "Einsum": products.einsum,
    "Gemm": products.gemm,
    "MultiHeadAttention": products.multi_head_attention,
    "SDPA": products.sdpa,
    "RotaryEmbed": products.rotary_embed,
    "BatchNorm": channels.batch_norm,
    "Scale": channels.scale,
    "Bias": channels.bias,
    "Normalize": channels.normalize,
    "Quantize": channels.quantize,
    "Dequantize": channels.dequantize,
    "Requantize": channels.requantize,
    "PReLU": channels.prelu,
    "InstanceNorm": channels.instance_norm,
    "GroupNorm": channels.group_norm,
    "LayerNorm": channels.row_norm,
    "RMSNorm": channels.row_norm,
}

# What a layer mistakes in any size: that tells nothing of the size that the network was made for
MISTAKEN: Mapping[str, Rule] = {
    "Normalize": channels.normalize_across_one,
    "Concat": pairs.concat_across_packing,
}

EMPTY = "which is empty"
REMEDY = (
    "feed the size that the network was made for, with the axes in ncnn's order, [c, h, w], or convert "
    "it again for this one"
)
REMEDY_OF_EMPTY = (
    "ncnn runs no layer on an empty blob, not even a Split: if a detector made it, feed a sample in "
    "which something is found; otherwise a larger one"
)
REMEDY_OF_ONE_CHANNEL = (
    "the input is not at fault: state 0=1, which normalizes all values together; where each row has a "
    "norm of its own, reshape it to [channels, h, w] in front, or convert the network again"
)
REMEDY_OF_NEGATIVE = (
    "the input is not at fault: write a Crop for what the Padding is to cut off, as x[:, :, 1:-1] gives "
    "in place of a negative pad, or convert the network again"
)
REMEDY_OF_OTHER_CHANNELS = (
    "where weights make both, no size of an input changes that: convert the network again, which has "
    "lost what made them as many, such as zeros that are joined to the fewer; else feed as many channels"
)
REMEDY_OF_OTHER_AXES = (
    "the input is not at fault: keep the axis in front of the Concat, as a Reduction with 4=1 or a "
    "Reshape does, or convert the network again"
)
REMEDY_OF_EXPRESSION = (
    "the input is not at fault: correct the expression, in which 0w and 0h are width and height of the "
    "first input, or convert the network again"
)


def remedy(reason: str) -> str:
    """What to do about inputs that do not fit for a `reason` that `unfit` gave."""
    if channels.ONE_CHANNEL in reason:
        return REMEDY_OF_ONE_CHANNEL
    if pairs.OTHER_CHANNELS in reason:
        return REMEDY_OF_OTHER_CHANNELS
    if pairs.OTHER_AXES in reason:
        return REMEDY_OF_OTHER_AXES
    if expressions.EXPRESSION in reason:
        return REMEDY_OF_EXPRESSION
    if views.NEGATIVE in reason:
        return REMEDY_OF_NEGATIVE
    return REMEDY_OF_EMPTY if EMPTY in reason else REMEDY


def unfit(layer: Layer, shapes: Sequence[Shape]) -> str:
    """What `layer` gets and what would fit it; empty if inputs of these `shapes` fit."""
    return of_another_size(layer, shapes) or _broken(MISTAKEN, layer, shapes)


def misshaped(layer: Layer, shapes: Sequence[Shape], made: Sequence[Shape]) -> str:
    """What is wrong with the shapes that `layer` has `made` of inputs of these `shapes`."""
    return views.remade(layer, shapes, made) if layer.type == "Reshape" else ""


def of_another_size(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The same, for inputs that would fit if they were of another size."""
    for blob, shape in zip(layer.inputs, shapes, strict=True):
        if 0 in shape:
            return f"gets {quoted(blob)}, {EMPTY}: {list(shape)}"
    return _broken(RULES, layer, shapes)


def _broken(rules: Mapping[str, Rule], layer: Layer, shapes: Sequence[Shape]) -> str:
    rule = rules.get(layer.type)
    if rule is None or not shapes:
        return ""
    try:
        return rule(layer, shapes)
    except NotANumber:  # the kernel works it out, or refuses the file
        return ""
