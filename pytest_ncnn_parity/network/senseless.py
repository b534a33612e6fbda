"""Parameters by which nothing can be computed as intended, although ncnn loads them.

Its kernels divide by 0, read past an array, pool nothing, or take one number for different things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Eltwise, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimals, number, numbers
from pytest_ncnn_parity.network.shapes.rules.poolings import POOLED
from pytest_ncnn_parity.network.shapes.rules.reading import DIMENSIONS
from pytest_ncnn_parity.network.shapes.rules.windows import windows_of


def senseless(layer: Layer) -> str:
    """What is wrong with the parameters of `layer`, and what is expected; or ""."""
    try:
        return _RULES[layer.type](layer) if layer.type in _RULES else ""
    except NotANumber:
        return ""


def _lrn(layer: Layer) -> str:
    across = number(layer, 1, 5)
    return "" if across > 0 else f"normalizes across {across} values (1={across}); expected 1 or more"


def _eltwise(layer: Layer) -> str:
    count = len(decimals(layer, 1)) if op_type(layer) == Eltwise.SUM else 0
    if count in range(1, len(layer.inputs)):
        return f"multiplies {len(layer.inputs)} inputs by {count} coefficients; expected one for each"
    return ""


def _slice(layer: Layer) -> str:
    sizes = [] if numbers(layer, 2) else numbers(layer, 0)  # the places to cut at are read instead
    if sizes and len(sizes) < len(layer.outputs):
        return f"states the sizes of {len(sizes)} of {len(layer.outputs)} outputs; expected all"
    return ""


def _interp(layer: Layer) -> str:
    """Its own size counts if there is no other input, whose size is taken, and no expression of it."""
    if len(layer.inputs) > 1 or "9" in layer.params:
        return ""
    for key, side in ((3, "height"), (4, "width")):
        size = number(layer, key)
        if size < 0:
            return f"has an output {side} of {size} ({key}={size}); expected 1 or more, or 0 for a scale"
    return ""


def _bias(key: int, layer: Layer) -> str:
    """The flag with the id `key` says whether a bias is added."""
    flag = number(layer, key)
    if flag in (0, 1):
        return ""
    return (
        f"states {key}={flag} for its bias; expected 0 or 1, for Vulkan adds a bias only where it is 1"
    )


def _pooling(layer: Layer) -> str:
    """A window of padding alone has no largest value, and no mean of values that are counted."""
    is_global, adapts = number(layer, 4), number(layer, 7)
    pads_by_itself = number(layer, 5) > 1
    counts_padding = number(layer, 0) == 1 and number(layer, 6)
    if is_global or adapts or pads_by_itself or counts_padding:
        return ""
    for window in windows_of(layer, POOLED):
        if window.before >= window.kernel:
            return (
                f"pads {window.before} in front of a window of {window.kernel} along {window.axis}, "
                "which pools nothing then; expected less"
            )
    return ""


_RULES: Mapping[str, Callable[[Layer], str]] = {
    "LRN": _lrn,
    "Eltwise": _eltwise,
    "Slice": _slice,
    "Interp": _interp,
    **{f"Pooling{n}": _pooling for n in DIMENSIONS},
    **{
        f"{kind}{group}{n}": partial(_bias, 5)
        for kind in ("Convolution", "Deconvolution")
        for group in ("", "DepthWise")
        for n in DIMENSIONS
    },
    "DeformableConv2D": partial(_bias, 5),
    "InnerProduct": partial(_bias, 1),
    "Scale": partial(_bias, 1),
}
