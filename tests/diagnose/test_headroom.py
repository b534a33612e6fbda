"""Values that fp16 holds, with less room than is asked for."""

from dataclasses import replace

import pytest
from failed_cases import RANGE, case, failed

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Diagnosis
from pytest_ncnn_parity.engine.evidence import Evidence, Inside, Unrepresentable

NEAR = Unrepresentable("y", 40000.0, True, ("relu (ReLU)",))
INSIDE = Inside("winograd F(4,3)", 64, 30000.0, "the transform of its inputs", 50000.0, "a sum")


def said(headroom: float, **evidence: object) -> Diagnosis:
    of = case("conv_1", "Convolution", RANGE)
    of = replace(of, tolerance=replace(of.tolerance, headroom=headroom))
    result = replace(failed([1.0, 2.0], [1.0, 2.0]), evidence=Evidence(predicted=True, **evidence))  # type: ignore[arg-type]
    return diagnose(of, result)


def test_a_value_near_the_end_is_named_with_its_readers() -> None:
    diagnosis = said(2.0, near=NEAR)
    assert (diagnosis.cause, diagnosis.what) == (
        "headroom",
        "40000 leaves a headroom of 1.64 below 65504; the spec asks for a headroom of 2",
    )
    assert diagnosis.evidence == ("y reaches 40000 in fp32", "read in fp16 by: relu (ReLU)")


def test_so_is_one_inside_with_its_mask() -> None:
    diagnosis = said(2.0, inside=INSIDE)
    assert diagnosis.cause == "headroom"
    (line,) = diagnosis.evidence
    assert line.startswith("winograd F(4,3): a sum may reach 50000")
    assert "31=64" in line


@pytest.mark.parametrize("size", [70000.0, 50000.0])
def test_the_larger_of_both_is_reported_first(size: float) -> None:
    diagnosis = said(2.0, near=NEAR, inside=replace(INSIDE, bound=size))
    assert f"{size:.6g}" in diagnosis.what
    assert len(diagnosis.evidence) == 3


def test_an_overflow_comes_before_it() -> None:
    assert said(2.0, near=NEAR, inside=replace(INSIDE, stored=7e4)).cause == "winograd-overflow"
    assert said(2.0, unrepresentable=replace(NEAR, absmax=7e4)).cause == "storage-overflow"


@pytest.mark.parametrize(("headroom", "reaches"), [(1.0, False), (1.3, False), (1.32, True)])
def test_what_is_inside_counts_where_headroom_is_asked_for(headroom: float, reaches: bool) -> None:
    assert INSIDE.reaches(65504 / headroom) is reaches
    assert replace(INSIDE, stored=7e4).reaches(65504 / headroom)
