"""How far an output moves when each pixel of a picture moves by a grey step.

No two pictures of one scene agree in every grey step, so an application cannot depend on them. An error
that is smaller is none, as in a mask of hair or of text, whose edges move by more: a 16-bit output was
off in 0.02 to 1 % of its elements, by up to 0.99, and its areas had an IoU of 0.97 to 0.99; those of the
picture with each pixel moved by half a grey step had 0.85 to 0.98.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.edges import around
from pytest_ncnn_parity.compare.list_moves import ListMoves
from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.noise import MOST_OWN, factor
from pytest_ncnn_parity.compare.tolerance import Tolerance

DRAWS = 8
NEAR = 4  # pixels of a map
MOVED = 0.5  # tolerances: an element that moves so far depends on grey steps
# of the elements out of tolerance, the share that need not depend on them, nor lie near one that does
ELSEWHERE = 0.05


def stepped(array: Array, step: Array, low: Array, high: Array, draw: int) -> Array:
    """A picture, each pixel of which has moved by one `step` down, up, or not at all, at random.

    `array` is (c, h, w), fp32; `step` and the bounds, which no pixel leaves, broadcast to that.
    """
    ways = np.random.default_rng((3, draw)).integers(-1, 2, array.shape)
    moved = array + ways * step
    return np.clip(moved, low, high).astype(np.float32)


def explain(
    candidate: Array,
    reference: Array,
    moved: Sequence[Array],
    tolerance: Tolerance,
    scale: Scale,
) -> str:
    """In words, that the candidate differs less from the reference than outputs of moved pictures do.

    Empty if it does not. All arrays have one shape. What is smaller: the root mean square, as a whole
    and in each channel or row; the number of elements out of tolerance; the largest error. Besides,
    each element out of tolerance lies near one that depends on grey steps.
    """
    still = reference.astype(np.float64)
    error = np.abs(candidate - still)
    moves = np.stack([np.abs(one - still) for one in moved])
    if not (np.isfinite(error).all() and np.isfinite(moves).all()):
        return ""
    budget = np.broadcast_to(tolerance.allowed(still, scale), still.shape)
    over = error > budget
    count, of_moves = (int(np.count_nonzero(one)) for one in (over, max(moves > budget, key=np.sum)))
    if not count or count > of_moves or error.max() > moves.max():
        return ""
    squares = np.square(moves).mean(0)
    share = factor(error, squares, over)
    if share > 1.0:
        return ""
    if still.ndim == 3:
        depends = np.asarray((moves > MOVED * budget).any(0))
        elsewhere = ~around(depends, NEAR)[over].any((1, 2))
    else:
        elsewhere = (error - budget > MOST_OWN * np.sqrt(squares))[over]
    if np.count_nonzero(elsewhere) > ELSEWHERE * count:
        return ""
    return (
        f"{count} of {error.size} elements are out of tolerance; where each pixel of the picture moves "
        f"by a grey step, up to {of_moves} are, and this error is {share:.2g} times what that does"
    )


def explain_list(candidate: Array, reference: Array, moves: ListMoves) -> str:
    """The same of two lists of detections; `moves` are those of the lists of moved pictures."""
    seen = moves.explain(candidate, reference)
    if seen is None:
        return ""
    return (
        f"{seen.moved}; where each pixel of the picture moves by a grey step, rows move by up to "
        f"{moves.largest:.3g}, and {moves.alone} are on one side alone"
    )
