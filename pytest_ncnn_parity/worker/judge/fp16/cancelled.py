"""Tiny values that are no more than what rounding in fp32 leaves of terms that cancel.

Where nothing is left in truth, as of mean(x * x) - mean(x) * mean(x) on a flat picture, 0 is as right as
they are, and what a reader makes of either is rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
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


class Cancelled:
    """The blobs whose tiny values are left by rounding, until their last reader has run."""

    def __init__(self, reference: Reference, natures: Natures) -> None:
        self._reference = reference
        self._natures = natures
        # by blob, how far an fp32 unit in the last place of all terms moves each of its values
        self._moves: dict[str, Array] = {}
        self._subtracted = _subtracted(reference.graph)

    def observe(self, name: str, value: Blob) -> None:
        """Take note of a reference output with tiny values, or of one whose rounding may be left."""
        if not (value.tiny or name in self._subtracted) or not self._reference.is_only_read(name):
            return
        layer = self._reference.graph.producer[name]
        if layer.type == "Split":
            moves = self._moves.get(layer.inputs[0])
        else:
            moves = self._moved_by(layer, value)
        if moves is not None and _are_left_by_rounding(value, moves):
            self._moves[name] = moves

    def _moved_by(self, layer: Layer, value: Blob) -> Array | None:
        """How far rounding of both terms that `layer` adds moves its output, `value`; None: unknown."""
        if not adds(layer) or not self._reference.has_all_of(layer):
            return None
        terms = {blob: self._reference.blobs[blob] for blob in layer.inputs}
        if len(terms) != 2 or any(
            one.shape != value.shape or one.batch or not one.floating for one in terms.values()
        ):
            return None
        return np.hypot(*(self._moves_of(blob, one) for blob, one in terms.items()))

    def _moves_of(self, blob: str, term: Blob) -> Array:
        """How far rounding moves a `term`: that of its own, and what it is left with of other terms."""
        own = np.abs(term.array.astype(np.float64)) * LAST_PLACE[None]
        return np.hypot(own, self._moves[blob]) if blob in self._moves else own

    def let_go(self, layer: Layer) -> None:
        """Drop what nobody reads behind `layer`."""
        for blob in self._moves.keys() & set(layer.inputs):
            if self._reference.is_read_up_to(layer, blob):
                del self._moves[blob]

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
        known = all(one.is_own and blob in self._moves for blob, one in lost.items())
        if not known or not is_default(tolerance) or not made.floating:
            return False
        right = self._reference.blobs[output].array
        moves, random = Moves(right), np.random.default_rng(0)
        try:
            for _ in range(DRAWS):
                values = {blob: self._reference.blobs[blob] for blob in layer.inputs}
                for blob in lost:
                    signs = random.choice([-1.0, 1.0], values[blob].shape)
                    moved = values[blob].array + self._moves[blob] * signs
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


def _are_left_by_rounding(value: Blob, moves: Array) -> bool:
    """Whether the tiny values of `value` are no larger than what rounding `moves` it by."""
    size = np.abs(value.array)
    tiny = (size > 0.0) & (size <= FP16_TINIEST / 2)
    return bool((size[tiny] <= MOST_OVERALL * moves[tiny]).all())
