"""Convolutions and Unfold: the channels their weights are for, and windows that do not fit.

Sources: src/layer/convolution*.cpp, deconvolution*.cpp, pooling*.cpp, unfold.cpp. If the padded input
is smaller than the window, ncnn's division rounds towards zero and may still yield an output, from
values read past the end of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import UNSET, NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.weight_tags import reads_weights

SAME = (UNSET, UNSET - 1)  # values of a pad that make the output as large as the input
# of a Deconvolution, for w and h, whose default is that of w: the ids of what is added behind its
# output, and of the size of that
OUTPUT_PADS, OUTPUT_SIZES = (18, 19), (20, 21)


class Keys(Frozen):
    """The parameters of one axis."""

    axis: str
    kernel: int
    dilation: int | None
    stride: int
    before: int
    after: int


CONVOLVED = (
    Keys("w", 1, 2, 3, 4, 15),
    Keys("h", 11, 12, 13, 14, 16),
    Keys("d", 21, 22, 23, 24, 17),
)


class Window(Frozen):
    """A window that slides along one axis, in elements."""

    axis: str
    kernel: int
    dilation: int
    stride: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        return self.dilation * (self.kernel - 1) + 1


PACK = 4  # ncnn's smallest elempack above 1
PACKED = frozenset(
    "Convolution Convolution1D ConvolutionDepthWise Deconvolution DeconvolutionDepthWise Pooling".split()
)

Padding = Callable[[Sequence[int], Sequence[Window]], list[int]]


def convolution(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Convolution, Convolution1D, Convolution3D and their depthwise variants."""
    windows = windows_of(layer, CONVOLVED)
    shape = shapes[0]
    if is_inner_product(layer, shape, windows):
        return ""
    if layer.type == "Convolution" and len(shape) == 1 and all(w.kernel == 1 for w in windows):
        inputs = number(layer, 6) // max(1, number(layer, 0))
        return (
            f"gets {list(shape)}; with a vector it is an InnerProduct, and its weights are for {inputs}"
        )
    return (
        too_many_axes(layer, shape)
        or _channels(layer, shapes, windows)
        or packed(layer, shape, windows)
        or beyond(shape, windows, padded_convolution)
    )


def deconvolution(layer: Layer, shapes: Sequence[Shape]) -> str:
    """Deconvolution, Deconvolution1D, Deconvolution3D and their depthwise variants."""
    windows = windows_of(layer, CONVOLVED)
    return (
        too_many_axes(layer, shapes[0])
        or _channels(layer, shapes, windows)
        or packed(layer, shapes[0], windows)
        or _cut_away(layer, shapes[0], windows)
    )


def unfold(layer: Layer, shapes: Sequence[Shape]) -> str:
    """The windows of a Convolution, laid side by side."""
    windows = windows_of(layer, CONVOLVED)
    return too_many_axes(layer, shapes[0]) or beyond(shapes[0], windows, padded_convolution)


def axes_slid_along(layer: Layer) -> int:
    return 1 if "1D" in layer.type else 3 if "3D" in layer.type else 2


def slid_over(layer: Layer, shape: Shape) -> Shape:
    """The part of an input's shape that `layer` reads: with windows along w, h and w alone.

    An axis of one element before these, as networks have it that were exported with their batch, does
    no harm. Windows along d, h and w read (c, h, w) as volumes of depth 1.
    """
    if len(shape) != 3:
        return shape
    dims = axes_slid_along(layer)
    return _deep(shape) if dims == 3 else shape[1:] if dims == 1 and shape[0] == 1 else shape


def _deep(shape: Shape) -> Shape:
    c, h, w = shape
    return (c, 1, h, w)


def windows_of(layer: Layer, axes: Sequence[Keys]) -> list[Window]:
    """The windows that slide along the axes of `layer`, w first. h and d default to w's values."""
    windows: list[Window] = []
    w = Window("w", 0, 1, 1, 0, 0)
    for keys in axes[: axes_slid_along(layer)]:
        dilation = 1 if keys.dilation is None else number(layer, keys.dilation, w.dilation)
        before = number(layer, keys.before, w.before)
        windows.append(
            Window(
                keys.axis,
                number(layer, keys.kernel, w.kernel),
                dilation,
                number(layer, keys.stride, w.stride),
                before,
                number(layer, keys.after, before),
            )
        )
        w = windows[0]
    if any(min(window.kernel, window.dilation, window.stride) < 1 for window in windows):
        raise NotANumber("a window of size 0")
    return windows


def is_inner_product(layer: Layer, shape: Shape, windows: Sequence[Window]) -> bool:
    """A 1x1 Convolution of a vector, which old converters wrote for an InnerProduct."""
    points = all(window.kernel == 1 for window in windows)
    inputs = number(layer, 6) // max(1, number(layer, 0))
    return layer.type == "Convolution" and len(shape) == 1 and points and shape[0] == inputs


def too_many_axes(layer: Layer, shape: Shape) -> str:
    """What is wrong if the input has axes beside its channels and those along which a window slides."""
    slid_along = axes_slid_along(layer)
    if len(slid_over(layer, shape)) <= slid_along + 1:
        return ""
    return (
        f"gets {list(shape)}, of {len(shape)} axes; its window slides along {slid_along}, and one more "
        "is for channels"
    )


