"""Layers of which another model may have the same weights but for a rounding to 16 bits.

One of both files has them in fp32, or another layer was folded into them, or tools rounded them
otherwise: pnnx before 20261020 cut off what fp16 does not hold, and rounds to the nearest since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.folding import is_activation
from pytest_ncnn_parity.network.versions.half import distances
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.network.versions.weight_digests import Piece, pieces
from pytest_ncnn_parity.network.weight_tags import FP16, TAG_BYTES, has_tagged_weights

Files = tuple[Path, Path]


class InOneFile(Frozen):
    """The file of one model, and by number of a layer the parts of it that the layer reads."""

    content: mmap
    read: dict[int, list[Piece]]


def rounded(models: Counterparts, files: Files) -> frozenset[int]:
    """The layers here whose weights may be those there but for such a rounding.

    Where both files have as many weights in 16 bits, they are the same, unless others were folded into
    them, or each is at most one step of fp16 off.
    """
    if not any((*models.halves, *models.brains)):
        return frozenset()
    one_has_more = any(own != its for own, its in (models.halves, models.brains))
    otherwise = frozenset() if one_has_more else _otherwise(models, files)
    return frozenset(
        number
        for number, there in models.of.items()
        if any(map(has_tagged_weights, there.layers))
        if one_has_more
        or any(map(_changes, (*there.replaced, *there.layers)))
        or any(layer.number in otherwise for layer in there.layers)
    )


def _changes(layer: Layer) -> bool:
    """Whether folding `layer` changes weights, as a BatchNorm does and an activation does not."""
    keeps = is_copy(layer) or is_activation(layer) or layer.type in VIEWS | {"Padding"}
    return not (keeps or has_tagged_weights(layer))


def _otherwise(models: Counterparts, files: Files) -> frozenset[int]:
    """The layers there whose weights are a step of fp16 off those of their match, and no more."""
    try:
        with ExitStack() as opened:
            own, its = (
                _read(graph, opened.enter_context(path.open("rb")), opened)
                for graph, path in zip((models.here, models.there), files, strict=True)
            )
            return frozenset(_found(models, own, its))
    except (OSError, ValueError):  # a file that cannot be read, or is empty, is an error of its own
        return frozenset()


def _read(graph: Graph, file: BinaryIO, opened: ExitStack) -> InOneFile:
    content = opened.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
    return InOneFile(content, pieces(graph, content))


def _found(models: Counterparts, own: InOneFile, its: InOneFile) -> Iterator[int]:
    for here, there in models.cores.items():
        mine, theirs = own.read.get(here, ()), its.read.get(there, ())
        if len(mine) != len(theirs):
            continue
        pairs = zip(mine, theirs, strict=True)
        if max((_steps(own.content, its.content, *pair) for pair in pairs), default=0) == 1:
            yield there


def _steps(here: mmap, there: mmap, own: Piece, its: Piece) -> float:
    """By how many steps of fp16 the weights differ at most; inf for numbers that are not in fp16."""
    ours, theirs = here[own.start : own.end], there[its.start : its.end]
    if ours == theirs:
        return 0
    tag = FP16.to_bytes(TAG_BYTES, "little")
    if (
        own.tagged is None
        or own.tagged != its.tagged
        or not ours[:TAG_BYTES] == theirs[:TAG_BYTES] == tag
    ):
        return math.inf
    halves = (np.frombuffer(stored, "<u2", own.tagged, TAG_BYTES) for stored in (ours, theirs))
    return float(distances(*halves).max(initial=0))
