"""An error smaller than what a grey step in the picture does to the output is none."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.grey_steps import explain, stepped
from pytest_ncnn_parity.compare.tolerance import Tolerance

TOLERANCE = Tolerance(scaled=0.08)
EDGE = slice(14, 18)  # the columns that a grey step moves


def still() -> Array:
    """Two masks, of which the left half is 1."""
    mask = np.zeros((2, 32, 32))
    mask[:, :, :16] = 1.0
    return mask


def moved() -> list[Array]:
    """The masks of four moved pictures: one in ten pixels of the edge is another."""
    rng = np.random.RandomState(0)
    return [np.abs(still() - at_edge(rng.random_sample((2, 32, 4)) < 0.1)) for _ in range(4)]


def at_edge(values: Array) -> Array:
    whole = np.zeros((2, 32, 32))
    whole[:, :, EDGE] = values
    return whole


def off(count: int, by: float = 0.9) -> Array:
    """An error in so many pixels of the edge, spread over both channels."""
    error = np.zeros(2 * 32 * 4)
    error[np.random.RandomState(1).permutation(error.size)[:count]] = by
    return np.abs(still() - at_edge(error.reshape(2, 32, 4)))


def explained(candidate: Array) -> str:
    return explain(candidate, still(), moved(), TOLERANCE, 1.0)


def test_fewer_and_smaller_errors_in_the_same_places_are_explained() -> None:
    said = explained(off(8))
    assert said.startswith("8 of 2048 elements are out of tolerance; where each pixel of the picture ")
    assert "up to" in said


def elsewhere() -> Array:
    candidate = still()
    candidate[:, 3, 26:30] = 0.9
    return candidate


def in_one_channel() -> Array:
    """As many as in both together, and so twice as large an error in this one."""
    candidate = still()
    most = sorted(np.count_nonzero(one != still()) for one in moved())[0]
    rows = np.arange(most) % 32
    columns = 14 + np.arange(most) // 32
    candidate[0, rows, columns] = 1.0 - candidate[0, rows, columns]
    return candidate


def not_a_number() -> Array:
    candidate = off(4)
    candidate[0, 0, 0] = np.nan
    return candidate


@pytest.mark.parametrize(
    "candidate",
    [off(60), off(60, 0.1), off(4, 1.5), elsewhere(), in_one_channel(), not_a_number(), still()],
    ids=["more", "more but small", "larger", "elsewhere", "in one channel", "nan", "none"],
)
def test_what_a_grey_step_does_not_do_is_not_explained(candidate: Array) -> None:
    assert explained(candidate) == ""


def test_in_a_vector_each_element_is_judged_by_its_own_moves() -> None:
    scores = np.array([1.0, 0.5, 0.0, 0.0])
    second, third = np.eye(4)[1], np.eye(4)[2]
    moves = [scores + way * second for way in (0.3, -0.3, 0.3, 0.0)]
    assert explain(scores + 0.2 * second, scores, moves, TOLERANCE, 1.0)
    assert not explain(scores + 0.2 * third, scores, moves, TOLERANCE, 1.0)


def test_pixels_move_by_one_step_and_stay_in_their_range() -> None:
    picture = np.random.RandomState(0).randint(0, 256, (3, 40, 40)) / np.float32(255.0)
    step, low, high = np.asarray(1 / 255), np.asarray(0.0), np.asarray(1.0)
    one, again, other = (stepped(picture, step, low, high, draw) for draw in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    steps = np.rint((one - picture) * 255.0)
    assert set(np.unique(steps)) == {-1.0, 0.0, 1.0}
    assert np.allclose(one, picture + steps / 255.0, atol=1e-6)
    assert one.min() >= 0.0
    assert one.max() <= 1.0
