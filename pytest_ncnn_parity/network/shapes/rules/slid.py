"""Which shapes come out of convolutions, deconvolutions and poolings.

Sources: src/layer/convolution*.cpp, deconvolution*.cpp, pooling*.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import UNSET, NotANumber, number
from pytest_ncnn_parity.network.shapes.rules.poolings import POOLED, padded_full
from pytest_ncnn_parity.network.shapes.rules.reading import DIMENSIONS, Outcome, Shape
from pytest_ncnn_parity.network.shapes.rules.windows import (
    CONVOLVED,
    SAME,
    Window,
    axes_slid_along,
    is_inner_product,
    padded_plainly,
    positions,
    sizes_along,
    slid_over,
    uncut,
    windows_of,
)

# a Pooling's output w, h and d, of which h and d default to w; UNSET means the size of the input
_ADAPTED = (8, 18, 28)


def _convolution(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    windows, outputs = windows_of(layer, CONVOLVED), number(layer, 0)
    if is_inner_product(layer, shapes[0], windows):
        return [(outputs,)]
    sizes = sizes_along(shapes[0], windows)
    if _pads_to_the_same(windows):
        slid = [math.ceil(size / window.stride) for size, window in zip(sizes, windows, strict=True)]
    else:
        slid = positions(padded_plainly(sizes, windows), windows)
    return [(outputs, *reversed(slid))]


def _pads_to_the_same(windows: Sequence[Window]) -> bool:
    pads = [pad for window in windows for pad in (window.before, window.after)]
    if min(pads) >= 0:
        return False
    if any(all(pad == same for pad in pads) for same in SAME):
        return True
    raise NotANumber("pads of several kinds")


def _deconvolution(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    windows = windows_of(layer, CONVOLVED)
    if any(min(window.before, window.after) < 0 for window in windows):
        raise NotANumber("pads that follow from a size")
    whole = uncut(layer, shapes[0], windows)
    cut = [size - w.before - w.after for size, w in zip(whole, windows, strict=True)]
    return [(number(layer, 0), *reversed(cut))]


def _pooling(layer: Layer, shapes: Sequence[Shape]) -> Sequence[Shape]:
    shape = slid_over(layer, shapes[0])
    axes = axes_slid_along(layer)
    channels = shape[0] if len(shape) > axes else 1
    if number(layer, 4):  # global pooling
        return [(channels,)]
    if number(layer, 7):
        width = number(layer, _ADAPTED[0])
        asked = [number(layer, key, width) for key in reversed(_ADAPTED[:axes])]
        return [
            (channels, *(own if n == UNSET else n for n, own in zip(asked, shape[-axes:], strict=True)))
        ]
    windows = windows_of(layer, POOLED)
    sizes = sizes_along(shape, windows)
    if number(layer, 5) > 1:
        pooled = [math.ceil(size / window.stride) for size, window in zip(sizes, windows, strict=True)]
    else:
        pad = padded_plainly if number(layer, 5) else padded_full
        pooled = positions(pad(sizes, windows), windows)
    return [(channels, *reversed(pooled))]


SLID: Mapping[str, Outcome] = {
    **{
        f"{kind}{group}{dims}": rule
        for kind, rule in (("Convolution", _convolution), ("Deconvolution", _deconvolution))
        for group in ("", "DepthWise")
        for dims in DIMENSIONS
    },
    **{f"Pooling{dims}": _pooling for dims in DIMENSIONS},
}
