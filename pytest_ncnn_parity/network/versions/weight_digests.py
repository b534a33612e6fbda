"""Which layers of two networks have the same weights: digests of what each reads.

Weights of one of them may be those of the other in fp16, as pnnx stores them.

What a layer reads follows from its line and from the tags in the file (load_model in src/layer,
src/modelbin.cpp). Behind a layer of which that is not known, nothing is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import is_quantized
from pytest_ncnn_parity.network.int8_tensors import tensors
from pytest_ncnn_parity.network.operator_kinds import COPYING, ELEMENTWISE
from pytest_ncnn_parity.network.parameters import UNSET, NotANumber, number
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING
from pytest_ncnn_parity.network.versions.half import flushed, ties_away_from_zero, ties_to_even
from pytest_ncnn_parity.network.weight_tags import (
    FP16,
    FP32,
    FP32_IN_OLD_FILES,
    TAG_BYTES,
    end_of_weights,
    reads_weights,
)

Read = tuple[int, bool]  # how many numbers, and whether a tag says in which format they are

# by operator with floats alone: how many arrays, of as many numbers as which parameter says
_FLOATS = {"BatchNorm": (4, 0), "Bias": (1, 0), "PReLU": (1, 0), "Normalize": (1, 3)}
# the same of norms, and the parameter that says whether there are any, which is 1 by default
_AFFINE = {
    "LayerNorm": (2, 0, 2),
    "RMSNorm": (1, 0, 2),
    "GroupNorm": (2, 1, 3),
    "InstanceNorm": (2, 0, 2),
}
# by operator, the parameters of the number of weights and of the bias, of which there is one per output
_WEIGHTED = {
    **{
        kind: (2 if kind == "InnerProduct" else 6, 1 if kind == "InnerProduct" else 5)
        for kind in CHANGED_BY_FOLDING
    },
    "DeformableConv2D": (6, 5),
}
_NONE = (
    COPYING - {"Padding"}
    | ELEMENTWISE - {"Scale", "Bias", "BatchNorm", "PReLU"}
    | frozenset(
        "Input Pooling Pooling1D Pooling3D Interp Softmax Reduction MatMul SDPA Cast ArgMax LRN MVN "
        "PriorBox DetectionOutput YoloDetectionOutput Yolov3DetectionOutput ROIPooling ROIAlign "
        "PSROIPooling Proposal Packing StatisticsPooling Einsum GLU Fold GridSample CumulativeSum Diag "
        "RotaryEmbed".split()
    )
)


class Digest(Frozen):
    """Of what a layer reads: of its bytes, and of these with weights as fp16. `in_half`: if they are.

    `as_half` has more than one where tools round the weights differently.
    """

    exact: bytes
    as_half: frozenset[bytes]
    in_half: bool

    def is_same(self, other: Digest) -> bool:
        """Whether both are the same, or if one is in fp16, whether both are in fp16."""
        in_half = self.in_half or other.in_half
        return self.exact == other.exact or (in_half and bool(self.as_half & other.as_half))


class Piece(Frozen):
    """The bytes from `start` to `end`: numbers in fp32, or as many as `tagged` says behind a tag."""

    start: int
    end: int
    tagged: int | None


def digests(graph: Graph, path: Path) -> dict[int, Digest]:
    """By number, a digest of what each layer of `graph` reads from its .bin at `path`.

    None of a file that cannot be read, which is an error of its own.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            read = pieces(graph, content)
            return {number: _digest(content, own) for number, own in read.items()}
    except (OSError, ValueError):  # ValueError: it is empty
        return {}


def _digest(content: mmap, read: Sequence[Piece]) -> Digest:
    exact, even, away = (hashlib.blake2b(digest_size=16) for _ in range(3))
    in_half = False
    for piece in read:
        stored = content[piece.start : piece.end]
        exact.update(stored)
        to_even, from_zero = stored, stored
        tag = None if piece.tagged is None else struct.unpack_from("<I", stored)[0]
        in_half |= tag == FP16
        if tag == FP16:
            half = np.frombuffer(stored, "<u2", piece.tagged or 0, TAG_BYTES)
            to_even = from_zero = flushed(half).tobytes()
        elif tag in (FP32, FP32_IN_OLD_FILES):
            floats = np.frombuffer(stored, "<f4", piece.tagged or 0, TAG_BYTES)
            to_even = ties_to_even(floats).tobytes()
            from_zero = ties_away_from_zero(floats).tobytes()
        even.update(to_even)
        away.update(from_zero)
    return Digest(exact.digest(), frozenset({even.digest(), away.digest()}), in_half)


def spans(graph: Graph, content: bytes | mmap) -> dict[int, tuple[int, int]]:
    """By number, where the bytes begin and end that a layer reads; only of layers that read any."""
    read = pieces(graph, content)
    return {number: (own[0].start, own[-1].end) for number, own in read.items()}


def pieces(graph: Graph, content: bytes | mmap) -> dict[int, list[Piece]]:
    """By number, what a layer reads one after the other; only of layers that read any."""
    found: dict[int, list[Piece]] = {}
    at = 0
    for layer in graph.layers:
        own: list[Piece] = []
        try:
            for count, tagged in _read(layer):
                end = end_of_weights(content, at, count) if tagged else at + 4 * count
                own.append(Piece(at, end, count if tagged else None))
                at = end
        except (NotANumber, struct.error):
            break
        if at > len(content):
            break
        if own and at > own[0].start:
            found[layer.number] = own
    return found


def _read(layer: Layer) -> Iterator[Read]:
    """Yield what `layer` reads. Raises NotANumber if that is not known."""
    kind = layer.type
    if kind in _NONE:
        return
    if is_quantized(layer):
        raise NotANumber(kind)
    if kind in _WEIGHTED:
        count, bias = _WEIGHTED[kind]
        if reads_weights(layer):
            return
        yield number(layer, count), True
        yield (number(layer, 0) if number(layer, bias) else 0), False
    elif kind in _FLOATS:
        arrays, size = _FLOATS[kind]
        yield arrays * number(layer, size), False
    elif kind in _AFFINE:
        arrays, size, affine = _AFFINE[kind]
        yield (arrays * number(layer, size) if number(layer, affine, 1) else 0), False
    elif kind == "Scale":
        count = number(layer, 0)
        yield (0 if count == UNSET else count * (2 if number(layer, 1) else 1)), False
    elif kind == "MemoryData":
        sides = [number(layer, key) for key in (0, 1, 11, 2)]
        product = 1
        for side in filter(None, sides):
            product *= side
        yield (product if any(sides) else 0), number(layer, 21, 1) == 0
    elif kind == "Padding":
        yield number(layer, 6), False
    elif kind != "Gemm" or any(number(layer, key) for key in (4, 5, 6)):
        read = tensors(layer)
        if not read:
            raise NotANumber(kind)
        yield from ((one.count, one.tagged) for one in read)
