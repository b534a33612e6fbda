"""What the layers in front of an output say of it: red ones, and those that only have an unsafe mask."""

from __future__ import annotations

import math

import pytest
from failed_cases import OUTPUT, RIGHT, WRONG, case, failed

from pytest_ncnn_parity.compare.comparisons import BUILT_IN
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.diagnosis import Failure
from pytest_ncnn_parity.diagnose.downstream import Red
from pytest_ncnn_parity.engine.evidence import Infinite
from pytest_ncnn_parity.plan.cases import Case

OF_VULKAN = Case("output:out0", BUILT_IN["fp16-vs-fp32"][0], OUTPUT.tolerance, output="out0")
MASK = Red("mask", "MemoryData", "storage-overflow")
SOFTMAX = Red("prob", "Softmax", "nan")
NAN, INF = {"reference_nan": 1}, {"reference_inf": Infinite(1)}


@pytest.mark.parametrize(
    ("made", "reference", "red", "cause"),
    [
        (math.nan, NAN, [MASK], "nan"),
        (math.inf, INF, [MASK], "inf"),
        (math.nan, NAN, [MASK, SOFTMAX], "storage-overflow"),
        (1.5, NAN, [MASK], "storage-overflow"),
    ],
    ids=["nan", "inf", "a layer that makes nan", "wrong elsewhere"],
)
def test_a_layer_that_fp16_breaks_does_not_explain_nan_of_the_reference(
    made: float, reference: dict[str, object], red: list[Red], cause: str
) -> None:
    first = made if not math.isfinite(made) else math.nan
    result = failed([first, made], [first, made if not math.isfinite(made) else 1.0], **reference)
    assert str(OF_VULKAN.comparison.reference) == "vulkan fp32"
    assert diagnose(OF_VULKAN, result, red).cause == cause


@pytest.mark.parametrize(
    ("off", "repeated", "cause"),
    [(90.0, RIGHT, "unsafe-mask"), (1.3, WRONG, "unsafe-mask"), (1.3, RIGHT, "precision")],
    ids=["far off", "another result each time", "rounded"],
)
def test_an_output_is_wrong_for_an_unsafe_mask_of_a_layer_that_is_right_alone(
    off: float, repeated: object, cause: str
) -> None:
    result = failed([off, 2.0], [1.0, 2.0], fp32_on_device=RIGHT, repeated=repeated)
    assert diagnose(OUTPUT, result).cause != "unsafe-mask"
    why = diagnose(OUTPUT, result, unsafe=["31=2 on k (MemoryData)"])
    assert why.cause == cause
    assert ("31=2 on k (MemoryData) upstream" in why.what) is (cause == "unsafe-mask")


@pytest.mark.parametrize(("mask", "unsafe"), [(2, True), (18, False), (0, False)])
def test_a_mask_of_a_layer_that_passed_is_unsafe_as_well(mask: int, unsafe: bool) -> None:
    passed = failed([1.0], [1.0], mask=mask, execution="vulkan fp16")
    assert (Failure(case("k", "MemoryData"), passed).unsafe_mask is not None) is unsafe
