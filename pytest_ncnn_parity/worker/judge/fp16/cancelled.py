"""Tiny values that are no more than what rounding in fp32 leaves of terms that cancel.

Where nothing is left in truth, as of mean(x * x) - mean(x) * mean(x) on a flat picture, 0 is as right as
they are, and what a reader makes of either is rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.blocks import each
from pytest_ncnn_parity.compare.noise import DRAWS, LAST_PLACE, MOST_OVERALL, Moves
from pytest_ncnn_parity.compare.number_formats import FP16_TINIEST
from pytest_ncnn_parity.compare.tolerance import Tolerance, is_default
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.natural_scale import adds
from pytest_ncnn_parity.network.operator_kinds import Binary, op_type
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.fp16.lost_values import LostValue
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.values.blob import Blob


class Sum:
    """A sum of two terms, with how far rounding has moved those that are sums themselves."""

    def __init__(self, terms: Sequence[Blob], moved: Sequence[Array]) -> None:
        self._terms = terms
        self._moved = moved

    @cached_property
    def moves(self) -> Array:
        """How far an fp32 unit in the last place of all terms moves each value: float64."""
        return _moved_by([term.array for term in self._terms], self._moved)

    def is_left_by_rounding(self, value: Blob) -> bool:
        """Whether the tiny ones of the sum, `value`, are no larger than rounding moves them."""
        if not value.tiny:
            return True
        terms = [term.array for term in self._terms]

        def are_left(_: int, sums: Array, *parts: Array) -> bool:
            size = np.abs(sums)
            tiny = np.flatnonzero((size > 0.0) & (size <= FP16_TINIEST / 2))
            read = [part[tiny] for part in parts]
            moves = _moved_by(read[: len(terms)], read[len(terms) :])
            return bool((size[tiny] <= MOST_OVERALL * moves).all())

        return all(each(are_left, value.array, *terms, *self._moved))


def _moved_by(terms: Sequence[Array], moved: Sequence[Array]) -> Array:
    """How far rounding of `terms` moves their sum; it has `moved` some of them already."""
    own = [np.abs(term.astype(np.float64)) * LAST_PLACE[None] for term in terms]
    return reduce(np.hypot, [*own, *moved])


class Cancelled:
    """The blobs whose tiny values are left by rounding, until their last reader has run."""

    def __init__(self, reference: Reference, natures: Natures, known: dict[str, bool]) -> None:
        """`known`, which grows: by value, whether its tiny values are left by rounding."""
        self._reference = reference
        self._natures = natures
        self._known = known
        self._sums: dict[str, Sum] = {}
        self._subtracted = _subtracted(reference.graph)

    def observe(self, name: str, value: Blob) -> None:
        """Take note of a reference output with tiny values, or of one whose rounding may be left."""
        if not (value.tiny or name in self._subtracted) or not self._reference.is_only_read(name):
            return
        if not self._known.get(name, True):
            return
        layer = self._reference.graph.producer[name]
        if layer.type == "Split":
            of = self._sums.get(layer.inputs[0])
        else:
            of = self._sum(layer, value)
        if of is None:
            return
        if name not in self._known:
            self._known[name] = of.is_left_by_rounding(value)
        if self._known[name]:
            self._sums[name] = of

    def _sum(self, layer: Layer, value: Blob) -> Sum | None:
        """The sum or difference of two terms that `layer` makes, `value`; None if it makes none."""
        if not adds(layer) or not self._reference.has_all_of(layer):
            return None
        read = {blob: self._reference.blobs[blob] for blob in layer.inputs}
        if len(read) != 2 or any(
            one.shape != value.shape or one.batch or not one.floating for one in read.values()
        ):
            return None
        # moves of sums are computed here, because a chain of them would keep the values of all
        moved = [self._sums[blob].moves for blob in read if blob in self._sums]
        return Sum(list(read.values()), moved)

    def let_go(self, layer: Layer) -> None:
        """Drop what nobody reads behind `layer`."""
        for blob in self._sums.keys() & set(layer.inputs):
            if self._reference.is_read_up_to(layer, blob):
                del self._sums[blob]

    def explain(
        self,
        layer: Layer,
        output: str,
        lost: Mapping[str, LostValue],
        made: Blob,
        tolerance: Tolerance,
    ) -> bool:
        """Whether all that `layer` reads as 0 is left by rounding, which moves its output as far.

        `made` is what it computes from the zeros.
        """
        known = all(one.is_own and blob in self._sums for blob, one in lost.items())
        if not known or not is_default(tolerance) or not made.floating:
            return False
        right = self._reference.blobs[output].array
        moves, random = Moves(right), np.random.default_rng(0)
        try:
            for _ in range(DRAWS):
                values = {blob: self._reference.blobs[blob] for blob in layer.inputs}
                for blob in lost:
                    signs = random.choice([-1.0, 1.0], values[blob].shape)
                    moved = values[blob].array + self._sums[blob].moves * signs
                    values[blob] = Blob.of(moved.astype(np.float32))
                moves.add(self._reference.run(layer, values)[output].array)
        except (StepFailed, ValueError):
            return False
        scale = self._natures.scale(output, right, tolerance, whole=False)
        return moves.against(made.array, right, tolerance, scale).explains


def _subtracted(graph: Graph) -> frozenset[str]:
    """The blobs that are subtracted, or from which others are, themselves or their copies."""
    blobs: set[str] = set()
    for layer in reversed(graph.layers):
        of_copies = layer.type == "Split" and not blobs.isdisjoint(layer.outputs)
        if of_copies or (adds(layer) and op_type(layer) in (Binary.SUB, Binary.RSUB)):
            blobs.update(layer.inputs)
    return frozenset(blobs)
