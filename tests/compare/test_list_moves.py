"""Lists of detections: what a list moves by itself is no error, and whatever is more is one."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.compare.detections import Thresholds, match
from pytest_ncnn_parity.compare.grey_steps import explain_list
from pytest_ncnn_parity.compare.int8 import with_list_forgiven
from pytest_ncnn_parity.compare.list_moves import list_moves
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import DEFAULTS

OUTPUT = DEFAULTS["fp32"].output
KEPT = Thresholds(score=0.3, overlap=0.45)


def boxes(scores: list[float]) -> np.ndarray:
    """Boxes of 40 x 40 side by side, all of one class."""
    rows = [[1.0, score, 50.0 * i, 0.0, 50.0 * i + 40.0, 40.0] for i, score in enumerate(scores)]
    return np.array(rows, np.float32).reshape(-1, 6)


STILL = boxes([0.95, 0.9, 0.8, 0.7, 0.6, 0.305])


def moved(size: float, seed: int, rows: int = 6) -> np.ndarray:
    """The first `rows` of STILL, their scores off by `size` of 0.5, their corners by `size` of 40."""
    noise = np.random.RandomState(seed).uniform(-size, size, (rows, 6)) * [0, 0.5, 40, 40, 40, 40]
    return (STILL[:rows] + noise).astype(np.float32)


def judged(candidate: np.ndarray, others: list[np.ndarray]) -> Metrics:
    metrics = match(candidate, STILL, OUTPUT, KEPT).metrics
    return with_list_forgiven(metrics, list_moves(STILL, others, KEPT), candidate, STILL, OUTPUT)


OTHERS = [moved(0.03, 1), moved(0.03, 2, rows=5)]  # the last box is lost in the second


def test_a_list_may_move_as_it_does_by_itself() -> None:
    assert not match(moved(0.03, 3), STILL, OUTPUT, KEPT).metrics.agrees
    judged_as = judged(moved(0.03, 3), OTHERS)
    assert judged_as.agrees
    assert "6 detections, the reference has 6" in judged_as.forgiven
    assert "int8 moves this list by 0.0" in judged_as.forgiven


def test_a_box_at_the_threshold_may_be_lost_where_the_cpu_loses_one() -> None:
    assert judged(moved(0.03, 3, rows=5), OTHERS).agrees
    assert not judged(moved(0.03, 3, rows=5), OTHERS[:1]).agrees, "where it never loses one"


@pytest.mark.parametrize("lost", [0, 3, 4])
def test_no_other_box_may_be_lost(lost: int) -> None:
    assert not judged(np.delete(moved(0.03, 3), lost, axis=0), OTHERS).agrees


@pytest.mark.parametrize("lost", [0, 4])
def test_a_box_that_is_sure_may_not_be_lost_where_rows_move_far(lost: int) -> None:
    """Neither one of 0.95 beside another that it hardly overlaps, nor one of 0.48 by itself."""
    still = boxes([0.95, 0.8, 0.9, 0.7, 0.48, 0.305])
    still[1, 2::2] -= 15.0
    noise = np.random.RandomState(0).uniform(-0.07, 0.07, (6, 6)) * [0, 0.5, 40, 40, 40, 40]
    own = list_moves(still, [still + noise, still[:5]], KEPT)
    candidate = np.delete(still, lost, axis=0)
    metrics = match(candidate, still, OUTPUT, KEPT).metrics
    assert not with_list_forgiven(metrics, own, candidate, still, OUTPUT).agrees
    at_threshold = match(still[:5], still, OUTPUT, KEPT).metrics
    assert with_list_forgiven(at_threshold, own, still[:5], still, OUTPUT).agrees


def test_no_more_boxes_may_be_lost_than_the_cpu_loses() -> None:
    still = boxes([0.95, 0.9, *[0.305] * 4])
    few = still[:2]
    metrics = match(few, still, OUTPUT, KEPT).metrics
    loses_one = list_moves(still, [still[:5]], KEPT)
    assert not with_list_forgiven(metrics, loses_one, few, still, OUTPUT).agrees
    loses_most = list_moves(still, [few], KEPT)
    assert not with_list_forgiven(metrics, loses_most, few, still, OUTPUT).agrees, "nothing is tested"


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_boxes_that_move_further_are_red(factor: float) -> None:
    assert not judged(moved(0.03 * factor, 3), OTHERS).agrees


@pytest.mark.parametrize(("off", "agrees"), [(0.07, True), (0.12, False)])
def test_a_single_corner_may_be_off_by_three_times_the_largest_move(off: float, agrees: bool) -> None:
    candidate = STILL.copy()
    candidate[1, 2] += 40.0 * off
    assert judged(candidate, OTHERS).agrees is agrees


def test_another_class_and_nan_are_red() -> None:
    for column, value in ((0, 2.0), (1, np.nan), (2, np.inf)):
        candidate = moved(0.03, 3)
        candidate[1, column] = value
        assert not judged(candidate, OTHERS).agrees, column


def test_a_list_that_does_not_move_has_its_plain_tolerance() -> None:
    assert not judged(moved(0.01, 3), [STILL, STILL]).agrees


def test_box_in_place_of_one_that_it_overlaps() -> None:
    """The suppression keeps the other of two boxes whose scores are 0.02 apart."""
    other = STILL.copy()
    other[1] = [1.0, 0.89, 64.0, 0.0, 104.0, 40.0]
    assert judged(other, [other, moved(0.03, 1)]).agrees
    assert not judged(other, [moved(0.03, 1)]).agrees, "where the CPU keeps to its own"


def test_a_grey_step_explains_what_it_does_and_no_more() -> None:
    of_pictures = list_moves(STILL, OTHERS, KEPT)
    said = explain_list(moved(0.025, 3, rows=5), STILL, of_pictures)
    assert said.startswith("5 detections, the reference has 6: rows are off by 0.02")
    assert said.endswith("and 1 are on one side alone")
    assert explain_list(moved(0.045, 3), STILL, of_pictures) == ""
    assert explain_list(np.delete(STILL, 0, axis=0), STILL, of_pictures) == ""
    assert explain_list(STILL[:5], STILL, list_moves(STILL, OTHERS[:1], KEPT)) == ""
