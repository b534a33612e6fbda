"""Parameters and weights that fp16 does not keep: which cause they are, and which mask is named."""

import pytest
from failed_cases import RANGE, case, failed

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine.evidence import Constant

FACTOR = Constant("the parameter 2=", -1e9, "arithmetic")
WEIGHT = Constant("its largest weight", 1e5, "storage")


@pytest.mark.parametrize(
    ("constant", "cause", "mask"),
    [
        (FACTOR, "accumulator-overflow", "31=1 "),
        (WEIGHT, "storage-overflow", "31=18"),
        (Constant("the parameter 2=", 1e-9, "arithmetic"), "underflow", "31=1 "),
        (Constant("its largest weight", 1e-9, "storage"), "underflow", "31=18"),
        (Constant("the places of its outputs", 2999.0, "arithmetic", coarse=True), "precision", "31=1 "),
    ],
)
def test_where_it_is_lost_decides_which_mask_fixes_it(constant: Constant, cause: str, mask: str) -> None:
    result = failed([1.0, 2.0], [float("nan"), 2.0], predicted=True, constant=constant)
    diagnosis = diagnose(case("hide", "BinaryOp", RANGE), result)
    assert diagnosis.cause == cause
    assert any(mask in line for line in diagnosis.evidence)


def test_the_value_is_named() -> None:
    result = failed([1.0, 2.0], [float("nan"), 2.0], predicted=True, constant=FACTOR)
    diagnosis = diagnose(case("hide", "BinaryOp", RANGE), result)
    assert diagnosis.what.startswith("the parameter 2=-1000000000 > 65504: inf in fp16")
