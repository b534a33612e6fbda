"""Whether masks help: an output must be better than chance makes it."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import plans
import pytest

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.repair.outputs import (
    OutputError,
    changes,
    helps,
    output_errors,
    still_wrong,
    worst,
)

pytestmark = pytest.mark.once

RED, DEAD = OutputError(1.0, 12.0, True), OutputError(inf, inf, True)


def right(used: float, scaled: float = 0.01) -> OutputError:
    return OutputError(scaled, used, False)


@pytest.mark.parametrize("before", [RED, DEAD, OutputError(1.0, 1.0, True)])
def test_an_output_that_was_red_and_is_right_is_better(before: OutputError) -> None:
    assert helps({"out": before}, {"out": right(0.9, scaled=1.0)})


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        (0.9, 0.1, True),
        (0.5, 0.25, True),
        (0.5, 0.3, False),  # roundings fall otherwise under any mask
        (0.3, 0.25, False),
        (0.05, 0.0, False),  # it was as good as exact
        (0.1, 0.8, False),
        (1.0, 1.0, False),
    ],
)
def test_one_that_was_right_is_better_where_it_clearly_shows(
    before: float, after: float, better: bool
) -> None:
    assert helps({"out": right(before)}, {"out": right(after)}) is better


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        (30.0, 37.0, True),  # one element of 530,000 stays, and all others are right
        (30.0, 33.0, False),
        (45.0, 60.0, False),  # that was rounding
        (37.0, 30.0, False),
    ],
)
def test_one_whose_error_halves_as_a_whole_is_better_whatever_its_largest_error_does(
    before: float, after: float, better: bool
) -> None:
    outputs = [
        {"out": OutputError(0.07, used, False, db)} for used, db in ((0.88, before), (0.95, after))
    ]
    assert helps(*outputs) is better


@pytest.mark.parametrize(
    ("after", "better"),
    [
        (OutputError(0.9, 1.0, False, 12.0, forgiven=True), False),
        (OutputError(0.45, 1.0, False, 12.0, forgiven=True), True),  # its largest error is halved
        (OutputError(0.9, 1.0, False, 17.0, forgiven=True), True),  # or that of most elements
        (OutputError(0.9, 1.0, False, 12.0), True),  # right by its tolerance
    ],
)
def test_one_whose_error_is_forgiven_must_be_better_than_it_was(
    after: OutputError, better: bool
) -> None:
    before = {"out": OutputError(1.0, 12.0, True, 10.0)}
    assert helps(before, {"out": after}) is better
    assert len(list(still_wrong(before, {"out": after}))) == after.forgiven


def test_one_that_is_smaller_than_the_error_allowed_shows_nothing() -> None:
    silent = OutputError(1.0, 1e-6, False, silent=True)
    assert helps({"out": silent}, {"out": silent})
    assert not helps({"out": silent, "a": right(0.2)}, {"out": silent, "a": right(0.2)})
    assert silent.joined(silent).silent
    assert not silent.joined(right(0.2)).silent


def test_behind_int8_layers_what_is_forgiven_is_the_rule(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    case = next(one for one in plan.cases(plan.spec.comparisons[0]) if one.output == "out0")
    moved = compare(np.array([1.5, 1.0]), np.ones(2), Tolerance()).forgiven_by("it moves as far")
    for behind in (False, True):
        result = Result(case.id, "passed", moved, evidence=Evidence(behind_int8=behind))
        assert output_errors([(case, result)])["out0"].forgiven is not behind


def test_one_better_output_is_enough() -> None:
    same = {"a": right(0.2), "b": right(0.2)}
    assert not helps(same, same)
    assert helps({**same, "b": RED}, same)


def test_where_nothing_is_known_of_before_masks_may_help() -> None:
    """A range is predicted, and has no outputs; or each output is known to fail."""
    assert helps({}, {"out": right(0.2)})
    assert helps({}, {})


def test_what_is_said_of_them() -> None:
    before, after = {"a": RED, "b": right(0.2, 0.004)}, {"a": right(0.1, 0.001), "b": right(0.2, 0.005)}
    assert changes(before, after) == "a 0.001, before 1; b 0.005, before 0.004"
    assert (worst(before), worst(after), worst({})) == (1.0, 0.005, None)
    silent = OutputError(1.0, 0.01, False, silent=True)
    assert (worst({**after, "silent": silent}), worst({"silent": silent})) == (0.005, 1.0)
