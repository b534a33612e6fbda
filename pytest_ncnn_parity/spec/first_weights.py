"""The weights of a network's first convolution tell in which range it is fed."""

from __future__ import annotations

import math
import statistics
import struct
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import is_quantized
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.versions.units import is_copy, sources
from pytest_ncnn_parity.network.weight_tags import FP16, FP32

# What inputs of 0 to 1 can add to a bias, as a share of it. Of 67 trained networks it is 0.004 to 0.12
# in the 5 that are fed with bytes, and 1.07 or more in all others.
LOST_BESIDE_BIAS = 0.35
MOST_WEIGHTS = 1 << 20  # a first convolution has thousands


def wants_bytes(graph: Graph, blob: str, weights: Path) -> str:
    """The name of the first convolution if values of 0 to 1 in `blob` are lost beside its biases; or "".

    `weights`: the .bin. If it cannot be read, or has other weights first, nothing is known.
    """
    first = next((one for one in graph.layers if one.type != "Input" and not is_copy(one)), None)
    if first is None or first.type != "Convolution" or sources(graph)[first.inputs[0]] != blob:
        return ""
    try:
        share = _share_of_bias(first, weights)
    except (NotANumber, OSError, struct.error):
        return ""
    return first.name if share < LOST_BESIDE_BIAS else ""


def _share_of_bias(layer: Layer, path: Path) -> float:
    """The median over the outputs of sum|w| / |bias|; inf if it is not known."""
    outputs, count = number(layer, 0), number(layer, 6)
    known = number(layer, 5) == 1 and not is_quantized(layer) and 0 < count <= MOST_WEIGHTS
    if not known or outputs <= 0 or count % outputs or read_files.problem(path, None):
        return math.inf
    with path.open("rb") as file:
        (tag,) = struct.unpack("<I", file.read(4))
        format_ = {FP32: f"<{count}f", FP16: f"<{count}e"}.get(tag)
        if format_ is None:
            return math.inf
        size = struct.calcsize(format_)
        weights = struct.unpack(format_, file.read(size))
        file.seek(-size % 4, 1)  # ncnn pads halves to a multiple of 4 bytes (src/modelbin.cpp)
        biases = struct.unpack(f"<{outputs}f", file.read(4 * outputs))
    each = count // outputs
    sums = (math.fsum(map(abs, weights[at : at + each])) for at in range(0, count, each))
    return statistics.median(
        sum_ / abs(bias) if bias else math.inf for sum_, bias in zip(sums, biases, strict=True)
    )
