"""Layers of which another model may have the same weights but for a rounding to 16 bits.

One of both files has them in fp32, or another layer was folded into them, or tools rounded them
otherwise: pnnx before 20261020 cut off what fp16 does not hold, and rounds to the nearest since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.folding import (
    CHANGED_BY_FOLDING,
    WITH_OFFSETS,
    is_activation,
    lasting,
)
from pytest_ncnn_parity.network.versions.half import distances, ties_to_even
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.network.versions.weight_digests import Piece, pieces
from pytest_ncnn_parity.network.weight_tags import (
    FP16,
    FP32,
    FP32_IN_OLD_FILES,
    TAG_BYTES,
    has_tagged_weights,
)

Files = tuple[Path, Path]


class InOneFile(Frozen):
    """The file of one model, and by number of a layer the parts of it that the layer reads."""

    content: mmap
    read: dict[int, list[Piece]]

    @property
    def is_known(self) -> bool:
        """Whether it is known of each byte which layer reads it."""
        return max((own[-1].end for own in self.read.values()), default=0) == len(self.content)


class Apart(Frozen):
    """A layer here and its match there; by how many steps of fp16 their weights differ at most.

    0 if all that they read is the same, and inf if something else than weights in fp16 differs.
    """

    here: Layer
    there: Layer
    steps: float

    @property
    def rounded(self) -> bool:
        return self.steps == 1

    @property
    def unlike(self) -> bool:
        """Whether rounding is not all that makes the layers differ."""
        return self.steps > 1 or _line(self.here) != _line(self.there)


def rounded(models: Counterparts, files: Files) -> frozenset[int]:
    """The layers here whose weights may be those there but for such a rounding.

    Where both files have as many weights in 16 bits, they are the same, unless others were folded into
    them, or each is at most one step of fp16 off.
    """
    if not any((*models.halves, *models.brains)):
        return frozenset()
    one_has_more = any(own != its for own, its in (models.halves, models.brains))
    apart = () if one_has_more else _compared(models, files)[0]
    otherwise = {one.there.number for one in apart if one.rounded}
    return frozenset(
        number
        for number, there in models.of.items()
        if any(map(has_tagged_weights, there.layers))
        if one_has_more
        or any(map(_changes, (*there.replaced, *there.layers)))
        or any(layer.number in otherwise for layer in there.layers)
    )


def only_rounded(models: Counterparts, files: Files) -> tuple[frozenset[int], bool]:
    """The layers here that are those there, but for weights that are each at most one step of fp16 off.

    Their lines say the same, and all else that they read is the same. Also returns whether there are
    such layers, and all that the others read is the same.
    """
    if not any(models.halves):
        return frozenset(), False
    apart, complete = _compared(models, files)
    found = frozenset(one.here.number for one in apart if one.rounded and not one.unlike)
    return found, bool(found) and complete and not any(one.unlike for one in apart)


def _changes(layer: Layer) -> bool:
    """Whether folding `layer` changes weights, as a BatchNorm does and an activation does not."""
    keeps = is_copy(layer) or is_activation(layer) or layer.type in VIEWS | {"Padding"}
    return not (keeps or has_tagged_weights(layer))


def _compared(models: Counterparts, files: Files) -> tuple[Sequence[Apart], bool]:
    """How far matched layers are apart, and whether no other layer reads anything from a file."""
    try:
        with ExitStack() as opened:
            own, its = (
                _read(graph, opened.enter_context(path.open("rb")), opened)
                for graph, path in zip((models.here, models.there), files, strict=True)
            )
            apart = list(_found(models, own, its))
            return apart, all(file.is_known and len(file.read) == len(apart) for file in (own, its))
    except (OSError, ValueError):  # a file that cannot be read, or is empty, is an error of its own
        return (), False


def _read(graph: Graph, file: BinaryIO, opened: ExitStack) -> InOneFile:
    content = opened.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
    return InOneFile(content, pieces(graph, content))


def _found(models: Counterparts, own: InOneFile, its: InOneFile) -> Iterator[Apart]:
    for here, there in models.members:
        mine, theirs = own.read.get(here.number, ()), its.read.get(there.number, ())
        if not mine or len(mine) != len(theirs):
            continue
        pairs = zip(mine, theirs, strict=True)
        steps = max(_steps(own.content, its.content, *pair) for pair in pairs)
        yield Apart(here, there, steps)


def _steps(here: mmap, there: mmap, own: Piece, its: Piece) -> float:
    """By how many steps of fp16 the weights differ at most; inf for numbers that are not in fp16.

    Weights that only one file has in fp16 differ by 1 at least.
    """
    ours, theirs = here[own.start : own.end], there[its.start : its.end]
    if ours == theirs:
        return 0
    if own.tagged is None or own.tagged != its.tagged:
        return math.inf
    sides = [(_tag(stored), stored) for stored in (ours, theirs)]
    tags = {tag for tag, _ in sides}
    if FP16 not in tags or not tags <= {FP16, FP32, FP32_IN_OLD_FILES}:
        return math.inf
    halves = (_as_half(tag, stored, own.tagged) for tag, stored in sides)
    return max(float(distances(*halves).max(initial=0)), float(len(tags) - 1))


def _tag(stored: bytes) -> int:
    return int.from_bytes(stored[:TAG_BYTES], "little")


def _as_half(tag: int, stored: bytes, count: int) -> Array:
    if tag == FP16:
        return np.frombuffer(stored, "<u2", count, TAG_BYTES)
    return ties_to_even(np.frombuffer(stored, "<f4", count, TAG_BYTES))


def _line(layer: Layer) -> tuple[object, ...]:
    """What the line of `layer` says of what it computes."""
    changed = CHANGED_BY_FOLDING.get(layer.type, frozenset()) | WITH_OFFSETS.get(layer.type, frozenset())
    return layer.type, lasting(layer), {key: layer.params.get(key, "0") for key in changed}
