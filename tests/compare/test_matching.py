"""Detections: rows matched by class, score and box; counts that a threshold decides."""

import math

import numpy as np
import pytest

from pytest_ncnn_parity.compare.detections import COLUMNS, Detections, Thresholds, match
from pytest_ncnn_parity.compare.tolerance import DEFAULTS

FP16, FP32 = DEFAULTS["fp16"].output, DEFAULTS["fp32"].output
YOLO = Thresholds(score=0.5, overlap=0.45)
NONE = np.empty((0, COLUMNS), np.float32)


def scene(count: int = 40, seed: int = 0) -> np.ndarray:
    """Boxes on a grid, in no order but that of their scores, which stay clear of the threshold."""
    rng = np.random.default_rng(seed)
    places = np.array([divmod(i, 8) for i in range(count)]) / 8
    corners = np.hstack([places, places + rng.uniform(0.05, 0.1, (count, 2))])
    scores = np.sort(rng.uniform(0.65, 0.99, count))[::-1]
    classes = rng.integers(1, 4, count)
    return np.column_stack([classes, scores, corners]).astype(np.float32)


def seen(candidate: np.ndarray, reference: np.ndarray, thresholds: Thresholds = YOLO) -> Detections:
    return match(candidate, reference, FP16, thresholds)


def test_the_same_rows_agree() -> None:
    detections = match(scene(), scene(), FP32, YOLO)
    assert detections.metrics.agrees
    assert str(detections) == "40 detections"


@pytest.mark.parametrize("seed", range(10))
def test_rows_in_another_order_agree(seed: int) -> None:
    reference = scene(seed=seed)
    candidate = np.random.default_rng(seed).permutation(reference)
    assert match(candidate, reference, FP32, YOLO).metrics.agrees


def test_nothing_on_either_side_agrees() -> None:
    for empty in (NONE, np.empty(0, np.float32)):
        detections = seen(empty, NONE)
        assert detections.metrics.agrees
        assert detections.metrics.total == 0
        assert str(detections) == "nothing was detected on either side"


def test_fp16_may_move_boxes_and_scores_a_little() -> None:
    reference = scene()
    candidate = reference.copy()
    candidate[:, 1] -= 0.01
    candidate[:, 2:] += 0.001
    metrics = seen(candidate, reference).metrics
    assert metrics.agrees
    assert 0.1 < metrics.used < 0.6


@pytest.mark.parametrize("column", range(1, COLUMNS))
def test_a_box_or_score_a_tenth_off_is_red(column: int) -> None:
    reference = scene()
    candidate = reference.copy()
    size = max(reference[7, 4:] - reference[7, 2:4])
    candidate[7, column] += 0.1 * (size if column > 1 else reference[7, 1])
    detections = seen(candidate, reference)
    assert not detections.metrics.agrees
    assert not detections.thresholds_decide
    assert detections.metrics.index == (7, column)


def test_another_class_is_a_row_missing_and_one_too_many() -> None:
    reference = scene()
    candidate = reference.copy()
    candidate[3, 0] = 9
    detections = seen(candidate, reference)
    assert (detections.missing, detections.extra) == (1, 1)
    assert not detections.metrics.agrees


def test_no_threshold_decides_of_a_class() -> None:
    """Its box overlaps itself, which is no better box that suppresses it."""
    reference = scene()
    for row in range(0, len(reference), 5):
        candidate = reference.copy()
        candidate[row, 0] += 1
        detections = seen(candidate, reference)
        assert (detections.decided, detections.thresholds_decide) == (0, False)


def test_the_second_class_of_a_box_may_be_at_the_threshold() -> None:
    """DetectionOutput lists a box once for each class that it has a score for."""
    reference = np.vstack([scene(), [[7, 0.52, 0.9, 0.9, 1, 1], [8, 0.5001, 0.9, 0.9, 1, 1]]])
    assert seen(reference[:-1], reference).thresholds_decide


