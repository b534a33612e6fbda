"""How far lists of detections move that a model in int8 gives: boxes, scores, and which rows there are.

`OwnMoves` compares arrays of one shape, element by element. Rows of a list are matched instead, and
one that is listed on one side alone may lie as far from a threshold as rounding moves the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.detections import Array, Detections, Thresholds, match
from pytest_ncnn_parity.compare.int8 import MOST_ELEMENT, MOST_MOVED
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance


class OwnListMoves(Frozen):
    """How far a list of detections moves on the CPU itself for no reason but rounding.

    `largest` and `rms` are those of the errors of matched rows, as shares of a box's larger side or,
    for scores, of 0.5; `alone` counts the rows that one side alone has. Each is the most of all runs.
    """

    thresholds: Thresholds
    largest: float
    rms: float
    alone: int

    def forgiving(
        self, metrics: Metrics, candidate: Array, reference: Array, tolerance: Tolerance
    ) -> Metrics:
        """`metrics`, as agreeing if the two lists, (n, 6), differ by no more than such moves."""
        if metrics.agrees or not tolerance.moves:
            return metrics
        farthest = min(MOST_MOVED, MOST_ELEMENT * self.largest)
        seen = _matched(candidate, reference, farthest, self.thresholds)
        few = max(2.0, MOST_MOVED * (seen.candidate + seen.reference))
        most_alone = min(math.floor(few), math.ceil(tolerance.moves * self.alone))
        own = f"int8 moves this list by {self.largest:.3g} on the CPU as well, where {self.alone} are"
        allowed = f"rows off by {farthest:.3g}, and {most_alone} on one side alone, for {own}"
        metrics = replace(metrics, also_allowed=allowed)
        off = seen.metrics.least_scaled
        if off > farthest or seen.rms > tolerance.moves * self.rms:
            return metrics
        if seen.alone > most_alone or seen.decided < seen.alone:
            return metrics
        forgiven = (
            f"{seen.counts}: rows are off by {off:.3g}, and {seen.alone} on one side alone, but {own}"
        )
        return replace(metrics, agrees=True, failed=(), forgiven=forgiven)


def own_list_moves(still: Array, others: Iterable[Array], thresholds: Thresholds) -> OwnListMoves:
    """Compare the list `still` with `others`, from runs that should have given the same."""
    moves = [_matched(other, still, 0.0, thresholds) for other in others]
    return OwnListMoves(
        thresholds,
        max((move.metrics.least_scaled for move in moves), default=0.0),
        max((move.rms for move in moves), default=0.0),
        max((move.alone for move in moves), default=0),
    )


def _matched(candidate: Array, reference: Array, scaled: float, thresholds: Thresholds) -> Detections:
    """Where the suppression keeps another box of several, neither is the other one, moved."""
    return match(candidate, reference, Tolerance(scaled=scaled), thresholds, farthest=MOST_MOVED)
