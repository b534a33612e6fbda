"""How far an output moves when each pixel of a picture moves by a grey step.

No two pictures of one scene agree in every grey step, so an application cannot depend on them. An error
that is smaller is none, as in a mask of hair or of text, whose edges move by more: a 16-bit output was
off in 0.02 to 1 % of its elements, by up to 0.99, and its areas had an IoU of 0.97 to 0.99; those of the
picture with each pixel moved by half a grey step had 0.85 to 0.98.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.compare.metrics import Scale
from pytest_ncnn_parity.compare.tolerance import Tolerance

Array = npt.NDArray[Any]

DRAWS = 8
LEAST_SLICE = 16  # a channel or row with fewer elements is not judged by itself
NEAR = 4  # pixels of a map
MOVED = 0.5  # tolerances: an element that moves so far depends on grey steps
# of the elements out of tolerance, the share that need not depend on them, nor lie near one that does
ELSEWHERE = 0.05
# For an element of an output that is no map: its error beyond the tolerance, as a multiple of its own
# moves, of which there are few.
MOST_OWN = 5.0


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
    budget = np.broadcast_to(
        tolerance.atol + tolerance.rtol * np.abs(still) + tolerance.scaled * scale, still.shape
    )
    over = error > budget
    count, of_moves = (int(np.count_nonzero(one)) for one in (over, max(moves > budget, key=np.sum)))
    if not count or count > of_moves or error.max() > moves.max():
        return ""
    share = _share(error, moves, over)
    if share > 1.0:
        return ""
    if still.ndim == 3:
        elsewhere = over & ~_near(np.asarray((moves > MOVED * budget).any(0)))
    else:
        elsewhere = over & (error - budget > MOST_OWN * np.sqrt(np.square(moves).mean(0)))
    if np.count_nonzero(elsewhere) > ELSEWHERE * count:
        return ""
    return (
        f"{count} of {error.size} elements are out of tolerance; where each pixel of the picture moves "
        f"by a grey step, up to {of_moves} are, and this error is {share:.2g} times what that does"
    )


def _share(error: Array, moves: Array, over: Array) -> float:
    """The root mean square of the error over that of the moves, where this is largest."""
    squares, of_moves = np.square(error), np.square(moves).mean(0)
    pairs = [(squares.mean(), of_moves.mean())]
    inner = tuple(range(1, error.ndim))
    if inner and error[0].size >= LEAST_SLICE:
        affected = over.any(inner)
        means = (one.mean(inner)[affected] for one in (squares, of_moves))
        pairs += list(zip(*means, strict=True))
    return float(max(np.sqrt(e / m) if m else np.inf for e, m in pairs))


def _near(places: Array) -> Array:
    """Which elements of a map (c, h, w) are near one of `places`."""
    near = places
    for axis in (1, 2):
        sides = [(0, 0)] * places.ndim
        sides[axis] = (NEAR, NEAR)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(near, sides), 2 * NEAR + 1, axis)
        near = np.asarray(windows.any(-1))
    return near
