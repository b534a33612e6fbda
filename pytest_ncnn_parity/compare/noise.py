"""How far a layer's own output moves when its inputs move by one unit in the last place.

Where terms cancel, a small result has the rounding error of large terms: a Convolution over a flat grey
picture is off by its own size in fp16, on any device, and nothing is wrong. A fault is far above that:
by a factor of 55 in a Softmax over 6,625 classes whose sum is kept in fp16, and of 1e5 in one over
4,096.
"""

from __future__ import annotations

import zlib

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.edges import LEAST_SQNR_DB, MOST_OVER
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.tolerance import WINOGRAD, Tolerance

# Rounding by the 16-bit format, or by fp32 (None), as a share of the value: half to one unit in its last
# place.
LAST_PLACE = {"fp16": 2.0**-11, "bf16": 2.0**-8, None: 2.0**-24}
DRAWS = 8

# Root mean square of the error, as a multiple of that of the reference's own moves. Seen: 9.2 for an
# inner product over thousands of cancelling terms, 8.3 for winograd in fp16, and 55 for the smallest
# real fault.
MOST_OVERALL = 20.0
# For one element, beyond the plain tolerance. Seen: 48; with few draws an element's own move may be
# small.
MOST_ELEMENT = 64.0
# Or for one element, as a multiple of the whole's factor: where thousands of terms are added in fp16,
# the partial sums are larger in some places than in others. Seen: 12.2, in 25,600 sums of 2,304 terms; a
# single wrong element is beyond it in a slice of 169 and more.
MOST_SPREAD = 13.0
# Or as a multiple of what the reference's own draws reach, each against the other ones: behind many
# activations some elements hardly move in most draws and far in one. Seen for a super-resolution network
# on noise: draws reach 204, and its healthy run 53 on llvmpipe and more than 64 on a GPU.
MOST_BEYOND_DRAWS = 4.0
# The same for an output in 16 bits. Seen: 0.2 to 0.6 for a text recognizer on a picture without text,
# where one of 530,000 probabilities exceeds its tolerance by 5 %.
MOST_IN_16_BITS = 1.0
# The bound where only few elements exceed their tolerances: the sums of 130 layers are rounded more
# often than the values that are moved. Seen for a detector on 32 of 77 pictures: 0.9 to 2.9 times its
# moves, in 1 to 13 of 41,140 elements, at 24.9 dB.
MOST_SCATTERED = 4.0
SCATTERED_SHARE = 4e-4
SCATTERED_SQNR_DB = 20.0
# For one element of an output in 16 bits, beyond the plain tolerance: few elements move so far. Seen:
# 2.9. A score that is a tenth off passes if it moves by 0.05 of its tolerance, as one in 60 of that
# detector's does.
MOST_OWN = 5.0
# The transforms of winograd in fp16 on an ARM CPU are rounded as if its inputs moved by so many units.
# Seen for a healthy U-Net, in a layer whose terms cancel, out of tolerance on 32 of 56 samples: 16 to
# 27.5 times the moves by one unit, and 102 in one element.
WINOGRAD_UNITS = 2.0
LEAST_SLICE = 16  # a slice with fewer elements is not judged by itself
# A value and the mean that is subtracted from it move by whole units, so that all draws may cancel in
# an element: in one of 256 if there are eight. If more elements never move, they do not depend on what
# moves.
MOST_UNMOVED = 0.02


class Conditioning(Frozen):
    """The size of an error in relation to the reference's own moves.

    `moves`: the root mean square of the moves, where the error is out of tolerance. `factor`: the root
    mean square of the error divided by that of the moves, in the channel or row where this is largest.
    `own`: for the worst element, its excess over the tolerance divided by its own moves. `explains`:
    all are within the bounds above.
    """

    explains: bool
    moves: float
    factor: float
    own: float

    def is_inherent(self, metrics: Metrics) -> bool:
        """Whether a run of the whole network in 16 bits is nearly right, and off only by rounding."""
        if not self.explains or self.own > MOST_OWN:
            return False
        by_rounding = self.factor <= MOST_IN_16_BITS and _is_slightly_off(metrics)
        return by_rounding or (self.factor <= MOST_SCATTERED and _is_off_here_and_there(metrics))

    def excused(self, metrics: Metrics) -> Metrics:
        """`metrics` of an error that is explained: `used` becomes its share of the bound."""
        return metrics.forgiven_by(metrics.forgiven, min(1.0, self.factor / MOST_OVERALL))


def is_nearly_right(metrics: Metrics) -> bool:
    """Whether the value as a whole is right, although a few elements are slightly out of tolerance."""
    return _is_slightly_off(metrics) or _is_off_here_and_there(metrics)


def _is_slightly_off(metrics: Metrics) -> bool:
    return metrics.sqnr_db >= LEAST_SQNR_DB and metrics.used <= MOST_OVER


