"""Rows of a list of detections that hold inf or nan, on one side or on both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_ncnn_parity.compare.detections import Thresholds, match
from pytest_ncnn_parity.compare.tolerance import Tolerance

TOLERANCE = Tolerance(atol=1e-6, scaled=1e-3)


def rows(**changed: Any) -> np.ndarray:
    """Three rows of class, score and box; `changed`: numbers by row and column, as in r0c2."""
    array = np.array(
        [[1, 0.9, 10, 10, 50, 60], [1, 0.8, 100, 10, 150, 60], [2, 0.7, 10, 100, 50, 160]], np.float32
    )
    for place, value in changed.items():
        array[int(place[1]), int(place[3])] = value
    return array


@pytest.mark.parametrize("end", [np.inf, -np.inf, np.nan])
def test_the_same_row_is_found_whatever_it_holds(end: float) -> None:
    reference, candidate = rows(r1c4=end), rows(r1c4=end, r1c2=100.001)
    found = match(candidate, reference, TOLERANCE, Thresholds(0.5, 0.45))
    assert (found.missing, found.extra) == (0, 0)
    assert found.metrics.agrees
    assert np.isfinite(found.rms)


@pytest.mark.parametrize(
    "changed", [{"r1c4": np.inf}, {"r1c4": np.nan}, {"r1c4": -np.inf}, {"r1c4": 900.0}]
)
def test_inf_on_one_side_alone_is_no_match(changed: dict[str, float]) -> None:
    reference = rows(r1c4=np.inf) if changed != {"r1c4": np.inf} else rows()
    found = match(rows(**changed), reference, TOLERANCE, Thresholds(0.5, 0.45))
    assert not found.metrics.agrees
    assert (found.missing, found.extra) == (1, 1)


def test_rows_that_are_missing_are_no_rounding() -> None:
    found = match(rows()[:2], rows(), TOLERANCE, Thresholds(0.1, 0.45))
    assert not found.metrics.agrees
    assert not found.metrics.is_rounding_of_fp32
