"""What is inside a convolution by winograd: compared with the convolution and with its definition."""

import numpy as np
import pytest

from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.compare.winograd import INPUTS, OUTPUTS, SUMS, TILES, WEIGHTS, look_inside


def values(seed: int, channels: int = 16, height: int = 14, width: int = 11) -> winograd.Array:
    return np.random.RandomState(seed).normal(0, 1, (channels, height, width)).astype(np.float32)


def weights(seed: int, outputs: int = 8, channels: int = 16, size: float = 0.1) -> winograd.Array:
    shape = (outputs, channels, 3, 3)
    return np.random.RandomState(seed).normal(0, size, shape).astype(np.float32)


@pytest.mark.parametrize("side", TILES)
def test_the_matrices_compute_a_convolution(side: int) -> None:
    """A^T ((G g G^T) * (B^T d B)) A is what a 3x3 window that slides over d gives."""
    tiles, rng = TILES[side], np.random.RandomState(0)
    tile, kernel = rng.normal(0, 1, (side + 2, side + 2)), rng.normal(0, 1, (3, 3))
    transformed = tiles.inputs @ tile @ tiles.inputs.T
    product = (tiles.weights @ kernel @ tiles.weights.T) * transformed
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
    expected = np.einsum("yxij,ij->yx", windows, kernel)
    np.testing.assert_allclose(tiles.outputs @ product @ tiles.outputs.T, expected, atol=1e-9)


@pytest.mark.parametrize("side", TILES)
def test_the_transform_of_the_inputs_is_that_of_the_largest_tile(side: int) -> None:
    whole, tiles = side + 2, TILES[side]
    given = values(1, height=3 * side + 2, width=2 * side + 2)
    seen = look_inside(given, weights(1, size=1e-3), side, np.inf)
    tiled = [
        np.abs(tiles.inputs @ channel[y : y + whole, x : x + whole] @ tiles.inputs.T).max()
        for channel in given
        for y in range(0, 3 * side, side)
        for x in range(0, 2 * side, side)
    ]
    assert (seen.stored.size, seen.stored.what) == (pytest.approx(max(tiled), rel=1e-5), INPUTS)


@pytest.mark.parametrize("side", TILES)
@pytest.mark.parametrize("seed", range(10))
def test_what_is_stored_never_exceeds_the_bound_nor_the_bound_the_gain(side: int, seed: int) -> None:
    given, kernel = values(seed), weights(seed, size=10.0 ** (seed % 4 - 3))
    seen = look_inside(given, kernel, side, 0.0)
    assert seen.stored.size <= seen.bound.size
    assert seen.bound.size <= winograd.gain(kernel, side) * np.abs(given).max() * 1.0001


def test_everything_grows_with_the_inputs() -> None:
    given, kernel = values(3), weights(3)
    one, ten = (look_inside(factor * given, kernel, 4, 0.0) for factor in (1.0, 10.0))
    assert ten.bound.size == pytest.approx(10 * one.bound.size, rel=1e-4)
    assert (ten.stored.what, ten.bound.what) == (one.stored.what, one.bound.what)


@pytest.mark.parametrize(
    ("size", "stored", "bound"), [(1e-3, INPUTS, INPUTS), (1.0, SUMS, OUTPUTS), (1e3, SUMS, OUTPUTS)]
)
def test_the_larger_the_weights_the_later_is_the_largest_value(
    size: float, stored: str, bound: str
) -> None:
    seen = look_inside(values(4), weights(4, size=size), 4, 0.0)
    assert (seen.stored.what, seen.bound.what) == (stored, bound)


def test_weights_may_be_the_largest() -> None:
    seen = look_inside(1e-6 * values(4), weights(4, size=1e3), 4, 1e9)
    assert seen.stored.what == WEIGHTS


def test_in_fp32_arithmetic_nothing_but_what_is_stored_counts() -> None:
    seen = look_inside(values(5), weights(5), 4, 0.0, arithmetic=False)
    assert seen.bound == seen.stored


def test_what_no_output_depends_on_does_not_count() -> None:
    """Of 5 rows of outputs a second tile of 4 has but one: its last transform is for nothing."""
    given = np.zeros((16, 7, 6), np.float32)
    assert look_inside(given, weights(6), 4, 0.0).stored.what == WEIGHTS
    given[:, 6] = 1e4  # the last row, at place 2 of the second tile: 2.5 times in row 0, not in row 5
    within = look_inside(given, weights(6), 4, np.inf).stored.size
    rows = TILES[4].inputs[:-1, 2]  # times the transform of a row of the same values, along w
    along = np.abs(TILES[4].inputs.sum(1)).max()
    assert within == pytest.approx(1e4 * np.abs(rows).max() * along, rel=1e-5)


def test_blocks_of_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given, kernel = values(7, height=31, width=22), weights(7)
    at_once = look_inside(given, kernel, 4, 0.0)
    monkeypatch.setattr(winograd, "MOST", 1)
    in_parts = look_inside(given, kernel, 4, 0.0)
    assert in_parts.bound.size == pytest.approx(at_once.bound.size, rel=1e-5)
    assert in_parts.stored.size == pytest.approx(at_once.stored.size, rel=1e-5)
