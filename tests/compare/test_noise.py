"""The noise floor: terms that cancel leave the rounding of large ones; a fault is far above that.

The layer is a product of a matrix and values that are nearly alike, summed in fp16 term by term.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.noise import DRAWS, MOST_ELEMENT, Conditioning, Moves, moved
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, WINOGRAD, Tolerance

FP16 = DEFAULTS["fp16"].layer
ROWS, TERMS, PLACES = 6, 64, 40

Run = Callable[[np.ndarray], np.ndarray]


def weights(rng: np.random.Generator, cancelling: int = ROWS) -> np.ndarray:
    """Rows of which the first `cancelling` add up to nothing."""
    rows = rng.normal(0, 1 / 8, (ROWS, TERMS))
    rows[:cancelling] -= rows[:cancelling].mean(1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def grey(rng: np.random.Generator) -> np.ndarray:
    """A picture that is nearly flat, in values that fp16 holds."""
    return (1.5 + 0.002 * rng.normal(0, 1, (TERMS, PLACES))).astype(np.float16).astype(np.float32)


def in_fp16(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = np.zeros((len(rows), values.shape[1]), np.float16)
    for column, row in zip(rows.T, values, strict=True):
        total = (total + np.outer(column, row).astype(np.float16)).astype(np.float16)
    return total.astype(np.float32)


def conditioning(
    candidate: np.ndarray, run: Run, values: np.ndarray, tolerance: Tolerance = FP16
) -> Conditioning:
    """What the worker asks: the reference's own moves, against the candidate's error."""
    reference = run(values)
    assert not judge(candidate, reference, tolerance).agrees
    moves = Moves(reference)
    for draw in range(DRAWS):
        moves.add(run(moved(values, "fp16", draw)))
    return moves.against(candidate, reference, tolerance, float(np.abs(reference).max()))


@pytest.mark.parametrize("seed", range(10))
def test_rounding_of_terms_that_cancel_is_explained(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, values = weights(rng), grey(rng)
    seen = conditioning(in_fp16(rows, values), lambda x: rows @ x, values)
    assert seen.explains
    assert seen.factor < 5
    assert seen.moves == pytest.approx(2**-11 * 1.5, rel=0.5)  # of 64 terms of 1.5 * 1/8 each


@pytest.mark.parametrize("seed", range(10))
def test_a_fault_beside_a_channel_that_cancels_is_not(seed: int) -> None:
    """One row cancels, and its moves are as large as ever; another, which does not, is a tenth off."""
    rng = np.random.default_rng(seed)
    rows, values = weights(rng, cancelling=1), grey(rng)
    candidate = in_fp16(rows, values)
    worst = np.abs(rows @ values).max(1).argmax()
    candidate[worst] *= 1.1
    assert not conditioning(candidate, lambda x: rows @ x, values).explains


@pytest.mark.parametrize("seed", range(10))
def test_a_fault_in_a_channel_that_cancels_is_not(seed: int) -> None:
    """A wrong weight: a term too much, where all others still cancel."""
    rng = np.random.default_rng(seed)
    rows, values = weights(rng), grey(rng)
    faulty = rows.copy()
    faulty[2, 5] += 0.1
    candidate = in_fp16(faulty, values)
    assert not conditioning(candidate, lambda x: rows @ x, values).explains


def test_winograd_on_an_arm_cpu_rounds_as_if_inputs_moved_further() -> None:
    rng = np.random.default_rng(0)
    rows, values = weights(rng), grey(rng)
    run = lambda x: rows @ x  # noqa: E731
    candidate = run(values) + 0.1 * rng.normal(0, 1, (ROWS, PLACES)).astype(np.float32)
    directly, by_winograd = (conditioning(candidate, run, values, one) for one in (FP16, WINOGRAD))
    assert directly.factor == pytest.approx(2 * by_winograd.factor)
    faulty = rows.copy()
    faulty[2, 5] += 0.2
    assert not conditioning(in_fp16(faulty, values), run, values, WINOGRAD).explains


@pytest.mark.parametrize("seed", range(10))
def test_one_wrong_element_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, values = weights(rng), grey(rng)
    candidate = in_fp16(rows, values)
    candidate[seed % ROWS, seed] += 0.2
    assert not conditioning(candidate, lambda x: rows @ x, values).explains


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_not(value: float) -> None:
    rng = np.random.default_rng(0)
    rows, values = weights(rng), grey(rng)
    candidate = in_fp16(rows, values)
    candidate[0, 0] = value
    assert not conditioning(candidate, lambda x: rows @ x, values).explains


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def stuck(logits: np.ndarray) -> np.ndarray:
    """The sum ends where fp16 no longer holds an odd number."""
    powers = np.exp(logits - logits.max(0)).astype(np.float16)
    total = np.zeros(logits.shape[1], np.float16)
    for row in powers:
        total = (total + row).astype(np.float16)
    return (powers / total).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("classes", [4096, 6625])
def test_a_sum_that_fp16_cannot_hold_is_not(seed: int, classes: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 0.1, (classes, 1)).astype(np.float32)
    assert not conditioning(stuck(logits), softmax, logits).explains


def test_inputs_move_by_one_unit_in_the_last_place_up_or_down() -> None:
    values = np.random.default_rng(0).normal(0, 1, 2000).astype(np.float32)
    for half, step in (("fp16", 2**-11), ("bf16", 2**-8), (None, 2**-24)):
        one, same, other = (moved(values, half, draw) for draw in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        ratio = one.astype(np.float64) / values - 1
        assert (np.abs(ratio) >= 0.9 * step).all()
        assert (np.abs(ratio) <= 2.1 * step).all()
        assert 0.4 < (ratio > 0).mean() < 0.6
    assert moved(values, "fp16", 0).dtype == np.float32
    np.testing.assert_array_equal(moved(np.array([0.0, np.inf]), "fp16", 0), [0.0, np.inf])


def noisy_output(error: float, moves: float, own: float, off: float) -> tuple[Conditioning, Metrics]:
    """Output that errs by `error`, its reference `moves`. One place moves by `own`, and is `off`."""
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.2, 1, (4, 2000))
    candidate = reference + rng.normal(0, error, reference.shape)
    candidate[0, 7] = reference[0, 7] + off
    sizes = np.full(reference.shape, moves)
    sizes[0, 7] = own
    asked = Moves(reference)
    for draw in range(DRAWS):
        asked.add(reference + sizes * np.random.default_rng(draw + 1).normal(0, 1, reference.shape))
    output = DEFAULTS["fp16"].output
    metrics = judge(candidate, reference, output)
    assert not metrics.agrees
    return asked.against(candidate, reference, output, 1.0), metrics


@pytest.mark.parametrize(
    ("error", "moves", "own", "excused"),
    [
        (0.001, 0.004, 0.01, True),  # one element beyond its budget, by what rounding alone makes
        (0.012, 0.004, 0.01, True),  # one of few, by what rounding in long sums makes
        (0.001, 0.004, 0.004, False),  # one element that moves no more than the others
        (0.012, 0.004, 0.004, False),
        (0.018, 0.004, 0.01, False),  # by more than that
        (0.1, 0.2, 0.2, False),  # all of it is rounding, and nothing is right
    ],
)
def test_an_output_in_16_bits_is_excused_only_where_it_is_nearly_right(
    error: float, moves: float, own: float, excused: bool
) -> None:
    seen, metrics = noisy_output(error, moves, own, off=0.12)
    assert seen.explains
    assert seen.is_inherent(metrics) == excused


@pytest.mark.parametrize("off", [0.1, -0.1, 0.15, -0.15, 0.3])
def test_a_score_a_tenth_off_is_excused_only_where_rounding_moves_it_far(off: float) -> None:
    """It is one that moves by most of a budget; where it moves no more than others it is wrong."""
    seen, metrics = noisy_output(0.004, 0.003, 0.06, off)
    assert seen.is_inherent(metrics)
    for own in (0.001, 0.003):
        seen, metrics = noisy_output(0.004, 0.003, own, off)
        assert seen.factor < 4
        assert not seen.is_inherent(metrics)


@pytest.mark.parametrize(
    ("factor", "own", "mismatched", "used", "sqnr_db", "excused"),
    [
        (2.9, 2.8, 8, 1.75, 31.4, True),  # a detector with 41,140 outputs
        (1.7, 1.1, 6, 2.28, 24.9, True),
        (2.9, 6.0, 8, 1.75, 31.4, False),
        (5.0, 2.8, 8, 1.75, 31.4, False),
        (2.9, 2.8, 30, 1.75, 31.4, False),
        (2.9, 2.8, 8, 6.0, 31.4, False),
        (2.9, 2.8, 8, 1.75, 19.0, False),
    ],
)
def test_few_elements_here_and_there_may_round_more(
    factor: float, own: float, mismatched: int, used: float, sqnr_db: float, excused: bool
) -> None:
    metrics = scattered(mismatched, 41_140, used, sqnr_db)
    assert Conditioning(True, 0.1, factor, own).is_inherent(metrics) == excused
    assert not Conditioning(False, 0.1, factor, own).is_inherent(metrics)


def scattered(mismatched: int, total: int, used: float, sqnr_db: float) -> Metrics:
    some = replace(judge(np.ones(8), np.ones(8), FP16), agrees=False, failed=("elements",))
    return replace(some, mismatched=mismatched, total=total, used=used, sqnr_db=sqnr_db)


def test_one_element_of_a_small_output_is_not_few() -> None:
    assert not Conditioning(True, 0.1, 2.9, 2.8).is_inherent(scattered(1, 1000, 1.75, 31.4))


@pytest.mark.parametrize(("mismatched", "failed"), [(0, ("a sum",)), (1, ("elements", "a sum"))])
def test_a_sum_of_probabilities_that_is_off_is_no_matter_of_few(
    mismatched: int, failed: tuple[str, ...]
) -> None:
    metrics = replace(scattered(mismatched, 530_000, 1.3, 29.4), failed=failed)
    assert not Conditioning(True, 0.1, 1.4, 0.4).is_inherent(metrics)


@pytest.mark.parametrize(("unmoved", "explained"), [(1, True), (5, True), (32, False)])
def test_an_element_that_no_draw_happens_to_move_is_like_its_neighbours(
    unmoved: int, explained: bool
) -> None:
    """x - mean(x) of a flat value: both move by whole units, and may cancel in every draw.

    Where many elements do not move, they do not depend on what moves.
    """
    unit = 2.0**-21
    still = np.zeros((4, 64), np.float32)
    moves = Moves(still)
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        step = unit * rng.choice([-1.0, 0.0, 1.0], still.shape)
        step.flat[:unmoved] = 0.0
        moves.add((still + step).astype(np.float32))
    candidate = still.copy()
    candidate.flat[:unmoved] = 2 * unit
    candidate.flat[100:110] = unit
    seen = moves.against(candidate, still, DEFAULTS["fp32"].layer, 0.0)
    assert seen.explains == explained


def chaotic(seed: int, switched: float) -> np.ndarray:
    """Moves of 1e-3, and of 1 in a share of the elements: behind them an activation switches."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 1e-3, (4, 5000))
    return np.where(rng.random(steps.shape) < switched, rng.normal(0.0, 1.0, steps.shape), steps)


@pytest.mark.parametrize(
    ("switched", "off", "explained"), [(0.01, 1, True), (0.0, 1, False), (0.01, 50, False)]
)
def test_an_element_may_move_as_far_as_one_of_the_references_own_draws(
    switched: float, off: float, explained: bool
) -> None:
    """An element far off is a fault where no draw moves like that, and where it is further off."""
    still = np.random.default_rng(99).uniform(-1, 1, (4, 5000))
    moves = Moves(still)
    for draw in range(DRAWS):
        moves.add(still + chaotic(draw, switched))
    candidate = still + chaotic(DRAWS, switched)
    candidate[0, 7] = still[0, 7] + off
    seen = moves.against(candidate, still, DEFAULTS["fp32"].output, 1.0)
    assert seen.own > MOST_ELEMENT
    assert seen.explains == explained
