"""Values drawn from a seed, which are the same on every machine and with every version of numpy.

RandomState's stream is frozen for good (NEP 19). It is processed here only with elementwise +, -, * and
/, which are rounded alike everywhere; sums, powers and Fourier transforms are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.engine.inputs import NormalInput, RangeInput

COLOUR = 0.25  # weight of a channel's own noise; channels correlate by 1 / (1 + COLOUR**2) = 0.94


def drawn(given: NormalInput | RangeInput) -> Array:
    """Return the values of a random input in its shape: int64 for `integers`, otherwise float64."""
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
    # the same integer type on all systems, because the stream depends on it
    low, high = int(given.low), int(given.high)
    return np.asarray(state.randint(low, high + 1, given.shape, np.int64))


def _smooth(given: RangeInput, state: np.random.RandomState) -> Array:
    """Return noise with the same power in every octave, from `low` to `high`.

    Over two axes the amplitude falls as 1/f, as in photographs (Field 1987, "Relations between the
    statistics of natural images and the response properties of cortical cells"); over one axis the power
    falls as 1/f, as in music and speech (Voss and Clarke 1975, "1/f noise in music and speech"). With
    three or four dimensions the first one counts channels, which share one field of noise, as colours
    share brightness:

        channel[c] = shared + COLOUR * own[c]

    Finally the contrast is raised, as a camera does: otherwise tones would lie closer together than in
    photographs.
    """
    shape, low, high = given.shape, given.low, given.high
    fields, space = (1 + shape[0], shape[1:]) if len(shape) > 2 else (1, shape)
    octaves = [2]  # distances between drawn points, in elements: the shortest wave has about 4
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
    """Smoothstep: map 0..1 to 0..1 with slope 0 at both ends."""
    return np.asarray(way * way * (3 - 2 * way))


def _octave(state: np.random.RandomState, fields: int, space: Sequence[int], step: int) -> Array:
    """Draw a value for every `step`-th element of each axis, and interpolate smoothly in between."""
    values: Array = state.random_sample((fields, *((size - 1) // step + 3 for size in space))) - 0.5
    for axis, size in enumerate(space, 1):
        # each axis starts between two drawn points; otherwise all octaves would have one at the corner
        places = np.arange(size) + int(state.randint(0, step, dtype=np.int64))
        before = places // step
        weights = _ease(places % step / step)
        weights = weights.reshape([size if axis == own else 1 for own in range(values.ndim)])
        start, end = values.take(before, axis), values.take(before + 1, axis)
        values = start + weights * (end - start)
    return values
