"""What a failed trial of masks is said to have done."""

from __future__ import annotations

import numpy as np
import pytest
from failed_cases import failed

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.wording import symptom
from pytest_ncnn_parity.engine.evidence import Distrust, Evidence, Unrepresentable
from pytest_ncnn_parity.engine.protocol import Result


@pytest.mark.parametrize(
    ("tolerance", "said"),
    [
        (Tolerance(scaled=0.5, cosine=0.9999999), "is off: cosine 0.9998151 < 0.9999999"),
        (Tolerance(scaled=0.5, sqnr_db=60.0), "is off: sqnr_db 27"),
        (Tolerance(scaled=0.01), "is off by scaled 0.0476"),
    ],
)
def test_the_metric_that_failed_is_named(tolerance: Tolerance, said: str) -> None:
    metrics = compare(np.array([1.0, 2.0]), np.array([1.0, 2.1]), tolerance)
    assert symptom(Result("any", "failed", metrics)).startswith(said)


def test_a_value_just_below_its_limit_is_not_shown_as_the_limit() -> None:
    reference = np.ones(2)
    candidate = reference * (1.0 + 10.0 ** (-29.9999 / 20.0))
    (failed,) = compare(candidate, reference, Tolerance(atol=1.0, sqnr_db=30.0)).failed
    assert failed == "sqnr_db 29.9999 < 30"


def test_what_is_wrong_with_right_values_is_said() -> None:
    beyond = failed([1e5], [1e5], unrepresentable=Unrepresentable("b", 1e5, False, ()))
    assert symptom(beyond) == "has values that 16 bits cannot hold"
    doubted = failed([1.0], [1.0], distrust=Distrust("pow", "BinaryOp", "uneven"))
    assert symptom(doubted) == "depends on a kernel of the CPU that is not believed"
    assert symptom(Result("any", "failed", evidence=Evidence())) == "could not be run: it died before"
