"""Rows that are what rounding leaves of terms that cancel: they have no scale of their own."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ncnn_parity.compare.noise import DRAWS, Moves, moved
from pytest_ncnn_parity.compare.residues import may_explain, residues
from pytest_ncnn_parity.compare.tolerance import DEFAULTS

TOLERANCE = DEFAULTS["fp16"].output
TERMS, PLACES = 8, 40
RNG = np.random.default_rng(3)
VALUES = np.concatenate([RNG.uniform(0.5, 1.5, (TERMS, PLACES))] * 2).astype(np.float32)
HALF = RNG.normal(0, 1, TERMS)
# the first row cancels, the second does not, and the third is small and has a value
ROWS = np.stack([np.append(HALF, -HALF), np.ones(2 * TERMS), np.append(HALF, 1e-3 - HALF)])
REFERENCE = (ROWS.astype(np.float32) @ VALUES).astype(np.float32)


def moves(half: str | None) -> Moves:
    seen = Moves(REFERENCE)
    for draw in range(DRAWS):
        seen.add((ROWS @ moved(VALUES, half, draw)).astype(np.float32))
    return seen


def found(candidate: np.ndarray, largest: float = 1.5) -> list[bool]:
    """Of each row, whether all of it is found to be rounding."""
    mask = residues(candidate, REFERENCE, moves("fp16"), moves(None), largest)
    assert (mask.all(1) | ~mask.any(1)).all()
    return mask.all(1).tolist()


def off(row: int, error: float) -> np.ndarray:
    candidate = REFERENCE.copy()
    candidate[row] += error * np.where(np.arange(PLACES) % 2, 1.0, -1.0)
    return candidate


def scale_of_rows() -> np.ndarray:
    return np.abs(REFERENCE).max(1, keepdims=True)


def test_an_error_of_rounding_to_16_bits_is_found_where_the_value_is_rounding_itself() -> None:
    assert found(off(0, 1e-3)) == [True, False, False]
    assert may_explain(off(0, 1e-3), REFERENCE, TOLERANCE, scale_of_rows())


def test_a_row_that_is_all_0_in_16_bits_is_looked_into() -> None:
    zero = REFERENCE.copy()
    zero[0] = 0.0
    assert found(zero) == [True, False, False]
    assert may_explain(zero, REFERENCE, TOLERANCE, np.abs(REFERENCE))


def test_a_row_with_a_value_that_is_lost_is_a_fault() -> None:
    zero = REFERENCE.copy()
    zero[2] = 0.0
    assert found(zero)[2] is False


def test_a_larger_error_is_a_fault() -> None:
    assert found(off(0, 0.2)) == [False, False, False]


@pytest.mark.parametrize("row", [1, 2])
def test_a_row_with_a_value_is_never_excused(row: int) -> None:
    assert found(off(row, 1e-3))[row] is False


def test_an_error_of_the_size_of_the_value_is_not_looked_into() -> None:
    assert not may_explain(off(1, 2.0), REFERENCE, TOLERANCE, scale_of_rows())
    both = off(0, 1e-3)
    both[1] = off(1, 2.0)[1]
    assert not may_explain(both, REFERENCE, TOLERANCE, scale_of_rows())


def test_values_that_are_not_finite_are_never_excused() -> None:
    broken = off(0, 1e-3)
    broken[0, 3] = np.nan
    assert found(broken) == [False, False, False]
    assert not may_explain(broken, REFERENCE, TOLERANCE, scale_of_rows())


def test_a_vector_is_one_row_and_a_matrix_has_rows_along_either_axis() -> None:
    turned = residues(off(0, 1e-3).T, REFERENCE.T, *(_turned(half) for half in ("fp16", None)), 1.5)
    assert turned[:, 0].all()
    assert not turned[:, 1:].any()


def _turned(half: str | None) -> Moves:
    seen = Moves(REFERENCE.T)
    for draw in range(DRAWS):
        seen.add((ROWS @ moved(VALUES, half, draw)).T.astype(np.float32))
    return seen


def test_what_is_made_large_again_is_no_residue() -> None:
    """As by an InstanceNorm of a flat picture, which divides by the root of its epsilon."""
    assert found(off(0, 1e-3), largest=0.2) == [True, False, False]
    assert found(off(0, 1e-3), largest=0.01) == [False, False, False]
