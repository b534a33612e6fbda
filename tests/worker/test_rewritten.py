"""Which failures may be of what another model computes otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Trial
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, DeathKind
from pytest_ncnn_parity.worker.judge.rewritten import Rewritten

OFF = compare(np.array([1.5, 1.0]), np.ones(2), Tolerance())


def waits(result: Result, changed: frozenset[int] | None = frozenset({1})) -> bool:
    sample: Any = SimpleNamespace(nets=SimpleNamespace(restructured=lambda _: changed))
    accumulated: Any = None
    case: Any = SimpleNamespace(candidate=1, comparison="other", layer=1)
    return Rewritten(sample, accumulated).waits(case, result)


@pytest.mark.parametrize(("agrees", "may_be"), [(None, True), (False, True), (True, False)])
def test_what_the_other_files_have_right_on_the_cpu_is_the_device_s_fault(
    agrees: bool | None, may_be: bool
) -> None:
    evidence = Evidence(trials={"other_files": Trial("on the CPU in fp32", agrees)})
    assert waits(Result("c", "failed", OFF, evidence=evidence)) is may_be


@pytest.mark.parametrize(("kind", "may_be"), [("shape", True), ("misfit", True), ("crash", False)])
def test_of_what_did_not_run_only_what_does_not_fit(kind: DeathKind, may_be: bool) -> None:
    assert waits(Result("c", "failed", evidence=Evidence(death=Death(kind, "", None)))) is may_be


def test_only_what_is_red_with_another_model_in_floats() -> None:
    assert waits(Result("c", "failed", OFF))
    assert waits(Result("c", "failed", OFF), frozenset())
    assert not waits(Result("c", "failed", OFF), None)
    assert not waits(Result("c", "passed", OFF))
