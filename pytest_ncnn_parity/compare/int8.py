"""What rounding to int8 does: a step in single values, and in a network's outputs what adds up of these.

Where a value lies between two steps, the last bits of a float decide which one it becomes. In a single
layer that is a step here and there. Behind dozens of layers every output has moved a little, on any
device, and on the same CPU if it adds up in another order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.list_moves import ListMoves
from pytest_ncnn_parity.compare.measured import CHANNELS_BELOW, Loss, Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.compare.tolerance import Tolerance

# The largest error that is attributed to rounding, as a share of an output's largest value. A trained
# detector had 0.06, networks with random weights 0.12.
MOST_MOVED = 0.2
# A tolerance's `moves` bounds the root mean square of an error, which sums over many elements; the
# largest single error is bounded less tightly. The largest seen is 1.7.
MOST_ELEMENT = 3.0
MANY = 16  # a channel with fewer elements is not judged by itself
# the rounding of a whole output to int8 may exceed that of the reference's values by this factor
SLACK = 1.25
# An int8 step is 1/127 of the largest value. Inputs moved by this share of themselves are the same in
# int8, unless they lie between two steps.
MOVED_BY = 2.0**-12


def with_steps_forgiven(
    metrics: Metrics, candidate: Array, reference: Array, tolerance: Tolerance
) -> Metrics:
    """`metrics` of int8 arrays as agreeing, if only a few elements are off, each by one step."""
    if not tolerance.steps:
        return metrics
    allowed = f"share {tolerance.steps:g} of the int8 values, or one of them, off by one step"
    metrics = replace(metrics, also_allowed=allowed)
    if not metrics.mismatched or metrics.max_abs > 1.0 or len(metrics.failed) > 1:
        return metrics
    off = int(np.count_nonzero(candidate != reference))
    if off > max(1.0, tolerance.steps * metrics.total):
        return metrics
    forgiven = f"{off} of {metrics.total} int8 values are off by one step"
    return metrics.forgiven_by(forgiven)


def rounded_to_int8(array: Array, scale: float) -> Array:
    """`array`, fp32, as ncnn rounds it to int8 and converts it back (src/layer/quantize.cpp)."""
    scaled = array * np.float32(scale)
    steps = np.clip(np.trunc(scaled + np.copysign(np.float32(0.5), scaled)), -INT8_MAX, INT8_MAX)
    return np.ascontiguousarray(steps / np.float32(scale), np.float32)


def loss(candidate: Array, reference: Array, scale: float | None = None) -> Loss:
    """Compare a layer's output, float32 of any shape with channels first, with the output in floats.

    `scale`: the scale by which its readers convert it to int8, if it was given to them in int8. The
    loss of that rounding belongs to the readers and is subtracted: both errors add up as squares,
    because the error of a uniform quantizer is not correlated with its input (Widrow, 1961).
    """
    channels = reference.shape[0] if reference.ndim > 1 else 1
    right = reference.astype(np.float64).reshape(channels, -1)
    error = (candidate.reshape(right.shape) - right) ** 2
    noise, signal = error.sum(1), (right**2).sum(1)
    if scale is not None:
        rounded = rounded_to_int8(reference, scale).reshape(right.shape)
        noise = np.maximum(noise - SLACK * ((rounded - right) ** 2).sum(1), 0.0)
    whole = decibels(float(signal.sum()), float(noise.sum()))
    alive = [decibels(float(s), float(n)) for s, n in zip(signal, noise, strict=True) if s > 0.0]
    enough = right.shape[1] >= MANY and len(alive) > 1
    return Loss(whole, float(np.median(alive)) if enough else whole)


def decibels(signal: float, noise: float) -> float:
    """The ratio of a signal's sum of squares to that of the noise, in dB."""
    if not noise > 0.0:
        return math.nan if math.isnan(noise) else math.inf
    ratio = signal / noise  # 0 beside a noise of inf
    return -math.inf if ratio == 0.0 else 10.0 * math.log10(ratio)


def judged_by_loss(metrics: Metrics, own: Loss, tolerance: Tolerance) -> Metrics:
    """`metrics` of an int8 layer, which agrees if its own loss is allowed; `used` is its share."""
    least = tolerance.sqnr_db
    if least is None or metrics.nan or metrics.inf:
        return metrics
    others = tuple(line for line in metrics.failed if not line.startswith("sqnr_db"))
    if not own.sqnr_db >= least:
        failed = (*others, f"sqnr_db {own.sqnr_db:.4g} < {least:g}")
    elif not own.allowed(least):
        limit = least - CHANNELS_BELOW
        failed = (*others, f"sqnr_db {own.channels_db:.4g} < {limit:g} in half of its channels")
    else:
        failed = others
    forgiven = (
        ""
        if failed or metrics.agrees
        else "the scale of its readers rounds it so, and the loss counts there"
    )
    used = max(_used(own.sqnr_db, least), _used(own.channels_db, least - CHANNELS_BELOW))
    return replace(metrics, agrees=not failed, failed=failed, forgiven=forgiven, used=used)


def _used(decibels: float, least: float) -> float:
    """The root mean square of an error as a share of what is allowed at `least` dB."""
    if math.isnan(decibels) or decibels == -math.inf:
        return math.inf
    return float(10.0 ** ((least - decibels) / 20.0))


class OwnMoves(Frozen):
    """How far an output moves on the CPU itself for no reason but rounding.

    `scaled` and `sqnr_db` are those of `Metrics`: the largest and the least, respectively, over all
    runs.
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
        return metrics.forgiven_by(forgiven)

    def _in_words(self, tolerance: Tolerance) -> str:
        """What `forgiving` accepts, in words."""
        most = min(MOST_MOVED, MOST_ELEMENT * self.scaled)
        least = self.sqnr_db - 20.0 * math.log10(tolerance.moves)
        return (
            f"scaled {most:.3g} at sqnr {least:.3g} dB or more, for int8 moves this output by "
            f"{self.scaled:.3g} on the CPU as well"
        )


def own_moves(still: Array, others: Iterable[Array]) -> OwnMoves | None:
    """Compare the output `still` with `others`, from runs that should have given the same.

    None if one of them has another shape, as where a detection is lost: nothing is measured then.
    """
    runs = list(others)
    if any(other.shape != still.shape for other in runs):
        return None
    moves = [compare(other, still, Tolerance()) for other in runs]
    return OwnMoves(
        max((move.scaled for move in moves), default=0.0),
        min((move.sqnr_db for move in moves), default=math.inf),
    )


def moved(array: Array, draw: int) -> Array:
    """`array` with each element moved by MOVED_BY of itself, up or down at random."""
    signs: Array = np.random.default_rng((2, draw)).choice([-1.0, 1.0], array.shape)
    return (array * (1.0 + MOVED_BY * signs)).astype(np.float32)


def with_list_forgiven(
    metrics: Metrics, own: ListMoves, candidate: Array, reference: Array, tolerance: Tolerance
) -> Metrics:
    """`metrics` of two lists of detections, as agreeing if they differ by no more than `own` moves."""
    farthest = own.farthest(MOST_ELEMENT)
    most_alone = own.most_alone(tolerance.moves, len(candidate) + len(reference))
    moves = f"int8 moves this list by {own.largest:.3g} on the CPU as well, where {own.alone} are"
    allowed = f"rows off by {farthest:.3g}, and {most_alone} on one side alone, for {moves}"
    seen = own.explain(candidate, reference, tolerance.moves, MOST_ELEMENT)
    if seen is None:
        return replace(metrics, also_allowed=allowed)
    return metrics.forgiven_by(f"{seen.moved}, but {moves}")
