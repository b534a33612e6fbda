"""What int8 rounds: a step here and there, and what outputs move by for it."""

import numpy as np
import pytest

from pytest_ncnn_parity.compare.int8 import MOST_MOVED, MOVED_BY, moved, own_moves, with_steps_forgiven
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, STEPS, Tolerance

LAYER, OUTPUT = DEFAULTS["fp32"].layer, DEFAULTS["fp32"].output
VALUES = np.random.RandomState(0).randint(-120, 121, (8, 25, 25)).astype(np.int8)


def judged(off: int, by: int = 1, tolerance: Tolerance = LAYER) -> Metrics:
    """VALUES with `off` of them changed `by` so many steps."""
    candidate = VALUES.copy()
    candidate.flat[:off] += by
    metrics = compare(candidate, VALUES, tolerance)
    return with_steps_forgiven(metrics, candidate, VALUES, tolerance)


def test_a_few_values_may_be_off_by_one_step() -> None:
    most = int(STEPS * VALUES.size)
    assert judged(0).agrees
    assert judged(0).forgiven == ""
    for by in (1, -1):
        assert judged(most, by).agrees
        assert judged(most, by).forgiven == f"{most} of 5000 int8 values are off by one step"
    assert not judged(most + 1).agrees
    assert not judged(1, 2).agrees
    red = judged(most + 1)
    assert red.also_allowed == "share 0.01 of the int8 values, or one of them, off by one step"
    assert judged(1, tolerance=LAYER.updated({"scaled": 1e-4})).also_allowed == "", "as a user asked"


def test_one_step_is_forgiven_where_a_share_of_the_values_is_less_than_one() -> None:
    few = np.zeros(10, np.int8)
    for off, agrees in ((1, True), (2, False)):
        candidate = few.copy()
        candidate[:off] = 1
        metrics = compare(candidate, few, LAYER)
        assert with_steps_forgiven(metrics, candidate, few, LAYER).agrees is agrees
        asked = LAYER.updated({"atol": 0.0})  # to the letter
        assert not with_steps_forgiven(metrics, candidate, few, asked).agrees


def test_a_condition_on_the_whole_is_not_forgiven() -> None:
    tight = Tolerance(scaled=1e-3, sqnr_db=80.0, steps=STEPS)
    assert judged(5, tolerance=tight).failed == (
        "5 of 5000 elements out of tolerance",
        f"sqnr_db {judged(5).sqnr_db:.4g} < 80",
    )


def test_a_tolerance_of_the_user_forgives_no_steps_in_addition() -> None:
    own = LAYER.updated({"scaled": 1e-3})
    assert (own.steps, OUTPUT.updated({"atol": 1.0}).moves) == (0.0, 0.0)
    assert LAYER.updated({"cosine": 0.9}).steps == STEPS


# -- outputs ---------------------------------------------------------------------------------------

STILL = np.random.RandomState(1).normal(size=(3, 40, 40)).astype(np.float32)


def shaken(size: float, seed: int) -> np.ndarray:
    """STILL with an error of `size`, as a root mean square, everywhere."""
    return (STILL + np.random.RandomState(seed).normal(0, size, STILL.shape)).astype(np.float32)


def of_output(candidate: np.ndarray, moves: float = 0.02, tolerance: Tolerance = OUTPUT) -> Metrics:
    own = own_moves(STILL, [shaken(moves, 2), shaken(moves, 3)])
    assert own is not None
    return own.forgiving(compare(candidate, STILL, tolerance), tolerance)


def test_an_output_may_be_off_by_what_it_moves_itself() -> None:
    assert not compare(shaken(0.02, 4), STILL, OUTPUT).agrees
    metrics = of_output(shaken(0.02, 4))
    assert metrics.agrees
    assert "computed otherwise on the CPU, this output moves by 0.0" in metrics.forgiven


@pytest.mark.parametrize("factor", [1.8, 4.0])
def test_more_than_that_is_an_error(factor: float) -> None:
    assert not of_output(shaken(0.02 * factor, 4)).agrees


def test_a_channel_that_is_a_tenth_off_is_an_error() -> None:
    candidate = shaken(0.02, 4)
    assert of_output(candidate).agrees
    candidate[1] += 0.1 * STILL[1]
    assert not of_output(candidate).agrees


def test_one_element_far_off_is_an_error() -> None:
    candidate = shaken(0.02, 4)
    candidate[0, 0, 0] += 0.5
    assert not of_output(candidate).agrees


def test_moves_have_an_end() -> None:
    """Where the CPU contradicts itself altogether it is no rounding."""
    large = MOST_MOVED * np.abs(STILL).max()
    assert not of_output(shaken(large, 4), moves=large).agrees


def test_inf_is_never_forgiven() -> None:
    candidate = shaken(0.02, 4)
    candidate[0, 0, 0] = np.inf
    assert not of_output(candidate).agrees


def test_an_output_that_does_not_move_has_its_plain_tolerance() -> None:
    own = own_moves(STILL, [STILL, STILL])
    assert own is not None
    assert (own.scaled, own.sqnr_db) == (0.0, np.inf)
    assert not own.forgiving(compare(shaken(0.001, 4), STILL, OUTPUT), OUTPUT).agrees


def test_of_an_output_whose_shape_changes_nothing_is_measured() -> None:
    """As where one detection more or less is found: that is no 'moves by 0'."""
    assert own_moves(STILL, [STILL, STILL[:1]]) is None


def test_moved_inputs_are_the_same_to_int8() -> None:
    values = np.array([0.0, 1.0, -3.0, 100.0], np.float32)
    off = moved(values, 0)
    assert off.dtype == np.float32
    assert np.abs(off - values) == pytest.approx(MOVED_BY * np.abs(values))
    assert not np.array_equal(off, moved(values, 1))
