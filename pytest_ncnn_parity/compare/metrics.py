"""Computes metrics from two arrays and a tolerance. Pure numpy; values that disagree raise nothing."""

from __future__ import annotations

import math

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.blocks import each_in_threads, scratch
from pytest_ncnn_parity.compare.measured import NOTHING, Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance

Scale = float | Array

NEAR_END = 2.0**127  # half of fp32's range: exp on the CPU stops at 2.4e38, on Vulkan it gives inf


def compare(
    candidate: Array, reference: Array, tolerance: Tolerance, scale: Scale | None = None
) -> Metrics:
    """Compare float arrays of one shape, element by element and as a whole.

    The tolerance's `scaled` is a share of `scale`: a number, or an array that broadcasts to the arrays'
    shape; by default, the largest magnitude in the reference. Arrays without elements, which only
    detectors give, agree. Arrays of different shapes raise ValueError.
    """
    if candidate.shape != reference.shape:
        raise ValueError(f"shapes differ: {candidate.shape} and {reference.shape}")
    if not reference.size:
        return NOTHING
    if candidate.ndim == 0:
        candidate, reference = candidate.reshape(1), reference.reshape(1)
    stats = _Statistics()
    for block in each_in_threads(_Statistics.of_block, candidate, reference):
        stats.add(block)
    if scale is None:
        scale = stats.reference_absmax
    return _judge(stats, candidate, reference, tolerance, scale)


def agrees_but_for_inf(candidate: Array, reference: Array, tolerance: Tolerance) -> bool:
    """Whether all agree, except that the candidate has inf in place of some finite values of that sign.

    Arrays of different shapes do not agree.
    """
    if candidate.shape != reference.shape:
        return False
    inf = np.isinf(candidate) & (np.sign(candidate) == np.sign(reference)) & np.isfinite(reference)
    if not inf.any():
        return False
    return compare(np.where(inf, reference, candidate), reference, tolerance).agrees


def agrees_but_for_ends(candidate: Array, reference: Array, tolerance: Tolerance) -> bool:
    """Whether all agree, except where both have values of one sign near the end of fp32, or inf.

    Such values are left out of the scale of the others. Arrays of different shapes do not agree.
    """
    if candidate.shape != reference.shape:
        return False
    ends = (np.abs(candidate) >= NEAR_END) & (np.abs(reference) >= NEAR_END)
    ends &= np.sign(candidate) == np.sign(reference)
    if not ends.any():
        return False
    ours, theirs = (np.where(ends, 0.0, array) for array in (candidate, reference))
    return compare(ours, theirs, tolerance).agrees


