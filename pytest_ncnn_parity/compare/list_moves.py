"""How far lists of detections move for no reason but rounding: boxes, scores, and which rows there are.

Other outputs are compared element by element with those of runs that should have given the same. Rows
of lists are matched instead, and one that is listed on one side alone may lie as far from a threshold
as the others move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.detections import Detections, Thresholds, match
from pytest_ncnn_parity.compare.tolerance import Tolerance

# Of a box's larger side, or of 0.5 for scores: rows that differ by more do not belong together. And of
# the rows of both sides, the share that may be on one side alone.
MOST = 0.2


class ListMoves(Frozen):
    """How far a list moved in several runs, each figure the most of all.

    `largest` and `rms` are those of the errors of matched rows, as shares of a box's larger side or,
    for scores, of 0.5; `alone` counts the rows that one side alone has.
    """

    thresholds: Thresholds
    largest: float
    rms: float
    alone: int

    def farthest(self, times: float) -> float:
        """How far a matched row may be off."""
        return min(MOST, times * self.largest)

    def most_alone(self, times: float, rows: int) -> int:
        """How many of the rows of both sides may be on one side alone."""
        return min(math.floor(max(2.0, MOST * rows)), math.ceil(times * self.alone))

    def explain(
        self, candidate: Array, reference: Array, times: float = 1.0, of_one: float = 1.0
    ) -> Detections | None:
        """What two lists, (n, 6), differ by; None if it is more than `times` these moves.

        A single number may be off by `of_one` times the largest. No row on one side alone is farther
        from a threshold than rows moved.
        """
        farthest = self.farthest(of_one)
        seen = _matched(candidate, reference, farthest, self.thresholds, self.largest)
        if seen.metrics.least_scaled > farthest or seen.rms > times * self.rms:
            return None
        rows = seen.candidate + seen.reference
        if seen.alone > self.most_alone(times, rows) or seen.decided < seen.alone:
            return None
        return seen


def list_moves(still: Array, others: Iterable[Array], thresholds: Thresholds) -> ListMoves:
    """Compare the list `still` with `others`, from runs that should have given the same."""
    moves = [_matched(other, still, 0.0, thresholds, 0.0) for other in others]
    return ListMoves(
        thresholds,
        max((move.metrics.least_scaled for move in moves), default=0.0),
        max((move.rms for move in moves), default=0.0),
        max((move.alone for move in moves), default=0),
    )


def _matched(
    candidate: Array, reference: Array, scaled: float, thresholds: Thresholds, near: float
) -> Detections:
    """Where the suppression keeps another box of several, neither is the other one, moved."""
    return match(candidate, reference, Tolerance(scaled=scaled), thresholds, farthest=MOST, near=near)
