"""Layers of which another model may have the same weights but for a rounding to 16 bits.

One of both files has them in fp32, or another layer was folded into them, or tools rounded them
otherwise: pnnx before 20261020 cut off what fp16 does not hold, and rounds to the nearest since.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import VIEWS
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.folded_weights import InOneFile, folded_apart, steps_of_fp16
from pytest_ncnn_parity.network.versions.folding import (
    CHANGED_BY_FOLDING,
    WITH_OFFSETS,
    is_activation,
    lasting,
)
from pytest_ncnn_parity.network.versions.kept_by_quantizing import stated
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.network.versions.weight_digests import Piece, pieces
from pytest_ncnn_parity.network.weight_tags import has_tagged_weights

Files = tuple[Path, Path]


class Apart(Frozen):
    """Layers here, and there, of which one is folded into the other or that are the same.

    `steps`: by how many steps of fp16 their weights differ at most. 0 if all that they read is the same,
    and inf if something else than weights in fp16 differs. `unlike`: if more than rounding does.
    """

    here: tuple[Layer, ...]
    there: tuple[Layer, ...]
    steps: float
    unlike: bool

    @property
    def rounded(self) -> bool:
        return self.steps == 1


class Roundings:
    """What rounding may do to the weights of two models, whose `files` are compared once."""

    def __init__(self, models: Counterparts, files: Files) -> None:
        self._models = models
        self._files = files

    @cached_property
    def _compared(self) -> tuple[Sequence[Apart], bool]:
        return _compared(self._models, self._files)

    def possible(self) -> frozenset[int]:
        """The layers here whose weights may be those there but for such a rounding.

        Where both files have as many weights in 16 bits, they are the same, unless others were folded
        into them, or each is at most one step of fp16 off.
        """
        models = self._models
        if not any((*models.halves, *models.brains)):
            return frozenset()
        one_has_more = any(own != its for own, its in (models.halves, models.brains))
        apart = () if one_has_more else self._compared[0]
        otherwise = {one.there[0].number for one in apart if one.rounded}
        return frozenset(
            number
            for number, there in models.of.items()
            if any(map(has_tagged_weights, there.layers))
            if one_has_more
            or any(map(_changes, (*there.replaced, *there.layers)))
            or any(layer.number in otherwise for layer in there.layers)
        )

    def proven(self) -> tuple[frozenset[int], bool]:
        """The layers here that are those there, but for weights each at most one step of fp16 off.

        Their lines say the same, and all else that they read is the same. Also returns whether there
        are such layers, all that others read and say is the same, and so is how layers are connected.
        """
        if not any(self._models.halves):
            return frozenset(), False
        apart, complete = self._compared
        alike, whole = self._models.connected_alike
        found = frozenset(one.here[-1].number for one in apart if one.rounded and not one.unlike) & alike
        return found, bool(found) and whole and complete and not any(one.unlike for one in apart)


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
            sides = (own, [one.here for one in apart]), (its, [one.there for one in apart])
            return apart, all(file.is_read_by(layers) for file, layers in sides)
    except (OSError, ValueError):  # a file that cannot be read, or is empty, is an error of its own
        return (), False


def _read(graph: Graph, file: BinaryIO, opened: ExitStack) -> InOneFile:
    content = opened.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
    return InOneFile(content, pieces(graph, content))


def _found(models: Counterparts, own: InOneFile, its: InOneFile) -> Iterator[Apart]:
    for here, there in models.pairs:
        if [one.type for one in here] == [one.type for one in there]:
            for mine, theirs in zip(here, there, strict=True):
                steps = _of_layer(own, mine, its, theirs)
                unlike = (steps or 0) > 1 or _line(mine) != _line(theirs)
                if steps is not None or unlike:
                    yield Apart((mine,), (theirs,), steps or 0, unlike)
        elif (steps := folded_apart(own, here, its, there)) <= 1:
            yield Apart(here, there, steps, unlike=False)
        elif (alone := _of_layer(own, here[0], its, there[0])) is not None:
            yield Apart(here, there, alone, unlike=True)


def _of_layer(own: InOneFile, here: Layer, its: InOneFile, there: Layer) -> float | None:
    """By how many steps two layers are apart; None if they do not read as many parts."""
    mine, theirs = own.read.get(here.number, []), its.read.get(there.number, [])
    if not mine or len(mine) != len(theirs):
        return None
    return max(_steps(own, its, *pair) for pair in zip(mine, theirs, strict=True))


def _steps(here: InOneFile, there: InOneFile, own: Piece, its: Piece) -> float:
    """By how many steps of fp16 the weights differ at most; inf for numbers that are not in fp16.

    Weights that only one file has in fp16 differ by 1 at least.
    """
    if here.stored(own) == there.stored(its):
        return 0
    if own.tagged is None or own.tagged != its.tagged:
        return math.inf
    return steps_of_fp16(here.weights(own), there.weights(its))


def _line(layer: Layer) -> tuple[object, ...]:
    """What the line of `layer` says of what it computes; of an Input and of a view only the operator."""
    if layer.type in VIEWS | {"Input"}:
        return (layer.type,)
    changed = CHANGED_BY_FOLDING.get(layer.type, frozenset()) | WITH_OFFSETS.get(layer.type, frozenset())
    as_written = {key: layer.params.get(key, "0") for key in changed}
    return layer.type, lasting(layer), stated(layer), as_written