class _Statistics:
    """Sums and extremes of both arrays, over the pairs that are finite on both sides."""

    def __init__(self) -> None:
        self.nan = self.inf = self.misplaced = 0
        self.max_abs = -1.0
        self.worst = self.worst_misplaced = -1
        self.largest_misplaced = -1.0
        self.reference_absmax = self.candidate_absmax = 0.0
        self.rr = self.cc = self.cr = self.dd = 0.0

    @staticmethod
    def of_block(start: int, candidate: Array, reference: Array) -> _Statistics:
        """The statistics of one block, whose first element has the index `start`."""
        stats = _Statistics()
        c, r, d = scratch("float64", reference.size, 3)
        np.copyto(c, candidate)
        np.copyto(r, reference)
        rr = float(np.dot(r, r))
        if math.isfinite(rr):
            np.subtract(c, r, out=d)
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                np.subtract(c, r, out=d)
        dd = float(np.dot(d, d))
        r_range, c_range = reference, candidate
        if not (math.isfinite(rr) and math.isfinite(dd)):
            r_finite, c_finite = np.isfinite(r), np.isfinite(c)
            finite = r_finite & c_finite
            stats._count(start, c, r, finite)
            # zeros in place of values that are not finite keep every index and add nothing to a sum
            r_range, c_range = np.where(r_finite, r, 0.0), np.where(c_finite, c, 0.0)
            c, r = np.where(finite, c, 0.0), np.where(finite, r, 0.0)
            d = c - r
            rr, dd = float(np.dot(r, r)), float(np.dot(d, d))
        stats.rr, stats.dd = rr, dd
        stats.cc, stats.cr = float(np.dot(c, c)), float(np.dot(c, r))
        np.abs(d, out=d)
        place = int(d.argmax())
        stats.max_abs, stats.worst = float(d[place]), start + place
        stats.reference_absmax, stats.candidate_absmax = _absmax(r_range), _absmax(c_range)
        return stats

    def add(self, block: _Statistics) -> None:
        """Include the block that follows."""
        self.rr += block.rr
        self.dd += block.dd
        self.cc += block.cc
        self.cr += block.cr
        if block.max_abs > self.max_abs:
            self.max_abs, self.worst = block.max_abs, block.worst
        self.reference_absmax = max(self.reference_absmax, block.reference_absmax)
        self.candidate_absmax = max(self.candidate_absmax, block.candidate_absmax)
        self.nan += block.nan
        self.inf += block.inf
        self.misplaced += block.misplaced
        if block.misplaced and (
            self.worst_misplaced < 0 or block.largest_misplaced > self.largest_misplaced
        ):
            self.worst_misplaced = block.worst_misplaced
            self.largest_misplaced = block.largest_misplaced

    def _count(self, start: int, c: Array, r: Array, finite: Array) -> None:
        # NaN agrees with NaN, and inf with inf of the same sign; any other value that is not finite
        # disagrees
        wrong = ~finite & ~(np.isnan(c) & np.isnan(r)) & ~(c == r)
        self.nan = int(np.count_nonzero(wrong & np.isnan(c)))
        self.inf = int(np.count_nonzero(wrong & np.isinf(c)))
        self.misplaced = int(np.count_nonzero(wrong))
        # the worst element is where the reference is largest, because that overflows most
        if wrong.any():
            with np.errstate(invalid="ignore"):
                sizes = np.where(wrong & np.isfinite(r), np.abs(r), -1.0)
            place = int(sizes.argmax() if sizes.max() >= 0.0 else wrong.argmax())
            self.worst_misplaced = start + place
            self.largest_misplaced = float(sizes[place])


def _judge(
    stats: _Statistics, candidate: Array, reference: Array, t: Tolerance, scale: Scale
) -> Metrics:
    absmax = stats.reference_absmax
    mismatched, worst = stats.misplaced, stats.worst
    # all elements have one tolerance, so the largest error decides
    if isinstance(scale, float) and t.rtol == 0.0:
        floor = t.atol + t.scaled * scale
        least = _least(stats.max_abs - t.atol, stats.max_abs, scale)
        used = _ratio(max(0.0, stats.max_abs), floor)
        if stats.max_abs > floor:
            mismatched += _over_budget(candidate, reference, t, scale).count
    else:
        finite = _over_budget(candidate, reference, t, scale)
        mismatched += finite.count
        least, worst, used = finite.least, finite.place, finite.used
    if stats.misplaced:
        worst = stats.worst_misplaced
        least = used = math.inf
    c, r = float(candidate.flat[worst]), float(reference.flat[worst])
    unit = scale if isinstance(scale, float) else float(_spread(scale, reference).flat[worst])
    max_abs, cosine, sqnr = max(0.0, stats.max_abs), _cosine(stats), _sqnr(stats)
    if stats.misplaced:
        max_abs, cosine, sqnr = math.inf, math.nan, -math.inf
    failed = []
    if mismatched:
        failed.append(f"{mismatched} of {reference.size} elements out of tolerance")
    if t.cosine is not None and not cosine >= t.cosine:
        failed.append(f"cosine {_below(cosine, t.cosine)}")
    if t.sqnr_db is not None and not sqnr >= t.sqnr_db:
        failed.append(f"sqnr_db {_below(sqnr, t.sqnr_db, digits=4)}")
    return Metrics(
        agrees=not failed,
        total=int(reference.size),
        mismatched=mismatched,
        nan=stats.nan,
        inf=stats.inf,
        max_abs=max_abs,
        scaled=_ratio(max_abs, absmax),
        cosine=cosine,
        sqnr_db=sqnr,
        reference_absmax=absmax,
        candidate_absmax=stats.candidate_absmax,
        least_scaled=least,
        used=used,
        index=_index(max(worst, 0), reference.shape),
        reference=r,
        candidate=c,
        budget=t.atol + t.scaled * unit + t.rtol * abs(r),
        failed=tuple(failed),
    )


