"""A few scattered elements of an output behind int8 may be off, where nothing is lost by it."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, INT8, SCATTERED, Tolerance

OUTPUT = DEFAULTS[INT8].output
SIDE = 22
SCORES, SIZES, CLASSES = 1, 4, 80
LABELS = np.repeat([0, 1, 2], [SCORES, SIZES, CLASSES]).reshape(-1, 1, 1)
HEAD = Nature(parts=LABELS, units={0: 1.0, 1: 0.0, 2: 1.0})


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    """A detector's output (85, 22, 22): scores of five objects, sizes, classes; and the same in int8."""
    random = np.random.default_rng(0)
    right = random.uniform(0.0, 0.02, (SCORES + SIZES + CLASSES, SIDE, SIDE)).astype(np.float32)
    right[SCORES : SCORES + SIZES] = random.normal(0, 1.2, (SIZES, SIDE, SIDE)).clip(-3.0, 3.0)
    right[0, 3:18:3, 7] = 0.9
    error = random.normal(0, 0.1, right.shape) * np.abs(right).max((1, 2), keepdims=True) / 3.0
    return right, (right + error).astype(np.float32)


def judged(candidate: np.ndarray, reference: np.ndarray, tolerance: Tolerance = OUTPUT) -> Metrics:
    return judge(candidate, reference, tolerance, HEAD, whole=True)


def moved(candidate: np.ndarray, count: int, by: float) -> np.ndarray:
    """Of the sizes, so many places are off."""
    result = candidate.copy()
    result[2, 1 : 1 + -(-count // 20), 1:21].flat[:count] += by
    return result


def test_a_few_sizes_where_no_object_is_may_be_off(head: tuple[np.ndarray, np.ndarray]) -> None:
    right, candidate = head
    assert judged(candidate, right).agrees
    metrics = judged(moved(candidate, 12, 1.6), right)
    assert metrics.agrees
    assert metrics.mismatched == 12
    assert metrics.used == 1.0
    assert metrics.forgiven.endswith("scattered, in channels of sqnr 12 dB or more")


def test_too_many_or_too_far_is_red(head: tuple[np.ndarray, np.ndarray]) -> None:
    right, candidate = head
    assert not judged(moved(candidate, 20, 1.6), right).agrees, "the channel is off by itself"
    spread = candidate.copy()
    spread[1:5, ::2, ::2].flat[: int(1.3 * SCATTERED * right.size)] += 1.3
    assert judged(spread, right).mismatched > SCATTERED * right.size
    assert not judged(spread, right).agrees
    assert not judged(moved(candidate, 2, 3.6), right).agrees
    assert not judged(moved(candidate, 2, 1.6), right, OUTPUT.updated({"scaled": 0.4})).agrees
    assert not judged(moved(candidate, 2, np.inf), right).agrees


def test_an_object_that_is_lost_is_red(head: tuple[np.ndarray, np.ndarray]) -> None:
    """One in five costs no more than a few of 41,140 elements, at 19 dB of the whole."""
    right, candidate = head
    candidate = candidate.copy()
    candidate[0, 3, 7] = 0.0
    metrics = judged(candidate, right)
    assert metrics.sqnr_db > 15.0
    assert metrics.mismatched == 1
    assert not metrics.agrees
    # nor where nothing shows that these are scores: their channel is off by itself
    unknown = Nature(parts=LABELS, units={0: 0.0, 1: 0.0, 2: 0.0})
    metrics = judge(candidate, right, OUTPUT, unknown, whole=True)
    assert metrics.sqnr_db > 15.0
    assert not metrics.agrees


def test_rows_of_a_matrix_are_along_its_short_axis(head: tuple[np.ndarray, np.ndarray]) -> None:
    right, candidate = (one[1:5].reshape(4, -1) for one in head)
    candidate = candidate.copy()
    candidate[0, 100] += 1.6
    for reference, other in ((right, candidate), (right.T, candidate.T)):
        assert judge(other, reference, OUTPUT, whole=True).agrees
    assert not judge(candidate.ravel(), right.ravel(), OUTPUT, whole=True).agrees, "no rows"
