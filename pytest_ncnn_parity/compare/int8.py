"""What rounding to int8 does: to single values one step, and to a whole network's outputs what adds up.

Where a value lies between two steps, the last bits of a float decide which it becomes. Layer by layer
that is a step here and there. Behind dozens of layers every output has moved a little, on a CPU that
computes in another order as on any device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance

Array = npt.NDArray[Any]

# of an output's largest value: the most that is put down to rounding; seen 0.06 of a trained detector,
# 0.12 of networks with random weights
MOST_MOVED = 0.2
# as a tolerance's `moves` bounds the root mean square of an error, which is a sum over many elements,
# the largest single error is bounded less tightly; seen 1.7
MOST_ELEMENT = 3.0
# an int8 step is 1/127 of the largest value: inputs moved by this share of themselves are the same
# to it but where they lie between two steps
MOVED_BY = 2.0**-12


def with_steps_forgiven(
    metrics: Metrics, candidate: Array, reference: Array, tolerance: Tolerance
) -> Metrics:
    """`metrics` of int8 arrays as agreeing, where no more than a few elements are off, by one step."""
    if tolerance.steps:
        allowed = f"share {tolerance.steps:g} of the int8 values, or one of them, off by one step"
        metrics = replace(metrics, also_allowed=allowed)
    if not metrics.mismatched or metrics.max_abs > 1.0 or len(metrics.failed) > 1:
        return metrics
    off = int(np.count_nonzero(candidate != reference))
    if off > max(1.0, tolerance.steps * metrics.total):
        return metrics
    forgiven = f"{off} of {metrics.total} int8 values are off by one step"
    return replace(metrics, agrees=True, failed=(), used=1.0, forgiven=forgiven)


@dataclass(frozen=True)
class OwnMoves:
    """How far an output moves on the CPU itself for no reason but rounding.

    `scaled` and `sqnr_db` as `Metrics` have them: the largest, and the least, of all that was tried.
    """

    scaled: float
    sqnr_db: float

    def forgiving(self, metrics: Metrics, tolerance: Tolerance) -> Metrics:
        """`metrics`, as agreeing if the error of the output is no larger than such moves."""
        if tolerance.moves:
            metrics = replace(metrics, also_allowed=self._in_words(tolerance))
        too_far = metrics.scaled > min(MOST_MOVED, MOST_ELEMENT * self.scaled)
        if not metrics.mismatched or len(metrics.failed) > 1 or not tolerance.moves or too_far:
            return metrics
        if metrics.sqnr_db < self.sqnr_db - 20.0 * math.log10(tolerance.moves):
            return metrics
        forgiven = (
            f"{metrics.mismatched} of {metrics.total} elements are out of tolerance, but int8 rounds "
            f"so: computed otherwise on the CPU, this output moves by {self.scaled:.3g} (scaled) as well"
        )
        return replace(metrics, agrees=True, failed=(), forgiven=forgiven)

    def _in_words(self, tolerance: Tolerance) -> str:
        """What `forgiving` lets pass."""
        most = min(MOST_MOVED, MOST_ELEMENT * self.scaled)
        least = self.sqnr_db - 20.0 * math.log10(tolerance.moves)
        return (
            f"scaled {most:.3g} at sqnr {least:.3g} dB or more, for int8 moves this output by "
            f"{self.scaled:.3g} on the CPU as well"
        )


def own_moves(still: Array, others: Iterable[Array]) -> OwnMoves:
    """Compare the output `still` with `others`, from runs that should have given the same."""
    moves = [compare(other, still, Tolerance()) for other in others if other.shape == still.shape]
    return OwnMoves(
        max((move.scaled for move in moves), default=0.0),
        min((move.sqnr_db for move in moves), default=math.inf),
    )


def moved(array: Array, draw: int) -> Array:
    """`array` with each element moved by MOVED_BY of itself, up or down by chance."""
    signs = np.random.default_rng((2, draw)).choice([-1.0, 1.0], array.shape)
    return (array * (1.0 + MOVED_BY * signs)).astype(np.float32)
