"""Values drawn from a seed: a sample is the same on every machine and in every version of numpy.

RandomState's stream is frozen for good (NEP 19). What is made of it here takes +, -, * and / of single
values alone: these are rounded alike everywhere, which sums, powers and Fourier transforms are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_ncnn_parity.engine.inputs import NormalInput, RangeInput

Array = npt.NDArray[Any]

COLOUR = 0.25  # how much a channel has of its own: channels correlate by 1 / (1 + COLOUR**2) = 0.94


def drawn(given: NormalInput | RangeInput) -> Array:
    """The values of a random input: float64, or int64 of `integers`."""
    state = np.random.RandomState(given.seed)
    if isinstance(given, NormalInput):
        return _normal(given, state)
    draw = {"uniform": _uniform, "smooth": _smooth, "integers": _integers}[given.random]
    return draw(given, state)


def _normal(given: NormalInput, state: np.random.RandomState) -> Array:
    values: Array = state.normal(given.mean, given.std, given.shape)
    low, high = given.low, given.high
    return values if low is None and high is None else np.clip(values, low, high)


def _uniform(given: RangeInput, state: np.random.RandomState) -> Array:
    return np.asarray(state.uniform(given.low, given.high, given.shape))


def _integers(given: RangeInput, state: np.random.RandomState) -> Array:
    # one integer type on all systems, because the stream depends on it
    low, high = int(given.low), int(given.high)
    return np.asarray(state.randint(low, high + 1, given.shape, np.int64))


def _smooth(given: RangeInput, state: np.random.RandomState) -> Array:
    """Noise with as much power in every octave as in any other, from `low` to `high`.

    Over two axes that is an amplitude of 1/f, which photographs have (Field 1987, "Relations between the
    statistics of natural images and the response properties of cortical cells"); over one it is a power
    of 1/f, as in music and speech (Voss and Clarke 1975, "1/f noise in music and speech"). Of three and
    four dimensions the first counts channels. They share one field, as colours share brightness:

        channel[c] = shared + COLOUR * own[c]

    At the end the contrast is raised as a camera does it: tones lie closer than in pictures else.
    """
    shape, low, high = given.shape, given.low, given.high
    fields, space = (1 + shape[0], shape[1:]) if len(shape) > 2 else (1, shape)
    octaves = [2]  # distances in elements between drawn points: the shortest wave has about 4 elements
    while 2 * octaves[-1] <= max(space):
        octaves.append(2 * octaves[-1])
    noise = np.zeros((fields, *space))
    for step in octaves:
        noise += _octave(state, fields, space, step)
    values = (noise[0] + COLOUR * noise[1:] if fields > 1 else noise).reshape(shape)
    least, most = float(values.min()), float(values.max())
    if least == most:
        return np.full(shape, (low + high) / 2)
    tones = _ease((values - least) / (most - least))
    return np.asarray(np.clip(tones * (high - low) + low, low, high))


def _ease(way: Array) -> Array:
    """Smoothstep: from 0 to 1 with slope 0 at both ends."""
    return np.asarray(way * way * (3 - 2 * way))


def _octave(state: np.random.RandomState, fields: int, space: Sequence[int], step: int) -> Array:
    """Values drawn for every `step`-th element of each axis, and smooth ways from one to the next."""
    values: Array = state.random_sample((fields, *((size - 1) // step + 3 for size in space))) - 0.5
    for axis, size in enumerate(space, 1):
        # each axis starts between two points, or all octaves would have a point at the corner
        places = np.arange(size) + int(state.randint(0, step, dtype=np.int64))
        before = places // step
        weights = _ease(places % step / step)
        weights = weights.reshape([size if axis == own else 1 for own in range(values.ndim)])
        start, end = values.take(before, axis), values.take(before + 1, axis)
        values = start + weights * (end - start)
    return values
