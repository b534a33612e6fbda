"""What rounding may leave of terms that cancel, and what is more than that."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.compare.blocks import BLOCK
from pytest_ncnn_parity.worker.judge.fp16.cancelled import Sum
from pytest_ncnn_parity.worker.values.blob import Blob

SIZE = 3 * BLOCK + 5


def values(element: float, at: int, there: float) -> Blob:
    """SIZE elements of `element`, but for one of `there`."""
    array = np.full(SIZE, element, np.float32)
    array[at] = there
    return Blob.of(array)


@pytest.mark.parametrize("at", [0, BLOCK, SIZE - 1])
def test_one_element_among_many_that_rounding_does_not_explain(at: int) -> None:
    """0.4 - 0.4 is off by about 3e-8, and 4e-7 - 4e-7 by about 3e-14."""
    little = values(1e-8, at, 2e-8)
    same = values(0.4, at, 0.4)
    assert Sum([same, same], []).is_left_by_rounding(little)
    small = values(0.4, at, 4e-7)
    assert not Sum([small, small], []).is_left_by_rounding(little)


@pytest.mark.parametrize("at", [0, BLOCK, SIZE - 1])
def test_what_a_term_was_moved_by_before_explains_as_much(at: int) -> None:
    """A term of 4e-7 that 0.4 and -0.4 + 4e-7 gave."""
    little, small = values(1e-8, at, 2e-8), values(0.4, at, 4e-7)
    large = values(0.4, at, 0.4)
    moved = Sum([large, large], []).moves
    assert moved[at] == pytest.approx(0.4 * 2.0**0.5 * 2.0**-24, rel=0.5)
    assert Sum([small, small], [moved]).is_left_by_rounding(little)


def test_a_sum_without_tiny_values_needs_no_look_at_its_terms() -> None:
    class Unread(Blob):
        @property
        def array(self) -> np.ndarray:
            raise AssertionError("nobody needs the elements")

    term = Unread(None, np.zeros(SIZE, np.float32))
    assert Sum([term, term], []).is_left_by_rounding(values(0.0, 0, 1.0))