def _is_off_here_and_there(metrics: Metrics) -> bool:
    # and no condition on a whole output failed besides
    alone = len(metrics.failed) == 1 and metrics.mismatched > 0
    few = alone and metrics.mismatched <= SCATTERED_SHARE * metrics.total
    return few and metrics.used <= MOST_OVER and metrics.sqnr_db >= SCATTERED_SQNR_DB


NO_EXCUSE = Conditioning(False, 0.0, float("inf"), float("inf"))


def moved(array: Array, half: str | None, draw: int, name: str = "", units: float = 1.0) -> Array:
    """`array` with each element moved by `units` in the last place of `half`, up or down at random.

    The directions depend on `name`: if two values moved alike, it would not show that they cancel.
    """
    seed = (1, draw, zlib.crc32(name.encode("utf-8", "surrogatepass")))
    signs: Array = np.random.default_rng(seed).choice([-1.0, 1.0], array.shape)
    # computed in float64: in fp32, 1 + 2^-24 is 1, and only its product with a value is rounded to the
    # next one
    return (array * (1.0 + units * LAST_PLACE[half] * signs)).astype(np.float32)


class Moves:
    """Collects the reference's results for moved inputs; `still` is its result for the unmoved ones."""

    def __init__(self, still: Array) -> None:
        self._still = still.astype(np.float64)
        self._squares = np.zeros(still.shape)  # the sum of all draws
        self._largest = np.zeros(still.shape)  # of one draw
        self._draws = 0

    def repeats(self, again: Array) -> bool:
        """Whether `again`, from the same values, has the same bits; otherwise moves measure nothing.

        This is to be checked after the moved runs. A kernel that reads memory nobody wrote may find
        there what its last run left, and differs only once other values have passed through that
        memory.
        """
        return np.array_equal(self._still, again, equal_nan=True)

    @property
    def squares(self) -> Array:
        """The mean square of the moves of each element, float64."""
        return self._squares / self._draws

    def add(self, answer: Array) -> None:
        """Record one more result, of the shape of `still`."""
        with np.errstate(invalid="ignore", over="ignore"):
            squares = np.square(answer - self._still)
            self._squares += squares
            np.maximum(self._largest, squares, out=self._largest)
        self._draws += 1

    def against(
        self, candidate: Array, reference: Array, tolerance: Tolerance, scale: Scale
    ) -> Conditioning:
        """Whether everything out of tolerance is within a multiple of these moves.

        This holds for the whole, for each channel or row, and for each element: terms that cancel in
        one channel excuse no other. Values that are not finite are never excused.
        """
        with np.errstate(invalid="ignore"):
            error = np.abs(candidate.astype(np.float64) - reference)
        units = WINOGRAD_UNITS if tolerance == WINOGRAD else 1.0
        squares = self.squares * units**2
        budget = tolerance.allowed(reference, scale)
        over = ~(error <= budget)
        if not np.isfinite(error[over]).all() or not np.isfinite(squares).all():
            return NO_EXCUSE
        times = factor(error, squares, over)
        excess, moves = (error - budget)[over], np.sqrt(_own_squares(squares)[over])
        with np.errstate(divide="ignore"):
            own = float((excess / moves).max(initial=0.0))
        most = max(MOST_ELEMENT, MOST_SPREAD * times)
        if own > most:
            most = MOST_BEYOND_DRAWS * self._reached(budget)
        explains = times <= MOST_OVERALL and own <= most
        typical = float(np.sqrt(squares[over].mean())) if over.any() else 0.0
        return Conditioning(explains, typical, times, own)

    def _reached(self, budget: Array) -> float:
        """The largest `own` of a draw: its excess over `budget`, in moves of the other draws."""
        others = (self._squares - self._largest) / max(1, self._draws - 1)
        excess = np.sqrt(self._largest) - budget
        over = (excess > 0.0) & (others > 0.0)
        return float((excess[over] / np.sqrt(others[over])).max(initial=0.0))


def _own_squares(squares: Array) -> Array:
    """The squares of each element's own moves; by chance unmoved ones get the least of the others."""
    unmoved = squares == 0.0
    if not 0.0 < unmoved.mean() <= MOST_UNMOVED:
        return squares
    return np.where(unmoved, squares[~unmoved].min(), squares)


def factor(error: Array, squares: Array, over: Array) -> float:
    """The root mean square of an error over that of moves, in the whole or the slice with the most.

    `squares`: the mean squares of the moves of each element. `over`: the elements out of tolerance; a
    channel or row without one is left out.
    """
    slices = [(np.square(error).mean(), squares.mean())]
    others = tuple(range(1, error.ndim))
    if others and error[0].size >= LEAST_SLICE:
        affected = over.any(others)
        errors, moves = (a.mean(others)[affected] for a in (np.square(error), squares))
        slices += list(zip(errors, moves, strict=True))
    return float(max(np.sqrt(e / m) if m else np.inf if e else 0.0 for e, m in slices))