def _below(value: float, limit: float, digits: int = 6) -> str:
    """`value < limit` in words, with so many digits that the limit is exact and the two differ."""
    while digits < 17:  # which tell any two float64 apart
        shown, least = f"{value:.{digits}g}", f"{limit:.{digits}g}"
        if shown != least and float(least) == limit:
            break
        digits += 1
    return f"{value:.{digits}g} < {limit:.{digits}g}"


class _OverBudget(Frozen):
    """How many finite pairs exceed their tolerance; the flat index and the size of the largest excess.

    `used`: the largest error as a share of its own tolerance, which may be that of another element.
    `least`: the `scaled` with which all of them pass.
    """

    count: int
    place: int
    excess: float
    used: float
    least: float


def _over_budget(candidate: Array, reference: Array, t: Tolerance, scale: Scale) -> _OverBudget:
    def of_block(start: int, candidate: Array, reference: Array, unit: Array) -> _OverBudget:
        c, r = candidate.astype(np.float64), reference.astype(np.float64)
        finite = np.isfinite(c) & np.isfinite(r)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            error, given = np.abs(c - r), t.atol + t.rtol * np.abs(r)
            budget = given + t.scaled * unit
            excess = np.where(finite, error - budget, -math.inf)
            share = error / budget  # 0/0 is nan: there is no error where none is allowed
            missing = np.where(error > given, (error - given + _ROUNDING * (error + budget)) / unit, 0.0)
        place = int(excess.argmax())
        return _OverBudget(
            int(np.count_nonzero(excess > 0.0)),
            start + place,
            float(excess[place]),
            float(np.nanmax(share, initial=0.0, where=finite)),
            float(missing.max(initial=0.0, where=finite)),
        )

    blocks = list(each_in_threads(of_block, candidate, reference, _spread(scale, reference)))
    worst = max(blocks, key=lambda block: block.excess)  # the first of several
    return _OverBudget(
        sum(block.count for block in blocks),
        worst.place if worst.excess > -math.inf else 0,
        worst.excess,
        max(block.used for block in blocks),
        max(block.least for block in blocks),
    )


def _spread(scale: Scale, over: Array) -> Array:
    """`scale` for each element of `over`."""
    return np.broadcast_to(np.asarray(scale, np.float64), over.shape)


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of an element by its flat one; numpy's way takes longer than to compare small arrays."""
    index = []
    for length in reversed(shape):
        flat, at = divmod(flat, length)
        index.append(at)
    return tuple(reversed(index))


def _absmax(finite: Array) -> float:
    return max(float(finite.max()), -float(finite.min()))


def _ratio(error: float, scale: float) -> float:
    if error == 0.0:
        return 0.0
    return error / scale if scale else math.inf


_ROUNDING = 4.0 * np.finfo(np.float64).eps


def _least(missing: float, largest: float, absmax: float) -> float:
    """The `scaled` that makes up for `missing`, slightly increased so that rounding does not undo it."""
    if missing <= 0.0:
        return 0.0
    return _ratio(missing + _ROUNDING * largest, absmax)


def _cosine(s: _Statistics) -> float:
    if s.rr == 0.0 or s.cc == 0.0:
        return 1.0 if s.rr == s.cc else 0.0
    return max(-1.0, min(1.0, s.cr / math.sqrt(s.rr) / math.sqrt(s.cc)))


def _sqnr(s: _Statistics) -> float:
    if s.dd == 0.0:
        return math.inf
    return 10.0 * math.log10(s.rr / s.dd) if s.rr else -math.inf
