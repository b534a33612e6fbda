"""Comparing: the documented formula, element by element, against a naive float64 implementation."""

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_ncnn_parity.compare import blocks
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
EXACT = Tolerance()
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
FINITE = st.floats(-1e6, 1e6, width=32)
ANY = st.floats(width=32, allow_subnormal=False)
SHARES = st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0])
TOLERANCES = st.builds(Tolerance, atol=SHARES, rtol=SHARES, scaled=SHARES)


@st.composite
def pairs(draw, elements=FINITE):
    """A candidate and a reference, in part equal, in part near and in part anything."""
    shape = draw(SHAPES)
    reference = draw(hnp.arrays(np.float32, shape, elements=elements))
    other = draw(hnp.arrays(np.float32, shape, elements=elements))
    kind = draw(hnp.arrays(np.int8, shape, elements=st.integers(0, 2)))
    noise = draw(st.sampled_from([1e-7, 1e-3, 0.05]))
    with np.errstate(over="ignore"):
        near = (reference * np.float32(1 + noise)).astype(np.float32)
    return np.select([kind == 0, kind == 1], [reference, near], other), reference


def naive(candidate, reference, t):
    """Error, budget and agreement of each element, as design.md has them."""
    c, r = candidate.astype(np.float64), reference.astype(np.float64)
    absmax = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    finite = np.isfinite(c) & np.isfinite(r)
    error, budget = np.zeros(r.shape), np.zeros(r.shape)
    error[finite] = np.abs(c - r, where=finite, out=error)[finite]
    budget[finite] = t.atol + t.rtol * np.abs(r[finite]) + t.scaled * absmax
    same = (np.isnan(c) & np.isnan(r)) | (c == r)
    return error, budget, np.where(finite, error <= budget, same), absmax


def near_a_tie(error, budget) -> bool:
    """Where the order of three additions decides."""
    return bool(np.any((error > 0) & (np.abs(error - budget) <= 1e-12 * (error + budget))))


@UNHURRIED
@given(pairs(ANY), TOLERANCES, st.integers(1, 9))
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_elements_agree_as_the_formula_says(pair, t: Tolerance, block: int) -> None:
    with np.errstate(invalid="ignore"):
        error, budget, agree, absmax = naive(*pair, t)
    assume(not near_a_tie(error, budget))
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*pair, t)
    assert metrics.mismatched == np.count_nonzero(~agree)
    assert metrics.agrees == bool(agree.all())
    assert metrics.total == agree.size
    assert metrics.reference_absmax == absmax


@UNHURRIED
@given(pairs(ANY), TOLERANCES, st.integers(1, 9))
def test_nan_and_inf_are_counted_where_only_the_candidate_has_them(
    pair, t: Tolerance, block: int
) -> None:
    candidate, reference = pair
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(candidate, reference, t)
    assert metrics.nan == np.count_nonzero(np.isnan(candidate) & ~np.isnan(reference))
    other = ~(candidate == reference)
    assert metrics.inf == np.count_nonzero(np.isinf(candidate) & other)
    misplaced = (~np.isfinite(candidate) | ~np.isfinite(reference)) & other
    if np.any(misplaced & ~(np.isnan(candidate) & np.isnan(reference))):
        assert (metrics.max_abs, metrics.least_scaled) == (math.inf, math.inf)
        assert math.isnan(metrics.cosine)
        assert metrics.sqnr_db == -math.inf


@pytest.mark.parametrize(
    ("c", "r", "agrees"),
    [
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (-math.inf, -math.inf, True),
        (math.inf, -math.inf, False),
        (math.nan, math.inf, False),
        (math.inf, math.nan, False),
        (math.nan, 1.0, False),
        (1.0, math.nan, False),
        (math.inf, 1.0, False),
        (1.0, -math.inf, False),
        (0.0, -0.0, True),
    ],
)
def test_no_tolerance_forgives_nan_or_inf_in_the_wrong_place(c: float, r: float, agrees: bool) -> None:
    t = Tolerance(atol=1e30, rtol=1e30, scaled=1e30)
    metrics = compare(np.array([5.0, c, 5.0]), np.array([5.0, r, 5.0]), t)
    assert (metrics.agrees, metrics.mismatched) == (agrees, 0 if agrees else 1)
    if not agrees:
        assert metrics.index == (1,)


# -- statistics ----------------------------------------------------------------------------------


