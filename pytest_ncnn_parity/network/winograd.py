"""Which convolutions ncnn computes by winograd, and the size of their tiles. Pure."""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.masks import NO_WINOGRAD, has_no_fp16_kernel
from pytest_ncnn_parity.network.parameters import number

LEAST_CHANNELS = 16  # of both input and output (create_pipeline in convolution_vulkan.cpp)
LARGE, SMALL = 4, 2  # outputs along one side of a tile, in F(4,3) and F(2,3)


def may_use_winograd(layer: Layer) -> bool:
    """Whether some kernel of ncnn may compute `layer` by winograd, given its mask.

    It may if the kernel is 3x3, and stride and dilation are 1. Whether it does depends on channels,
    device and version (src/layer/*/convolution_*.cpp, create_pipeline).
    """
    slides = layer.type in ("Convolution", "Convolution1D")
    return slides and not layer.mask & NO_WINOGRAD and is_plain_3x3(layer)


def is_plain_3x3(layer: Layer) -> bool:
    """Whether the kernel of a convolution is 3x3, and its stride and dilation are 1."""
    of_width = [layer.params.get(key, "1") for key in ("1", "2", "3")]
    of_height = [
        layer.params.get(key, same) for key, same in zip(("11", "12", "13"), of_width, strict=True)
    ]
    return of_width == of_height == ["3", "1", "1"]


def tile_on_vulkan(layer: Layer, width: int, height: int, discrete: bool) -> int | None:
    """The side of the tiles in which ncnn's fp16 Vulkan kernel computes `layer`; None for none.

    `width` and `height` are those of the padded input. A `discrete` GPU uses small tiles for more sizes
    than others do (src/layer/vulkan/convolution_vulkan.cpp, forward).
    """
    if layer.type != "Convolution" or not may_use_winograd(layer):
        return None
    if has_no_fp16_kernel(layer.mask):
        return None
    if number(layer, 8) or number(layer, 19):  # it computes in int8, or its weights are an input
        return None
    inputs, outputs = channels(layer)
    if min(inputs, outputs) < LEAST_CHANNELS:
        return None
    longest = max(width, height)
    if discrete:
        small = longest <= 18 or (min(width, height) >= 23 and longest <= 24)
    else:
        small = longest <= 12
    return SMALL if small else LARGE


def channels(layer: Layer) -> tuple[int, int]:
    """The numbers of input and output channels of a 3x3 convolution, from the size of its weights."""
    outputs = number(layer, 0)
    return (number(layer, 6) // (9 * outputs) if outputs > 0 else 0), outputs


def padding(layer: Layer) -> tuple[int, int, int, int]:
    """What a 3x3 convolution of stride 1 adds above, below, left and right of its input."""
    left = number(layer, 4)
    right, top = number(layer, 15, left), number(layer, 14, left)
    bottom = number(layer, 16, top)
    # negative pads mean 'same' (make_padding in src/layer/convolution.cpp)
    above, below, before, after = (1 if side < 0 else side for side in (top, bottom, left, right))
    return above, below, before, after