def test_a_score_at_the_threshold_decides_of_a_row() -> None:
    reference = scene()
    reference[-1, 1] = 0.503
    for candidate, expected in ((reference[:-1], reference), (reference, reference[:-1])):
        detections = seen(candidate, expected)
        assert not detections.metrics.agrees
        assert detections.thresholds_decide
        counts = f"{len(candidate)} detections, the reference has {len(expected)}"
        assert str(detections).startswith(counts)
        assert str(detections).endswith("a threshold decides)")


def test_one_detection_or_none_at_the_threshold() -> None:
    detections = seen(NONE, np.array([[1, 0.51, 0, 0, 1, 1]], np.float32))
    assert detections.thresholds_decide
    assert "0 detections, the reference has 1" in detections.metrics.failed[0]


def test_a_sure_detection_that_is_missing_is_no_matter_of_thresholds() -> None:
    reference = scene()
    detections = seen(np.delete(reference, 5, 0), reference)
    assert (detections.missing, detections.decided) == (1, 0)
    assert not detections.thresholds_decide
    assert "0 at a threshold" in str(detections)


def overlapping(other: float, score: float = 0.7) -> np.ndarray:
    """A scene with a box that shares about 0.45 of its area and the best one's with that."""
    reference = scene()
    best = reference[0]
    width = best[4] - best[2]
    moved = best.copy()
    moved[[2, 4]] += other * width
    moved[1] = score
    return np.vstack([reference, moved]).astype(np.float32)


def test_an_overlap_at_the_threshold_decides_of_a_row() -> None:
    reference = overlapping(0.38)  # (1 - 0.38) / (1 + 0.38) is 0.449
    assert seen(reference[:-1], reference).thresholds_decide
    assert not match(reference[:-1], reference, FP32, Thresholds(0.5, 0.6)).thresholds_decide
    assert not seen(reference[:-1], reference, Thresholds(0.5, 0.7)).thresholds_decide


def test_a_worse_box_suppresses_no_better_one() -> None:
    reference = overlapping(0.38, score=0.6)
    candidate = np.delete(reference, 0, 0)
    assert not seen(candidate, reference).thresholds_decide


def test_only_so_many_are_kept() -> None:
    # the last of a hundred, and one that is nearly as good
    reference = scene(100)
    reference[:, 2:] += np.arange(100)[:, None]
    candidate = reference.copy()
    candidate[-1, 2:] += 500
    assert not seen(candidate, reference).thresholds_decide
    assert seen(candidate, reference, Thresholds(0.5, 0.45, most=100)).thresholds_decide


def test_a_full_list_has_a_place_for_a_better_row() -> None:
    """Whatever is listed in its place, it is not the limit that has dropped the row."""
    reference = scene()
    candidate = reference.copy()
    candidate[-1] = [1, 0.505, 500, 500, 501, 501]
    full = Thresholds(0.5, 0.45, most=len(reference))
    detections = seen(candidate, reference, full)
    assert (detections.missing, detections.extra, detections.decided) == (1, 1, 1)
    assert not detections.thresholds_decide


def test_in_a_full_list_as_well_an_overlap_at_the_threshold_decides_of_a_row() -> None:
    reference = overlapping(0.38)
    candidate = reference.copy()
    candidate[-1] = [1, 0.66, 500, 500, 501, 501]  # the next one has the place
    reference[-2, 1] = 0.655
    candidate[-2, 1] = 0.655
    full = Thresholds(0.5, 0.45, most=len(reference))
    assert seen(candidate, reference, full).thresholds_decide
    assert not seen(candidate, reference, Thresholds(0.5, 0.7, most=len(reference))).thresholds_decide


@pytest.mark.parametrize("allowed", [0.9, 1.1])
def test_a_score_is_as_near_to_the_threshold_as_it_may_be_off(allowed: float) -> None:
    """An error of a score is a share of 0.5."""
    reference = scene()
    reference[-1, 1] = 0.5 + allowed * FP16.scaled * 0.5
    assert seen(reference[:-1], reference).thresholds_decide == (allowed < 1.0)