@UNHURRIED
@given(pairs(), st.integers(1, 9))
def test_cosine_and_sqnr_are_those_of_numpy(pair, block: int) -> None:
    c, r = (a.astype(np.float64).ravel() for a in pair)
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*pair, EXACT)
    if c.any() and r.any():
        expected = (c / np.linalg.norm(c)) @ (r / np.linalg.norm(r))
        assert metrics.cosine == pytest.approx(expected, abs=1e-9)
    else:
        assert metrics.cosine == (1.0 if not c.any() and not r.any() else 0.0)
    if not (c - r).any():
        assert metrics.sqnr_db == math.inf
    elif r.any():
        expected = 10 * np.log10(np.sum(r**2) / np.sum((c - r) ** 2))
        assert metrics.sqnr_db == pytest.approx(expected, abs=1e-6)
    else:
        assert metrics.sqnr_db == -math.inf


@UNHURRIED
@given(pairs(), st.data(), st.integers(1, 9))
def test_statistics_leave_out_nan_and_inf_that_both_sides_have(pair, data, block: int) -> None:
    special = st.sampled_from([0.0, 0.0, math.nan, math.inf, -math.inf])
    put = data.draw(hnp.arrays(np.float32, pair[0].shape, elements=special))
    kept = put == 0.0
    assume(kept.any())
    spoiled = [np.where(kept, array, put) for array in pair]
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*spoiled, EXACT)
    bare = compare(pair[0][kept], pair[1][kept], EXACT)
    assert (metrics.max_abs, metrics.scaled) == (bare.max_abs, bare.scaled)
    assert metrics.cosine == pytest.approx(bare.cosine, abs=1e-9)
    assert metrics.sqnr_db == pytest.approx(bare.sqnr_db, abs=1e-6)
    assert metrics.mismatched == bare.mismatched


@UNHURRIED
@given(pairs())
def test_max_abs_and_scaled_are_the_largest_error(pair) -> None:
    error, _, _, absmax = naive(*pair, EXACT)
    metrics = compare(*pair, EXACT)
    assert metrics.max_abs == error.max()
    if absmax:
        assert metrics.scaled == error.max() / absmax
    else:
        assert metrics.scaled == (math.inf if error.max() else 0.0)


def test_each_absmax_covers_all_finite_elements_of_its_side() -> None:
    """Those as well where the other side is not finite: they are what overflowed."""
    candidate = np.array([1.0, math.inf, 7.0, math.nan], np.float32)
    reference = np.array([1.0, -70000.0, math.nan, 3.0], np.float32)
    metrics = compare(candidate, reference, EXACT)
    assert (metrics.reference_absmax, metrics.candidate_absmax) == (70000.0, 7.0)


@UNHURRIED
@given(pairs(ANY))
def test_comparing_with_itself_agrees(pair) -> None:
    metrics = compare(pair[0], pair[0].copy(), EXACT)
    assert metrics.agrees
    assert (metrics.max_abs, metrics.scaled, metrics.least_scaled) == (0.0, 0.0, 0.0)
    assert (metrics.cosine, metrics.sqnr_db) == (pytest.approx(1.0), math.inf)


# -- the worst element ---------------------------------------------------------------------------


@UNHURRIED
@given(pairs(), TOLERANCES, st.integers(1, 9))
def test_the_index_points_at_the_largest_excess(pair, t: Tolerance, block: int) -> None:
    error, budget, _, _ = naive(*pair, t)
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*pair, t)
    excess = error - budget
    assert excess[metrics.index] == pytest.approx(excess.max(), abs=1e-12 * (1 + budget.max()))
    assert metrics.candidate == pair[0][metrics.index]
    assert metrics.reference == pair[1][metrics.index]
    assert metrics.budget == pytest.approx(budget[metrics.index])


@UNHURRIED
@given(pairs(), TOLERANCES, st.integers(1, 9), st.data())
def test_the_index_points_at_nan_or_inf_before_any_finite_error(
    pair, t: Tolerance, block: int, data
) -> None:
    place = data.draw(st.integers(0, pair[0].size - 1))
    side = data.draw(st.integers(0, 1))
    pair[side].flat[place] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*pair, t)
    assert metrics.index == np.unravel_index(place, pair[0].shape)


@pytest.mark.parametrize("block", [1, 2, 64])
def test_of_several_inf_the_index_points_at_the_largest_reference(block: int) -> None:
    reference = np.array([7e4, 1.0, -3e5, 2e5, np.nan], np.float32)
    candidate = np.array([np.inf, 1.0, -np.inf, np.inf, 0.0], np.float32)
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(candidate, reference, EXACT)
    assert (metrics.index, metrics.reference) == ((2,), -3e5)


# -- the least tolerance -------------------------------------------------------------------------


