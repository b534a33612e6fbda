"""Parameters by which nothing can be computed as intended, although ncnn loads them.

Its kernels divide by 0, read past an array, pool nothing, or take one number for different things.
"""

from __future__ import annotations

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import Eltwise, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimals, number, numbers
from pytest_ncnn_parity.network.shapes.rules.poolings import POOLED
from pytest_ncnn_parity.network.shapes.rules.windows import windows_of

# by how the type begins, the id of the flag that says whether a bias is added
_BIAS = {"Convolution": 5, "Deconvolution": 5, "DeformableConv2D": 5, "InnerProduct": 1, "Scale": 1}


def senseless(layer: Layer) -> str:
    """What is wrong with the parameters of `layer`, and what is expected; or ""."""
    try:
        return next(filter(None, (of(layer) for of in _KINDS)), "")
    except NotANumber:
        return ""


def _of_lrn(layer: Layer) -> str:
    across = number(layer, 1, 5) if layer.type == "LRN" else 1
    return "" if across > 0 else f"normalizes across {across} values (1={across}); expected 1 or more"


def _of_eltwise(layer: Layer) -> str:
    if layer.type != "Eltwise" or op_type(layer) != Eltwise.SUM:
        return ""
    count = len(decimals(layer, 1))
    if count in range(1, len(layer.inputs)):
        return f"multiplies {len(layer.inputs)} inputs by {count} coefficients; expected one for each"
    return ""


def _of_slice(layer: Layer) -> str:
    if layer.type != "Slice" or numbers(layer, 2):  # the places to cut at, which are read instead
        return ""
    sizes = numbers(layer, 0)
    if sizes and len(sizes) < len(layer.outputs):
        return f"states the sizes of {len(sizes)} of {len(layer.outputs)} outputs; expected all"
    return ""


def _of_bias(layer: Layer) -> str:
    key = next((key for kind, key in _BIAS.items() if layer.type.startswith(kind)), None)
    flag = 0 if key is None else number(layer, key)
    if flag in (0, 1):
        return ""
    return (
        f"states {key}={flag} for its bias; expected 0 or 1, for Vulkan adds a bias only where it is 1"
    )


def _of_pooling(layer: Layer) -> str:
    """A window of padding alone has no largest value, and no mean of values that are counted."""
    if not layer.type.startswith("Pooling") or number(layer, 4) or number(layer, 7):  # no windows
        return ""
    if number(layer, 5) > 1 or (
        number(layer, 0) == 1 and number(layer, 6)
    ):  # it pads by itself, or counts
        return ""
    for window in windows_of(layer, POOLED):
        if window.before >= window.kernel:
            return (
                f"pads {window.before} in front of a window of {window.kernel} along {window.axis}, "
                "which pools nothing then; expected less"
            )
    return ""


_KINDS = (_of_lrn, _of_eltwise, _of_slice, _of_bias, _of_pooling)
