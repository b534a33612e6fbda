"""Values drawn from a seed: the same everywhere, and of the kind that their name says."""

from __future__ import annotations

import itertools
from hashlib import blake2b

import numpy as np
import pytest

from pytest_ncnn_parity.engine.inputs import NormalInput, RangeInput
from pytest_ncnn_parity.worker.values.drawn import drawn


def values(random: str, *shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    if random == "normal":
        return drawn(NormalInput(shape, seed, 0.0, 1.0, low, high))
    return drawn(RangeInput(random, shape, seed, low, high))


def slope(power: np.ndarray, frequency: np.ndarray) -> float:
    """The exponent of a power law, over octaves of equal weight."""
    edges = 2.0 ** np.arange(np.log2(frequency.max()))
    means = [
        power[(frequency >= low) & (frequency < high)].mean()
        for low, high in itertools.pairwise(edges[1:-1])
    ]
    return float(np.polyfit(np.log(edges[1:-2]), np.log(means), 1)[0])


def test_smooth_values_have_the_same_bits_everywhere() -> None:
    """Sums and Fourier transforms would differ in the last place from one processor to the next."""
    picture = values("smooth", 3, 20, 24, seed=7)
    assert picture.dtype == np.float64
    assert blake2b(picture.tobytes(), digest_size=8).hexdigest() == "5b8809ecff196d54"
    sound = values("smooth", 100, low=-1.0, seed=7)
    assert blake2b(sound.tobytes(), digest_size=8).hexdigest() == "9ed42f5e3bdef925"


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_picture_has_a_photographs_spectrum(seed: int) -> None:
    """Field 1987: the amplitude falls with 1/f, so the power with 1/f**2."""
    plane = values("smooth", 3, 256, 256, seed=seed)[0]
    window = np.hanning(256)[:, None] * np.hanning(256)
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    steps = np.fft.fftfreq(256) * 256
    frequency = np.hypot(steps[:, None], steps)
    assert slope(power[frequency < 128], frequency[frequency < 128]) == pytest.approx(-2.0, abs=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_sound_has_as_much_power_in_every_octave(seed: int) -> None:
    sound = values("smooth", 16384, seed=seed)
    power = np.abs(np.fft.rfft((sound - sound.mean()) * np.hanning(sound.size))) ** 2
    assert slope(power[1:], np.arange(1.0, power.size)) == pytest.approx(-1.0, abs=0.4)


def test_noise_has_none_of_these_spectra() -> None:
    power = np.abs(np.fft.rfft(values("uniform", 16384) - 0.5)) ** 2
    assert abs(slope(power[1:], np.arange(1.0, power.size))) < 0.1


def test_the_channels_of_a_picture_go_together() -> None:
    red, green, blue = values("smooth", 3, 128, 128).reshape(3, -1)
    for one, other in ((red, green), (green, blue), (red, blue)):
        assert 0.8 < np.corrcoef(one, other)[0, 1] < 0.99


@pytest.mark.parametrize("shape", [(64,), (20, 30), (3, 16, 16), (2, 4, 8, 8), (1, 1, 2)])
def test_smooth_values_reach_both_bounds(shape: tuple[int, ...]) -> None:
    numbers = values("smooth", *shape, low=-3.0, high=5.0)
    assert numbers.shape == shape
    assert (numbers.min(), numbers.max()) == (-3.0, 5.0)


def test_a_single_smooth_value_lies_between_its_bounds() -> None:
    assert values("smooth", 1, low=2.0, high=4.0).tolist() == [3.0]


def test_integers_reach_both_bounds_and_are_numpys_frozen_stream() -> None:
    numbers = values("integers", 1000, low=-2.0, high=9.0, seed=3)
    assert numbers.dtype == np.int64
    assert set(numbers.tolist()) == set(range(-2, 10))
    assert np.array_equal(numbers, np.random.RandomState(3).randint(-2, 10, 1000, np.int64))


def test_one_integer_and_the_largest_there_are() -> None:
    assert values("integers", 4, low=7.0, high=7.0).tolist() == [7] * 4
    numbers = values("integers", 4, low=-(2.0**31), high=2.0**31 - 1)
    assert np.array_equal(numbers, numbers.astype(np.int32))


@pytest.mark.parametrize("random", ["normal", "uniform", "smooth", "integers"])
def test_a_seed_makes_other_values(random: str) -> None:
    one, other, again = (values(random, 3, 8, 8, seed=seed, high=99.0) for seed in (1, 2, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