def test_boxes_all_astray_are_no_matter_of_thresholds() -> None:
    reference = scene()
    candidate = reference.copy()
    candidate[:, [2, 4]] += 0.04  # half a box to the side
    detections = seen(candidate, reference)
    assert not detections.metrics.agrees
    assert not detections.thresholds_decide
    candidate[:, [2, 4]] += 0.5
    assert not seen(candidate, reference).thresholds_decide


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_red(value: float) -> None:
    for column in range(COLUMNS):
        candidate = scene()
        candidate[2, column] = value
        detections = seen(candidate, scene())
        assert not detections.metrics.agrees
        assert not detections.thresholds_decide


def test_what_is_no_rows_is_nothing_detected() -> None:
    layer_input = np.ones((6, 1, 2), np.float32)  # which YoloDetectionOutput leaves if it finds nothing
    both = seen(2 * layer_input, layer_input)
    assert both.metrics.agrees
    assert (both.reference, both.candidate) == (0, 0)
    one = seen(layer_input, scene(1))
    assert not one.metrics.agrees
    assert one.missing == 1


# -- boxes that overlap and have one score -------------------------------------------------------

ONE, OTHER = [1, 0.9, 0.1, 0.1, 0.5, 0.5], [1, 0.9, 0.1, 0.1, 0.5, 0.7]  # of one object: 0.67 in common
BESIDE = [1, 0.8, 0.1, 0.15, 0.5, 0.85]  # it overlaps the other, and the one not
AWAY = [2, 0.7, 0.8, 0.8, 0.9, 0.9]
FOUND = np.array([ONE, OTHER, BESIDE, AWAY], np.float32)


def listed(candidate: list[list[float]], reference: list[list[float]]) -> Detections:
    arrays = (np.array(rows, np.float32) for rows in (candidate, reference))
    return match(*arrays, FP32, YOLO, FOUND)


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        ([OTHER, AWAY], [ONE, AWAY]),
        ([ONE, AWAY], [OTHER, AWAY]),
        ([OTHER, AWAY], [ONE, BESIDE, AWAY]),  # one for two, where it suppresses both
    ],
)
def test_of_boxes_with_one_score_either_may_be_listed(
    candidate: list[list[float]], reference: list[list[float]]
) -> None:
    detections = listed(candidate, reference)
    assert detections.metrics.agrees
    assert "1 of them stand for others" in detections.metrics.forgiven
    assert not match(np.array(candidate), np.array(reference), FP32, YOLO).metrics.agrees


@pytest.mark.parametrize(
    "row",
    [
        [1, 0.9, 0.1, 0.1, 0.5, 0.6],  # the reference found no such box
        [1, 0.8, 0.1, 0.1, 0.5, 0.7],  # nor one with that score
        [2, 0.9, 0.1, 0.1, 0.5, 0.7],  # nor of that class
        AWAY,  # it overlaps no other
        [1, np.nan, 0.1, 0.1, 0.5, 0.7],
    ],
)
def test_any_other_box_in_place_of_one_is_red(row: list[float]) -> None:
    assert not listed([row, AWAY], [ONE, AWAY]).metrics.agrees


def test_a_box_with_a_lower_score_stands_for_no_other() -> None:
    lower = [1, 0.88, *OTHER[2:]]
    found = np.array([ONE, lower, AWAY], np.float32)
    arrays = (np.array(rows, np.float32) for rows in ([lower, AWAY], [ONE, AWAY]))
    assert not match(*arrays, FP32, YOLO, found).metrics.agrees


def flat(count: int = 12, better: int = 4) -> np.ndarray:
    """All boxes on a flat picture: a few, and many apart from each other with one lower score."""
    boxes = scene(count)
    boxes[:, 1] = 0.6
    boxes[:better, 1] = 0.9
    return boxes


FULL = Thresholds(score=0.5, overlap=0.45, most=8)