@UNHURRIED
@given(pairs(), SHARES, st.sampled_from([0.0, 1e-3, 0.25]), SHARES)
def test_least_scaled_is_the_least_that_passes(pair, atol: float, rtol: float, scaled: float) -> None:
    t = Tolerance(atol, rtol, scaled)
    least = compare(*pair, t).least_scaled
    assume(0.0 < least < math.inf)
    assume(least > 1e-9 * (1 + scaled))
    assert compare(*pair, replace(t, scaled=least * (1 + 1e-6))).mismatched == 0
    assert compare(*pair, replace(t, scaled=least * (1 - 1e-6))).mismatched > 0


@UNHURRIED
@given(pairs(), SHARES, st.sampled_from([0.0, 1e-3, 0.25]))
def test_least_scaled_itself_passes(pair, atol: float, rtol: float) -> None:
    t = Tolerance(atol, rtol)
    least = compare(*pair, t).least_scaled
    assume(least < math.inf)
    assert compare(*pair, replace(t, scaled=least)).mismatched == 0


@pytest.mark.parametrize("scaled", [0.0, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("rtol", [0.0, 0.25])
def test_least_scaled_does_not_depend_on_the_scaled_given(scaled: float, rtol: float) -> None:
    c, r = np.array([1.0, 6.0, -8.5]), np.array([1.0, 4.0, -8.0])
    metrics = compare(c, r, Tolerance(atol=0.5, rtol=rtol, scaled=scaled))
    assert metrics.least_scaled == pytest.approx((2.0 - 0.5 - rtol * 4.0) / 8.0)


def test_no_scaled_helps_where_the_reference_is_zero() -> None:
    metrics = compare(np.array([0.0, 1.0]), np.zeros(2), Tolerance(scaled=1e9))
    assert (metrics.agrees, metrics.least_scaled) == (False, math.inf)


# -- how much of the budget is used ----------------------------------------------------------------


@UNHURRIED
@given(pairs(), TOLERANCES, st.integers(1, 9))
def test_used_is_the_largest_share_that_an_element_takes_of_its_tolerance(
    pair, t: Tolerance, block: int
) -> None:
    error, budget, agrees, _ = naive(*pair, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(error == 0.0, 0.0, error / budget)
    with patch.object(blocks, "BLOCK", block):
        metrics = compare(*pair, t)
    assert metrics.used == pytest.approx(share.max())
    if abs(metrics.used - 1.0) > 1e-9:
        assert (metrics.used > 1.0) == (not agrees.all())


@pytest.mark.parametrize("t", [Tolerance(atol=0.1), Tolerance(rtol=0.1), Tolerance(scaled=0.1)], ids=str)
def test_used_ranks_alike_whatever_tolerance_is_given(t: Tolerance) -> None:
    reference = np.ones(3)
    shares = [compare(np.array([1, 1 + error, 1]), reference, t).used for error in (1e-9, 0.05, 0.099)]
    assert shares == pytest.approx([1e-8, 0.5, 0.99])


@UNHURRIED
@given(pairs(), TOLERANCES, st.data())
def test_no_tolerance_allows_a_misplaced_nan_or_inf(pair, t: Tolerance, data) -> None:
    place = data.draw(st.integers(0, pair[0].size - 1))
    pair[0].flat[place] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    assert compare(*pair, t).used == math.inf


@pytest.mark.parametrize("rtol", [0.0, 0.1])
def test_used_is_measured_beside_nan_that_agrees(rtol: float) -> None:
    candidate, reference = np.array([math.nan, 1.05, 0.0]), np.array([math.nan, 1.0, 0.0])
    assert compare(candidate, reference, Tolerance(rtol=rtol, atol=0.1 - rtol)).used == pytest.approx(
        0.5
    )


# -- conditions on the whole ---------------------------------------------------------------------


def test_every_condition_that_does_not_hold_is_reported() -> None:
    t = Tolerance(cosine=0.9, sqnr_db=20.0)
    metrics = compare(np.array([1.0, -1.0]), np.array([1.0, 1.0]), t)
    assert not metrics.agrees
    assert metrics.failed == (
        "1 of 2 elements out of tolerance",
        "cosine 0 < 0.9",
        "sqnr_db -3.01 < 20",
    )


@pytest.mark.parametrize("condition", [{"cosine": 0.99}, {"sqnr_db": 30.0}])
def test_a_condition_fails_though_every_element_is_within_tolerance(condition: dict) -> None:
    c, r = np.array([1.0, 0.5]), np.array([1.0, 1.0])
    assert compare(c, r, Tolerance(atol=1.0)).agrees
    assert not compare(c, r, Tolerance(atol=1.0, **condition)).agrees
    assert compare(r, r, Tolerance(**condition)).agrees


def test_nan_fails_every_condition() -> None:
    metrics = compare(np.array([math.nan, 1.0]), np.ones(2), Tolerance(cosine=-1.0, sqnr_db=-1e9))
    assert len(metrics.failed) == 3
