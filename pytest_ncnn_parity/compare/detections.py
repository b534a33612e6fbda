"""Compares lists of detections: rows of class, score and box that pass a threshold, ordered by score.

Two runs of a detector find the same objects and may list them differently: rows with equal scores swap
places, and a score or an overlap close to a threshold falls on its other side. So rows are matched
first, and then compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.measured import NOTHING, Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance

COLUMNS = 6  # class, score, and x and y of two corners
# Of what a Proposal lists, boxes in one output and scores in another, where each number stands
ALONE = {4: slice(2, COLUMNS), 1: slice(1, 2)}
SCORE_SCALE = 0.5  # as for any other probability; errors of 0.003 were seen
# how far a box may be off, as a share of its size plus its score, and still belong to the same object
FARTHEST = 0.5
# A smaller box is measured as one of this size, a share of the boxes' median distance from the origin:
# rounding of a coordinate is a share of that, so that a box of 1e-4 of the picture was off by its own
# size. The median, because a head of random weights gives boxes of 1e24 as well.
LEAST_BOX = 0.02
TIE = 0.25  # of `scaled`: scores that differ by no more are the same; in fp16 errors are 0.003
# a threshold decides for a few rows only; if more differ, something else is wrong
MOST_DECIDED = 0.05


class Thresholds(Frozen):
    """What a detector keeps: scores of at least `score`, and at most `most` boxes, the best ones.

    A box is dropped if it overlaps a better one by more than `overlap` (intersection over union).
    """

    score: float
    overlap: float
    most: int | None = None


class Detections(Frozen):
    """What a comparison of detections measured. `metrics` cover the rows that both sides have.

    `rms` is the root mean square of their errors, as shares of their units. `missing` rows are in the
    reference alone, `extra` ones in the candidate alone. `decided` counts those of both that slightly
    other thresholds would put on both sides: so close to them are their scores, or their overlaps with
    other boxes.
    """

    metrics: Metrics
    rms: float
    reference: int
    candidate: int
    missing: int
    extra: int
    decided: int

    @property
    def alone(self) -> int:
        """The number of rows on one side alone."""
        return self.missing + self.extra

    @property
    def thresholds_decide(self) -> bool:
        """Whether only a few rows are on one side alone, and all of them are close to a threshold."""
        few = max(2.0, MOST_DECIDED * max(self.reference, self.candidate))
        return 0 < self.alone == self.decided and self.alone <= few

    @property
    def counts(self) -> str:
        """How many rows both sides have, in words."""
        return f"{self.candidate} detections, the reference has {self.reference}"

    @property
    def moved(self) -> str:
        """How far rows are off, in words, and how many are on one side alone."""
        off = f"rows are off by {self.metrics.least_scaled:.3g}"
        return f"{self.counts}: {off}, and {self.alone} on one side alone"

    def __str__(self) -> str:
        if not self.reference and not self.candidate:
            return "nothing was detected on either side"
        counts = self.counts
        if not self.alone:
            return counts if self.reference != self.candidate else f"{self.candidate} detections"
        alone = f"{self.missing} of the reference's missing, {self.extra} too many"
        sentence = "a threshold decides" if self.thresholds_decide else f"{self.decided} at a threshold"
        return f"{counts} ({alone}; {sentence})"


def match(
    candidate: Array,
    reference: Array,
    tolerance: Tolerance,
    thresholds: Thresholds,
    found: Array | None = None,
    farthest: float = FARTHEST,
    near: float | None = None,
) -> Detections:
    """Compare arrays of shape (n, 6), (n, 1, 4) or (n, 1, 1); any other shape holds no detections.

    A box is off by a share of its larger side, a score by a share of 0.5; classes are equal or not.
    `found`: all boxes of the reference, including those that better ones suppress. Of boxes with the
    same score, either may be listed where they overlap, or where the list is full. Rows whose boxes
    differ by more than `farthest`, a share of the size plus that of the score, do not belong together. A
    row lies at a threshold if an error of `near`, by default the tolerance's `scaled`, puts it on the
    other side.
    """
    near = tolerance.scaled if near is None else near
    ours, theirs = (_rows(array) for array in (candidate, reference))
    pairs = _pairs(ours, theirs, (min(2.0 * tolerance.scaled, farthest), farthest))
    swapped = 0
    if found is not None:
        alike = {i: j for i, j in pairs.items() if _agree(ours[j], theirs[i], tolerance)}
        swapped = _swapped(ours, theirs, alike, _rows(found), tolerance, thresholds)
        pairs = alike if swapped else pairs
    missing = [i for i in range(len(theirs)) if i not in pairs and not swapped]
    extra = [] if swapped else sorted(set(range(len(ours))) - set(pairs.values()))
    matched = ours[list(pairs.values())], theirs[list(pairs)]
    metrics = _of_pairs(*matched, tolerance)
    decided = sum(
        _near_threshold(row, others, thresholds, near)
        and not _is_of_another_class(row, others[alone], near)
        for indices, among, others, alone in (
            (missing, theirs, ours, extra),
            (extra, ours, theirs, missing),
        )
        for row in among[indices]
    )
    seen = Detections(metrics, _rms(*matched), len(theirs), len(ours), len(missing), len(extra), decided)
    if missing or extra:
        metrics = replace(metrics, agrees=False, failed=(str(seen), *metrics.failed))
    elif not len(ours):
        metrics = replace(metrics, forgiven=str(seen))
    elif swapped:
        forgiven = f"{swapped} of them stand for others with the same score"
        metrics = replace(metrics, forgiven=f"{seen}; {forgiven}")
    return replace(seen, metrics=metrics)


def _swapped(
    ours: Array,
    theirs: Array,
    pairs: dict[int, int],
    found: Array,
    tolerance: Tolerance,
    thresholds: Thresholds,
) -> int:
    """The number of our rows listed in place of rows with the same score.

    It is 0 unless this explains everything: each missing row overlaps an extra one and is no better,
    each extra row overlaps a missing one, and was found by the reference as well; one row may stand for
    several. Where both lists are full, a row that is no better than the other list's last one need not
    overlap another: there was a place for it.
    """
    missing = theirs[[i for i in range(len(theirs)) if i not in pairs]]
    extra = ours[sorted(set(range(len(ours))) - set(pairs.values()))]
    if not (len(missing) and len(extra) and np.isfinite(extra).all() and np.isfinite(missing).all()):
        return 0
    near, tie = (2.0 * tolerance.scaled,), TIE * tolerance.scaled
    is_full = thresholds.most is not None and len(ours) == len(theirs) >= thresholds.most
    explained = all(
        (is_full and row[1] <= whole[:, 1].min() + tie)
        or _is_suppressed(row, others, thresholds, tolerance.scaled, tie)
        for rows, others, whole in ((missing, extra, ours), (extra, missing, theirs))
        for row in rows
    )
    were_found = all(_pairs(found, row[None], near) for row in extra)
    return len(extra) if explained and were_found else 0


def is_list(array: Array) -> bool:
    """Whether `array` is a list of detections, of shape (n, 6), where n may be 0.

    So is one of boxes or scores alone, of shape (n, 1, 4) or (n, 1, 1).
    """
    return (array.ndim == 2 and array.shape[1] == COLUMNS) or _is_of_boxes_or_scores(array)


def _is_of_boxes_or_scores(array: Array) -> bool:
    return array.ndim == 3 and array.shape[1] == 1 and array.shape[2] in ALONE


def _rows(array: Array) -> Array:
    if _is_of_boxes_or_scores(array):
        rows = np.zeros((len(array), COLUMNS))
        rows[:, ALONE[array.shape[2]]] = array[:, 0]
        return rows
    if is_list(array):
        return array.astype(np.float64)
    return np.empty((0, COLUMNS))  # a YoloDetectionOutput that finds nothing hands on its input


def _apart(one: Array, other: Array) -> Array:
    """How far numbers are apart; inf and inf, and nan and nan, are the same."""
    with np.errstate(invalid="ignore"):
        distances: Array = np.abs(one - other)
    distances[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
    return distances


def _sizes(rows: Array) -> Array:
    """The length of the larger side of each box, or of the least box that has a size of its own."""
    sides: Array = _apart(rows[:, 4:], rows[:, 2:4]).max(1, initial=0.0)
    sides[~np.isfinite(sides)] = 0.0
    corners = np.abs(np.where(np.isfinite(rows[:, 2:]), rows[:, 2:], 0.0)).max(1, initial=0.0)
    least = LEAST_BOX * float(np.median(corners)) if len(rows) else 0.0
    return np.maximum(sides, max(least, float(np.finfo(np.float32).tiny)))


def _pairs(ours: Array, theirs: Array, within: Sequence[float]) -> dict[int, int]:
    """For each of their rows, our row: the nearest `within` a distance, else the next in order."""
    pairs: dict[int, int] = {}
    free = np.ones(len(ours), bool)
    sizes = _sizes(theirs)
    for farthest in within:
        for i, row in enumerate(theirs):
            if i in pairs or not free.any():
                continue
            far = _apart(ours[:, 2:], row[2:]).max(1) / sizes[i] + _apart(ours[:, 1], row[1])
            far[~free | (ours[:, 0] != row[0]) | np.isnan(far)] = math.inf
            nearest = int(far.argmin())
            if far[nearest] <= farthest:
                pairs[i] = nearest
                free[nearest] = False
    return pairs


def _agree(our: Array, their: Array, tolerance: Tolerance) -> bool:
    return _of_pairs(our[None], their[None], tolerance).agrees


def _of_pairs(ours: Array, theirs: Array, tolerance: Tolerance) -> Metrics:
    if not len(theirs):
        return NOTHING
    scale = _units(theirs)
    scale[:, 0] = 0.0  # classes are equal or not
    return compare(ours, theirs, tolerance, scale)


def _units(rows: Array) -> Array:
    """What an error of each number is a share of; that of a class is 1."""
    units = np.repeat(_sizes(rows)[:, None], COLUMNS, axis=1)
    units[:, 0], units[:, 1] = 1.0, SCORE_SCALE
    return units


def _rms(ours: Array, theirs: Array) -> float:
    """The root mean square of the errors of rows that belong together, as shares of their units."""
    if not len(theirs):
        return 0.0
    return float(np.sqrt(np.mean((_apart(ours, theirs) / _units(theirs)) ** 2)))


def _near_threshold(row: Array, others: Array, thresholds: Thresholds, scaled: float) -> bool:
    """Whether only a small error keeps `row` from being one of the `others` too."""
    if not (np.isfinite(row).all() and np.isfinite(others).all()):
        return False
    least, off = thresholds.score, scaled * SCORE_SCALE
    if thresholds.most is not None and len(others) >= thresholds.most:
        least = max(least, others[:, 1].min())  # the list is full, so a worse row has no place
    return bool(row[1] <= least + off) or _is_suppressed(row, others, thresholds, scaled, off)


def _is_suppressed(row: Array, others: Array, thresholds: Thresholds, scaled: float, tie: float) -> bool:
    """Whether `row` overlaps one of `others` whose score is no less, or less by at most `tie`."""
    better = others[others[:, 1] >= row[1] - tie]
    # an error of `scaled` times a side changes the overlap by twice as much
    return bool((_overlaps(row, better) >= thresholds.overlap - 2.0 * scaled).any())


def _is_of_another_class(row: Array, alone: Array, scaled: float) -> bool:
    """Whether one of the rows `alone` on the other side equals `row` except for its class."""
    far = np.abs(alone[:, 2:] - row[2:]).max(1, initial=0.0)
    scores = np.abs(alone[:, 1] - row[1]) <= scaled * SCORE_SCALE
    same = (far <= scaled * _sizes(row[None])[0]) & scores
    return bool(same.any())


def _overlaps(row: Array, rows: Array) -> Array:
    """The intersection over union of one box with each of the others."""
    low, high = np.maximum(row[2:4], rows[:, 2:4]), np.minimum(row[4:], rows[:, 4:])
    shared = np.maximum(high - low, 0.0).prod(1)
    areas = [np.abs(r[..., 4:] - r[..., 2:4]).prod(-1) for r in (row, rows)]
    overlaps: Array = shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(np.float64).tiny)
    return overlaps
