"""What a trial of masks concludes from the results of its cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from plans import loaded

from pytest_ncnn_parity.compare.comparisons import BUILT_IN
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.trials import SearchBudget, Trials


class Run:
    """Gives each case of a trial the same result."""

    def __init__(self, plan: Plan, **result: Any) -> None:
        self.plan = plan
        self._result = partial(Result, **result)

    @contextmanager
    def working_on(self, _: str) -> Iterator[None]:
        yield

    def trial(self, _: str, cases: Sequence[Case], __: Sequence[int]) -> list[Result]:
        return [self._result(case.id) for case in cases]


LASTING = Evidence(lasting=True)
NO_WORKER = Evidence(no_worker=True)
NO_VULKAN = Evidence(no_vulkan=True)


@pytest.mark.parametrize(
    ("outcome", "evidence", "last"),
    [
        ("passed", Evidence(), ""),
        ("skipped", LASTING, ""),  # it runs as the reference does, so that nothing is left to go wrong
        ("failed", Evidence(), "sample noise: in0 "),
        ("skipped", NO_WORKER, "sample noise: in0 cannot be run: the reason"),
        ("skipped", NO_VULKAN, "sample noise: in0 cannot be run: the reason"),
    ],
    ids=["passed", "alike", "failed", "no worker", "no device"],
)
def test_masks_hold_only_if_the_network_could_be_run(
    outcome: str, evidence: Evidence, last: str, tmp_path: Path
) -> None:
    plan = loaded(tmp_path)
    cases = {"noise": plan.cases(BUILT_IN["fp16-vs-fp32-vulkan"][0])}
    run = Run(plan, outcome=outcome, evidence=evidence, reason="the reason")
    trials = Trials(cast(Any, run), cases, SearchBudget(5, 60.0))
    assert trials.holds({2: 18}) is not bool(last)
    assert trials.last.startswith(last) if last else trials.last == ""


@pytest.mark.parametrize(
    ("used", "mismatched", "most", "holds"),
    [
        (0.2, 0, 0.25, True),
        (0.3, 0, 0.25, False),
        (0.3, 0, math.inf, True),
        (0.1, 4, 0.25, False),  # forgiven
        (0.1, 4, math.inf, True),
    ],
)
def test_an_output_must_leave_room_where_only_that_much_is_enough(
    used: float, mismatched: int, most: float, holds: bool, tmp_path: Path
) -> None:
    plan = loaded(tmp_path)
    output = [case for case in plan.cases(BUILT_IN["fp16-vs-fp32-vulkan"][0]) if case.output]
    metrics = replace(compare(np.ones(9), np.ones(9), Tolerance()), used=used, mismatched=mismatched)
    run = Run(plan, outcome="passed", metrics=metrics)
    trials = Trials(cast(Any, run), {"noise": output}, SearchBudget(5, 60.0), most=most)
    assert trials.holds({2: 18}) is holds
    assert trials.lacked_room is not holds
