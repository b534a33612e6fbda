"""The largest sum of some terms, in any order: compared with all of them, enumerated by hand."""

import itertools

import numpy as np
import pytest

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.accumulators import of_products, of_sums, of_windows


def worst_order(terms: Array) -> float:
    """The largest magnitude of a sum of some of `terms`: all orders pass through each of these."""
    chosen = (sum(some) for n in range(len(terms) + 1) for some in itertools.combinations(terms, n))
    return max(abs(float(one)) for one in chosen)


@pytest.mark.parametrize("seed", range(10))
def test_no_order_of_terms_exceeds_it_and_one_reaches_it(seed: int) -> None:
    terms = np.random.RandomState(seed).normal(0, 1, 9)
    assert of_sums(terms, (0,)) == pytest.approx(worst_order(terms))
    weights = np.random.RandomState(seed + 50).normal(0, 1, (1, 9))
    assert of_products(terms[None], weights) == pytest.approx(worst_order(terms * weights[0]))


def test_terms_that_cancel_count() -> None:
    assert of_sums(np.array([5.0, 4.0, -9.0]), (0,)) == 9.0
    assert of_products(np.array([[5.0, 4.0, -9.0]]), np.array([[2.0, 2.0, 2.0]])) == 18.0


@pytest.mark.parametrize(("stride", "gap"), [((1, 1), (1, 1)), ((2, 1), (1, 2)), ((3, 2), (2, 2))])
def test_a_window_sums_what_it_covers(stride: tuple[int, int], gap: tuple[int, int]) -> None:
    rng = np.random.RandomState(1)
    values, weights = rng.normal(0, 1, (2, 9, 8)), rng.normal(0, 1, (3, 2, 2, 3))
    down, across = gap[0] + 1, 2 * gap[1] + 1
    by_hand = max(
        worst_order((values[:, y : y + down : gap[0], x : x + across : gap[1]] * kernel).ravel())
        for kernel in weights
        for y in range(0, 9 - down + 1, stride[0])
        for x in range(0, 8 - across + 1, stride[1])
    )
    assert of_windows(values, weights, (2, 3), stride, gap) == pytest.approx(by_hand)


def test_without_weights_each_channel_is_alone() -> None:
    values = np.stack([np.full((4, 4), 2.0), np.full((4, 4), 3.0)])
    assert of_windows(values, None, (2, 2), (1, 1), (1, 1)) == 12.0