def _channels(layer: Layer, shapes: Sequence[Shape], windows: Sequence[Window]) -> str:
    """What is wrong with the number of channels."""
    shape = shapes[0]
    read = slid_over(layer, shape)
    channels = read[0] if len(read) > len(windows) else 1
    group = number(layer, 7, 1) if "DepthWise" in layer.type else 1
    if reads_weights(layer):
        return _other_weights(layer, shapes, channels, group, len(windows))
    kernel = math.prod(window.kernel for window in windows)
    outputs, size = number(layer, 0), number(layer, 6)
    if outputs < 1 or size < 1 or group < 1:
        return ""
    wanted, rest = divmod(size * group, kernel * outputs)
    if rest:
        return (
            f"gets {list(shape)}; its {size} weights are for no whole number of channels, with "
            f"{counted(outputs, 'output')} of kernel {_area([w.kernel for w in windows])}"
        )
    if channels == wanted:
        return ""
    return f"gets {list(shape)}, of {counted(channels, 'channel')}; its weights are for {wanted}"


def _other_weights(layer: Layer, shapes: Sequence[Shape], channels: int, group: int, dims: int) -> str:
    """The same where the weights are an input: (outputs, channels of a group, kernel...)."""
    if layer.type.startswith("De") or len(shapes) < 2 or len(shapes[1]) != dims + 2:
        return ""
    wanted = shapes[1][1] * group
    if channels == wanted:
        return ""
    return (
        f"gets {list(shapes[0])}; its weights, {list(shapes[1])}, are for {counted(wanted, 'channel')}"
    )


def packed(layer: Layer, shape: Shape, windows: Sequence[Window] = ()) -> str:
    """What is wrong if the axis of a single channel is left out, and rows are packed in its place.

    ncnn packs 4, 8 or 16 elements along the first axis, whichever that is, and the kernel takes that
    axis for channels: it returns another shape, refuses, or crashes. Where a convolution pads its
    `windows` first, it unpacks to do so.
    """
    if layer.type not in PACKED or len(shape) > axes_slid_along(layer) or shape[0] % PACK:
        return ""
    pads = any(pad != 0 for window in windows for pad in (window.before, window.after))
    if pads and layer.type in ("Convolution", "Convolution1D"):
        return ""
    return (
        f"gets {list(shape)}, without an axis for its one channel; ncnn packs the first axis as if it "
        f"were channels: feed {[1, *shape]}"
    )


def beyond(shape: Shape, windows: Sequence[Window], pad: Padding) -> str:
    """What is wrong if a window is larger than the axis along which it slides."""
    sizes = sizes_along(shape, windows)
    padded = pad(sizes, windows)
    if len(shape) == 1:  # a vector is not padded along h
        padded = [padded[0], *sizes[1:]]
    if len(shape) == len(windows) == 3 and padded != sizes:
        deep = list(_deep(shape))
        return f"gets {list(shape)}, without an axis for its depth; ncnn pads none: feed {deep}"
    if fit(padded, windows):
        return ""
    window = _area([window.extent for window in windows])
    inside = _area(sizes) + (f" ({_area(padded)} with its pads)" if padded != sizes else "")
    return f"gets {list(shape)}: a window of {window} does not fit into {inside}, so nothing is left"


def fit(sizes: Sequence[int], windows: Sequence[Window]) -> bool:
    """Whether each of `windows` has a position in `sizes`, which are padded."""
    return all(size >= window.extent for size, window in zip(sizes, windows, strict=True))


def positions(sizes: Sequence[int], windows: Sequence[Window]) -> list[int]:
    """How many positions each of `windows`, which fit, has in `sizes`, which are padded."""
    return [(size - w.extent) // w.stride + 1 for size, w in zip(sizes, windows, strict=True)]


def padded_convolution(sizes: Sequence[int], windows: Sequence[Window]) -> list[int]:
    pads = [pad for window in windows for pad in (window.before, window.after)]
    if any(all(pad == same for pad in pads) for same in SAME):
        return [max(size, window.extent) for size, window in zip(sizes, windows, strict=True)]
    return padded_plainly(sizes, windows) if any(pad > 0 for pad in pads) else list(sizes)


def padded_plainly(sizes: Sequence[int], windows: Sequence[Window]) -> list[int]:
    return [size + window.before + window.after for size, window in zip(sizes, windows, strict=True)]


def _cut_away(layer: Layer, shape: Shape, windows: Sequence[Window]) -> str:
    """What is wrong if the padding of a Deconvolution cuts off its whole output."""
    for whole, window in zip(uncut(layer, shape, windows), windows, strict=True):
        cut = window.before + window.after
        if min(window.before, window.after) >= 0 and whole <= cut:
            return (
                f"gets {list(shape)} and makes {whole} along {window.axis}, of which its pads cut away "
                f"{cut}, so nothing is left"
            )
    return ""


def uncut(layer: Layer, shape: Shape, windows: Sequence[Window]) -> list[int]:
    """How long the output of a Deconvolution is along each axis before its padding is cut away.

    Raises NotANumber where the file states the size of the output, and for three axes.
    """
    if len(windows) > len(OUTPUT_PADS) or any(number(layer, key) for key in OUTPUT_SIZES):
        raise NotANumber("the size of an output")
    right, bottom = OUTPUT_PADS
    more = number(layer, right), number(layer, bottom, number(layer, right))
    axes = zip(sizes_along(shape, windows), windows, more, strict=False)
    return [(size - 1) * window.stride + window.extent + extra for size, window, extra in axes]


def sizes_along(shape: Shape, windows: Sequence[Window]) -> list[int]:
    """The sizes of `shape` along the axes of `windows`; missing axes are 1."""
    if len(shape) == len(windows) == 3:
        shape = _deep(shape)
    return [*reversed(shape), 1, 1, 1][: len(windows)]


def _area(sizes: Sequence[int]) -> str:
    """`5x3` for 3 along w and 5 along h."""
    return "x".join(map(str, reversed(sizes)))
