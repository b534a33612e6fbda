"""Weights in blocks against those in floats: what a method of rounding leaves, and what a fault does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import weight_blocks
from weight_blocks import FAULTS, METHODS, SIZES

from pytest_ncnn_parity.network.int8_tensors import Blocks
from pytest_ncnn_parity.worker.weights import block_weights
from pytest_ncnn_parity.worker.weights.block_weights import BlockWeights

ROWS, COLUMNS = 48, 140  # the last block of each row has 12 columns


def _floats(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights with a few large ones, and correlated inputs of which a few are large."""
    rng = np.random.RandomState(seed)
    weights = rng.standard_t(4, (ROWS, COLUMNS)) * 0.05
    inputs = rng.normal(size=(200, 20)) @ rng.normal(size=(20, COLUMNS))
    inputs += 0.3 * rng.normal(size=inputs.shape)
    inputs[:, :4] *= 10.0
    return weights, inputs


def _weights(made: weight_blocks.Blocks, size: int) -> BlockWeights:
    rows, columns = made.integers.shape
    blocks = Blocks(made.bits, size, True)
    packed = np.frombuffer(made.packed(), np.int8, rows * blocks.packed(columns)).reshape(rows, -1)
    return BlockWeights(packed, columns, made.scales, made.inputs, blocks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("method", list(METHODS))
def test_what_a_method_leaves_is_no_fault(method: str, bits: int, size: int) -> None:
    for seed in range(3):
        weights, inputs = _floats(seed)
        steps = _weights(METHODS[method](weights, inputs, bits, size), size).against(weights)
        assert steps.outputs == ()
        assert (steps.total, steps.gain) == (COLUMNS, 1.0)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_row_that_does_not_follow_is_found(
    fault: Callable[[weight_blocks.Blocks], None], method: str, bits: int, size: int
) -> None:
    weights, inputs = _floats(1)
    made = METHODS[method](weights, inputs, bits, size)
    fault(made)
    steps = _weights(made, size).against(weights)
    assert steps.outputs in ((5,), (5, 6))
    assert (steps.lines, steps.total) == ("rows", ROWS)
    assert steps.gain == pytest.approx(FAULTS[fault], abs=0.35)


def test_pieces_of_a_matrix_give_what_it_gives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, inputs = _floats(1)
    made = METHODS["awq"](weights, inputs, 4, 64)
    made.integers[[3, 40]] = 0
    whole = _weights(made, 64).against(weights)
    monkeypatch.setattr(block_weights, "PIECE", 7 * COLUMNS)
    assert _weights(made, 64).against(weights) == whole
    assert whole.outputs == (3, 40)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_a_column_that_does_not_follow_is_found(factor: float) -> None:
    weights, inputs = _floats(2)
    made = METHODS["awq"](weights, inputs, 4, 32)
    made.inputs[[50, 60]] *= factor
    steps = _weights(made, 32).against(weights)
    assert (steps.outputs, steps.lines, steps.total) == ((50, 60), "columns", COLUMNS)
    assert steps.gain == pytest.approx(factor, abs=0.15)


def test_rows_of_next_to_nothing_are_left_alone() -> None:
    """Beside the largest weight of its column's inputs, such a row is all rounding."""
    weights, inputs = _floats(3)
    weights[:, 9] *= 1e-4
    weights[4] = 0.0
    made = METHODS["minmax"](weights, inputs, 4, 64)
    assert _weights(made, 64).against(weights).outputs == ()


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_scales_that_are_no_numbers_do_not_end_the_comparison(value: float) -> None:
    weights, inputs = _floats(4)
    made = METHODS["awq"](weights, inputs, 4, 64)
    made.scales[5, 1] = value
    made.inputs[7] = value
    found = _weights(made, 64)
    assert found.against(weights).total in (ROWS, COLUMNS)
    assert found.rounding.shape == (ROWS,)