def test_of_boxes_with_the_last_score_any_may_fill_a_list() -> None:
    found = flat()
    candidate = np.vstack([found[:4], found[8:]])
    detections = match(candidate, found[:8], FP32, FULL, found)
    assert detections.metrics.agrees
    assert "4 of them stand for others with the same score" in detections.metrics.forgiven


def test_what_one_box_suppresses_more_leaves_a_place_for_a_worse_one() -> None:
    worse, last = [3, 0.55, 0.7, 0.1, 0.8, 0.2], [3, 0.6, 0.6, 0.6, 0.7, 0.7]
    found = np.array([ONE, OTHER, BESIDE, AWAY, last, worse], np.float32)
    reference = np.array([ONE, BESIDE, AWAY, last], np.float32)
    candidate = np.array([OTHER, AWAY, last, worse], np.float32)
    full = Thresholds(score=0.5, overlap=0.45, most=4)
    assert match(candidate, reference, FP32, full, found).metrics.agrees
    assert not match(candidate, reference, FP32, YOLO, found).metrics.agrees
    better = np.array([OTHER, AWAY, last, [3, 0.65, *worse[2:]]], np.float32)
    assert not match(better, reference, FP32, full, np.vstack([found, better])).metrics.agrees


@pytest.mark.parametrize(
    ("thresholds", "score", "kept"),
    [
        (YOLO, 0.6, range(8, 12)),  # nothing keeps it from listing all
        (FULL, 0.7, range(8, 12)),  # a better box that the reference has not listed
        (FULL, 0.6, range(8, 11)),  # the list has room
    ],
)
def test_other_boxes_at_the_end_of_a_list_are_red(
    thresholds: Thresholds, score: float, kept: range
) -> None:
    found = flat()
    candidate = np.vstack([found[:4], found[list(kept)]])
    candidate[4, 1] = score
    found[8, 1] = score
    assert not match(candidate, found[:8], FP32, thresholds, found).metrics.agrees


def test_a_box_at_the_end_of_a_list_that_was_not_found_is_red() -> None:
    found = flat()
    candidate = np.vstack([found[:4], found[8:]])
    candidate[5, 2:] += 0.3
    assert not match(candidate, found[:8], FP32, FULL, found).metrics.agrees


def test_a_box_of_less_than_a_pixel_is_measured_by_what_a_coordinate_is_rounded_to() -> None:
    reference = scene()
    reference[7, 4:] = reference[7, 2:4] + 1e-4
    candidate = reference.copy()
    candidate[7, 2:] += 2e-4  # a step of fp16 is 2.4e-4 there
    assert seen(candidate, reference).metrics.agrees
    candidate[7, 2:] += 0.01
    assert not seen(candidate, reference).metrics.agrees


def test_a_box_that_is_far_too_large_is_no_measure_for_others() -> None:
    reference = scene()
    reference[3, 4:] = 1e24
    candidate = reference.copy()
    candidate[7, 2:] += 0.05
    assert not seen(candidate, reference).metrics.agrees


PROPOSALS = Thresholds(math.inf, 0.7, 300)


@pytest.mark.parametrize("columns", [slice(2, 6), slice(1, 2)], ids=["boxes", "scores"])
def test_boxes_and_scores_that_are_listed_alone_are_matched_as_well(columns: slice) -> None:
    """As a Proposal lists them: (n, 1, 4) and (n, 1, 1). No row tells at which threshold it lies."""
    reference = scene()[:, None, columns]
    mixed = np.random.default_rng(0).permutation(reference)
    assert match(mixed, reference, FP32, PROPOSALS).metrics.agrees
    fewer = match(np.delete(mixed, 3, 0), reference, FP16, PROPOSALS)
    assert not fewer.metrics.agrees
    assert fewer.thresholds_decide
    half = match(mixed[:20], reference, FP16, PROPOSALS)
    assert not half.metrics.agrees
    assert not half.thresholds_decide
    off = mixed.copy()
    off[7] += 0.1
    assert not match(off, reference, FP16, PROPOSALS).metrics.agrees
    assert not match(np.full_like(mixed, np.nan), reference, FP16, PROPOSALS).metrics.agrees
