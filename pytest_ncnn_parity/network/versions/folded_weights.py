"""Whether weights are those of the layers that were folded into them, but for a rounding to fp16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from mmap import mmap

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, number
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING, is_activation, lasting
from pytest_ncnn_parity.network.versions.half import distances, ties_to_even
from pytest_ncnn_parity.network.versions.kept_by_quantizing import activation
from pytest_ncnn_parity.network.versions.weight_digests import Piece
from pytest_ncnn_parity.network.weight_tags import FP16, FP32, FP32_IN_OLD_FILES, TAG_BYTES

AT_ONCE = 2**16  # weights, which a processor's cache holds
ROUNDED_BIAS = 1e-5  # of the terms of a bias, which are added up in fp32

Weights = tuple[int, Array]  # the tag, and the numbers as they are stored


class InOneFile(Frozen):
    """The file of one model, and by number of a layer the parts of it that the layer reads."""

    content: mmap
    read: dict[int, list[Piece]]

    def is_read_by(self, layers: Sequence[Sequence[Layer]]) -> bool:
        """Whether these layers, and no others, are known to read it, to its end."""
        numbers = {one.number for unit in layers for one in unit}
        end = max((own[-1].end for own in self.read.values()), default=0)
        return end == len(self.content) and self.read.keys() <= numbers

    def stored(self, piece: Piece) -> bytes:
        return self.content[piece.start : piece.end]

    def weights(self, piece: Piece) -> Weights:
        """The numbers behind a tag; none if they are neither in fp16 nor in fp32."""
        stored = self.stored(piece)
        tag = int.from_bytes(stored[:TAG_BYTES], "little")
        kind = {FP16: "<f2", FP32: "<f4", FP32_IN_OLD_FILES: "<f4"}.get(tag)
        return tag, np.frombuffer(stored, kind or "<f4", piece.tagged or 0 if kind else 0, TAG_BYTES)

    def floats(self, piece: Piece) -> Array:
        return np.frombuffer(self.stored(piece), "<f4").astype(np.float64)


def steps_of_fp16(one: Weights, other: Weights) -> float:
    """By how many steps of fp16 weights differ at most, inf if neither file has them in fp16.

    Weights that only one file has in fp16 differ by 1 at least.
    """
    tags = {one[0], other[0]}
    if FP16 not in tags or not tags <= {FP16, FP32, FP32_IN_OLD_FILES}:
        return math.inf
    steps = float(len(tags) - 1)
    for start in range(0, len(one[1]), AT_ONCE):
        parts = ((tag, weights[start : start + AT_ONCE]) for tag, weights in (one, other))
        own, its = (v.view("<u2") if tag == FP16 else ties_to_even(v) for tag, v in parts)
        if not np.array_equal(own, its):
            steps = max(steps, float(distances(own, its).max()))
    return steps


def folded_apart(own: InOneFile, here: Sequence[Layer], its: InOneFile, there: Sequence[Layer]) -> float:
    """By how many steps of fp16 weights differ at most, of which one has what the other is followed by.

    It is inf if more differs than their rounding, or it is not known how they are folded.
    """
    cores = here[0], there[0]
    if cores[0].type != cores[1].type or lasting(cores[0]) != lasting(cores[1]):
        return math.inf
    functions = activation(cores[0], here), activation(cores[1], there)
    if functions[0] is None or functions[1] is None or not functions[0].is_same(functions[1], math.inf):
        return math.inf
    try:
        mine, theirs = _folded(own, here), _folded(its, there)
    except (NotANumber, KeyError, ValueError):  # unknown parts, or sizes that do not go together
        return math.inf
    if mine is None or theirs is None or mine.weights[1].shape != theirs.weights[1].shape:
        return math.inf
    allowed = ROUNDED_BIAS * np.maximum(mine.terms, theirs.terms)
    if not (np.abs(mine.bias - theirs.bias) <= allowed).all():
        return math.inf
    if mine.weights[0] == theirs.weights[0] and np.array_equal(mine.weights[1], theirs.weights[1]):
        return 0
    return steps_of_fp16(mine.weights, theirs.weights)


class _Folded(Frozen):
    """The weights and the bias of a layer with what is behind it; `terms`: how large the bias's are."""

    weights: Weights
    bias: Array
    terms: Array


def _folded(file: InOneFile, layers: Sequence[Layer]) -> _Folded | None:
    core, *behind = layers
    parts = file.read.get(core.number, [])
    if core.type not in CHANGED_BY_FOLDING or not parts or parts[0].tagged is None:
        return None
    tag, stored = file.weights(parts[0])
    weights = stored.astype(np.float64).reshape(number(core, 0), -1)
    bias = file.floats(parts[1]) if parts[1].end > parts[1].start else np.zeros(len(weights))
    terms = np.abs(bias)
    for layer in behind:
        if layer.type == "BatchNorm":
            slope, mean, variance, offset = file.floats(file.read[layer.number][0]).reshape(4, -1)
            factor = slope / np.sqrt(variance + decimal(layer, 1, 0.0))
            weights, bias = weights * factor[:, None], (bias - mean) * factor + offset
            terms = (terms + np.abs(mean)) * np.abs(factor) + np.abs(offset)
        elif not is_activation(layer):
            return None
    if any(layer.type == "BatchNorm" for layer in behind):
        tag, stored = FP32, weights.astype("<f4")
    return _Folded((tag, stored.reshape(-1)), bias, terms)
