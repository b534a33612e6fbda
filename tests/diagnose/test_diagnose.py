"""Why a case failed on account of 16 bits: one cause each, and the line a summary shows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from failed_cases import (
    BF16,
    CONV,
    OUTPUT,
    RANGE,
    RIGHT,
    UNTRIED,
    WRONG,
    case,
    evidence,
    failed,
    headline,
)

from pytest_ncnn_parity.compare import comparisons
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine.evidence import Distrust, Evidence, Integers, Underflow, Unrepresentable
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case, Recorded

SUM = case("sum_249", "Reduction")
GOLDEN = comparisons.Golden("golden", comparisons.CPU_FP32)


def beyond(absmax: float, *readers: str, **more: Any) -> dict[str, Any]:
    return {"unrepresentable": Unrepresentable("249", absmax, False, readers), **more}


def test_storage_overflow_is_reported_as_the_gfpgan_report_wants_it() -> None:
    result = failed(
        [math.inf, math.inf], [1803979.25, 2963884.0], **beyond(2963884.0, "rsqrt_1 (UnaryOp)")
    )
    assert headline(SUM, result) == (
        "sum_249 (Reduction): inf on vulkan fp16, 2 of 2 elements; "
        "fp32 reference 2963884 > 65504 (storage-overflow)"
    ), "one number in both places: the largest"
    assert diagnose(SUM, result).evidence == (
        "249 reaches 2963884 in fp32; fp16 ends at 65504",
        "read in fp16 by: rsqrt_1 (UnaryOp)",
    )


def test_storage_overflow_where_the_layer_itself_is_right_and_its_readers_are_not() -> None:
    result = failed([1e5], [1e5], **beyond(1e5, "a (ReLU)", "b (ReLU)", execution="cpu fp32"))
    assert headline(SUM, result) == (
        "sum_249 (Reduction): 100000 > 65504 is finite here (cpu fp32) and inf to its readers "
        "(storage-overflow)"
    )
    assert "read in fp16 by: a (ReLU), b (ReLU)" in evidence(SUM, result)


def test_values_among_the_least_of_fp16_are_no_overflow_however_wrong() -> None:
    trials = {"fp32_on_device": RIGHT, "without_arithmetic": RIGHT}
    assert headline(CONV, failed([-2.4e-7, 6e-7], [1.5e-7, 6.2e-7], **trials)) == (
        "conv_1 (Convolution): off by 3.9e-07 on vulkan fp16 (scaled 0.629), 1 of 2 elements; "
        "its values reach 6.2e-07 only, where fp16 has steps of 6e-8 (underflow)"
    )
    larger = failed([-2.4e-3, 6e-3], [1.5e-3, 6.2e-3], **trials)
    assert diagnose(CONV, larger).cause == "accumulator-overflow"
    wild = failed([-240.0, 6e-7], [1.5e-7, 6.2e-7], **trials)
    assert diagnose(CONV, wild).cause == "accumulator-overflow"


def test_storage_overflow_foreseen_without_a_device_says_so() -> None:
    of = case("sum_249", "Reduction", RANGE)
    result = failed([math.inf], [1803979.25], **beyond(1803979.25, predicted=True))
    assert headline(of, result) == (
        "sum_249 (Reduction): fp32 reference 1803979.25 > 65504: inf in fp16, predicted "
        "(storage-overflow)"
    )


def words(
    candidate: list[float], reference: list[float], held: Integers, of: Case
) -> tuple[str, tuple[str, ...]]:
    result = failed(candidate, reference, integers=held)
    diagnosis = diagnose(of, result)
    assert diagnosis.cause == "precision"
    return diagnosis.what, diagnosis.evidence


def test_integers_that_16_bits_do_not_keep_are_reported_with_all_their_digits() -> None:
    held = Integers("bits", "tok (Embed)")
    what, lines = words([0.0, 3.0], [1234567.0, 3.0], held, case("fork", "Split"))
    assert "1234567 becomes 0" in what
    assert "Split" in what
    assert "tok (Embed)" in " ".join(lines)
    assert "31=16" in " ".join(lines)
    _, lines = words([0.0], [7.0], Integers("bits"), case("fork", "Split"))
    assert "Embed" not in " ".join(lines)


@pytest.mark.parametrize(("comparison", "last"), [(RANGE, "2048"), (BF16, "256")])
def test_whole_floats_are_reported_up_to_where_the_format_holds_them(
    comparison: comparisons.Comparison, last: str
) -> None:
    of = case("fork", "Split", comparison)
    _, lines = words([3000.0], [2999.0], Integers("floats"), of)
    assert last in lines[0]


def test_integers_that_fp32_on_the_device_loses_as_well_are_the_devices_fault() -> None:
    result = failed([0.0], [7.0], integers=Integers("bits"), fp32_on_device=WRONG)
    assert diagnose(case("fork", "Split"), result).cause == "device"


def test_a_negative_overflow_does_not_claim_to_be_above_the_limit() -> None:
    result = failed([-math.inf, 1.0], [-1803979.25, 1.0], **beyond(1803979.25))
    assert "inf on vulkan fp16, 1 of 2 elements" in headline(SUM, result)
    assert "1803979.25" in headline(SUM, result)
    assert "-1803979.25 > 65504" not in headline(SUM, result)


def test_storage_overflow_names_the_largest_value_where_the_worst_one_fits() -> None:
    result = failed([math.nan, math.inf], [2.0, 7e4], **beyond(7e4))
    assert headline(SUM, result) == (
        "sum_249 (Reduction): nan on vulkan fp16, 1 of 2 elements; fp32 reference 70000 > 65504 "
        "(storage-overflow)"
    )


def test_inf_where_inputs_and_outputs_fit_overflowed_inside_the_layer() -> None:
    result = failed([math.inf, 1.0], [2.0, 1.0], without_arithmetic=WRONG)
    assert headline(CONV, result) == (
        "conv_1 (Convolution): inf on vulkan fp16, 1 of 2 elements (storage-overflow)"
    )
    assert "a value inside the layer does not" in evidence(CONV, result)


def test_accumulator_overflow_is_right_without_fp16_arithmetic() -> None:
    of = case("average", "Pooling")
    result = failed([math.inf, 300.0], [301.0, 300.0], without_arithmetic=RIGHT)
    assert headline(of, result) == (
        "average (Pooling): inf on vulkan fp16, 1 of 2 elements; right without fp16 arithmetic "
        "(accumulator-overflow)"
    )
    assert evidence(of, result).splitlines() == [
        "the true values reach 301 and fit",
        "tried without fp16 arithmetic: right, scaled 0.0001",
    ]


@pytest.mark.parametrize(("candidate", "cause"), [(0.0, "accumulator-overflow"), (0.8, "precision")])
def test_a_finite_collapse_is_an_accumulators_and_a_small_error_is_not(
    candidate: float, cause: str
) -> None:
    """Softmax over 4096 values stays finite in fp16, and is almost wholly wrong."""
    result = failed([candidate, 0.1], [1.0, 0.1], without_arithmetic=RIGHT)
    assert diagnose(CONV, result).cause == cause


@pytest.mark.parametrize("operator", ["BinaryOp", "UnaryOp", "ELU", "Interp"])
def test_a_finite_collapse_of_what_adds_up_nothing_is_no_accumulators(operator: str) -> None:
    """An angle of two values of 1e-5, or a sinh of one, is finite in fp16, and wholly wrong."""
    result = failed([0.0, 0.1], [1.0, 0.1], without_arithmetic=RIGHT)
    assert diagnose(case("it", operator), result).cause == "precision"


@pytest.mark.parametrize(
    ("candidate", "unjudged", "cause"),
    [
        (0.0, "", "precision"),  # in front of it, all sums are right
        (0.0, "2 of 9 layers in front of it were not judged", "accumulator-overflow"),
        (math.inf, "", "accumulator-overflow"),
    ],
)
def test_a_finite_collapse_of_an_output_alone_is_no_accumulators(
    candidate: float, unjudged: str, cause: str
) -> None:
    """A Softmax that is nearly one-hot turns a rounding of two scores into another choice."""
    result = failed([candidate, 0.1], [1.0, 0.1], without_arithmetic=RIGHT)
    assert diagnose(OUTPUT, result, unjudged=unjudged).cause == cause


def test_underflow_names_the_reader_that_breaks() -> None:
    missed = Underflow("b", "prob_1", 12, "log_1", "UnaryOp", 7, scaled=1.0, nonfinite=3)
    result = failed([1.0], [1.0], underflow=missed)
    of = case("prob_1", "Softmax")
    assert headline(of, result) == (
        "prob_1 (Softmax): 12 values become 0 in fp16, and log_1 (UnaryOp) makes 3 inf or nan of "
        "that (underflow)"
    )
    result = failed([1.0], [1.0], underflow=replace(missed, nonfinite=0, scaled=0.31))
    assert "log_1 (UnaryOp) makes an error of scaled 0.31 of that (underflow)" in headline(of, result)


def test_nan_of_the_device() -> None:
    result = failed([math.nan, 1.0], [2.0, 1.0], without_arithmetic=WRONG)
    assert headline(CONV, result) == ("conv_1 (Convolution): nan on vulkan fp16, 1 of 2 elements (nan)")


def test_nan_of_the_reference_accuses_the_model() -> None:
    result = failed([math.nan, 1.0], [math.nan, 1.0], reference_nan=1)
    assert headline(CONV, result) == ("conv_1 (Convolution): the fp32 reference itself has 1 nan (nan)")
    assert "the model or its input is at fault" in evidence(CONV, result)


def test_nan_of_a_reference_in_another_setup_accuses_that_setup() -> None:
    setup = comparisons.Setup("vulkan", "fp16")
    older = comparisons.Pair("upgrade", replace(setup, worker="old"), setup)
    result = failed([1.0, 1.0], [math.nan, 1.0], reference_nan=1, fp32_on_device=WRONG)
    of = replace(CONV, comparison=older)
    assert headline(of, result) == (
        "conv_1 (Convolution): the reference itself has 1 nan on vulkan fp16 at old (nan)"
    )
    assert "the candidate is not to blame" in evidence(of, result)


@pytest.mark.parametrize(("rounding", "verdict"), [(0.06, "explains"), (1e-3, "alone does not explain")])
def test_precision_says_whether_rounding_explains_it(rounding: float, verdict: str) -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=WRONG, rounding=rounding)
    assert headline(CONV, result) == (
        "conv_1 (Convolution): off by 0.1 on vulkan fp16 (scaled 0.05), 1 of 2 elements (precision)"
    )
    assert evidence(CONV, result).splitlines() == [
        f"rounding the true output to 16 bits gives scaled {rounding:g}: that {verdict} the error",
        "tried without fp16 arithmetic: wrong, scaled 0.25",
    ]


def test_precision_of_fp16_arithmetic() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=RIGHT)
    assert headline(CONV, result).endswith("fp16 arithmetic explains it: right without (precision)")


def test_a_condition_on_the_whole_is_reported_where_every_element_is_within_tolerance() -> None:
    metrics = compare(np.array([1.0, 0.5]), np.ones(2), Tolerance(atol=1, cosine=0.99))
    result = Result("any", "failed", metrics)
    assert headline(CONV, result) == (
        "conv_1 (Convolution): cosine 0.948683 < 0.99 on vulkan fp16 (precision)"
    )


def test_an_attempt_that_could_not_be_made_accuses_nobody() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=UNTRIED, fp32_on_device=UNTRIED)
    assert diagnose(CONV, result).cause == "precision"
    assert "tried without fp16 arithmetic: no such option" in evidence(CONV, result)


@pytest.mark.parametrize("candidate", [[math.nan, 1.0], [math.inf, 1.0], [0.0, 0.0]])
def test_integers_that_are_cast_to_16_bits_are_reported_whatever_becomes_of_them(
    candidate: list[float],
) -> None:
    of = case("dequantize_1", "Dequantize")
    result = failed(candidate, [2.0, 1.0], fp32_on_device=RIGHT)
    assert "it reads integers of 32 bits" in headline(of, result)
    assert diagnose(of, result).cause == "storage-overflow"
    wrong_anyway = failed(candidate, [2.0, 1.0], fp32_on_device=WRONG)
    assert diagnose(of, wrong_anyway).cause == "device"
    floats = diagnose(CONV, failed([0.0, 0.0], [2.0, 1.0], fp32_on_device=RIGHT))
    assert "integers" not in floats.what


def test_a_recording_of_another_shape_is_reported_though_the_reference_is_not_trusted() -> None:
    """There is nothing to compare, so there are no metrics."""
    recorded = Evidence(
        distrust=Distrust("mha", "MultiHeadAttention"), shape=(2, 5), recorded_shape=(1, 2, 5)
    )
    of = Case(
        "output:out0", GOLDEN, Tolerance(scaled=0.04), output="out0", golden=Recorded("out.npz", "out0")
    )
    why = diagnose(of, Result("any", "failed", evidence=recorded))
    assert why.cause == "reference"
    assert "holds (1, 2, 5), the network gives (2, 5)" in why.what
    plain = diagnose(of, Result("any", "failed", evidence=replace(recorded, distrust=None)))
    assert plain.cause == "conversion"


@pytest.mark.parametrize("files", [None, comparisons.OtherFiles("opt.param", "opt.bin")])
def test_nan_in_a_recording_is_the_recordings_fault_whichever_files_run(
    files: comparisons.OtherFiles | None,
) -> None:
    of = Case(
        "output:out0",
        comparisons.Golden("golden", comparisons.CPU_FP32, comparisons.Setup(model=files)),
        Tolerance(scaled=0.04),
        output="out0",
        golden=Recorded("out.npz", "out0"),
    )
    why = diagnose(of, failed([1.0, 1.0], [math.nan, 1.0], reference_nan=1))
    assert why.cause == "conversion"
    assert why.what == "out.npz[out0] itself holds 1 nan where the network has none"


def golden(fed: bool = False, **recorded: str) -> str:
    """The evidence of a blob that differs from its recording."""
    of = Case("output:x", GOLDEN, Tolerance(), output="x", golden=Recorded("x.npy", fed=fed))
    return evidence(of, failed([1.0, 1.5], [1.0, 1.0], **recorded))


def test_what_other_recordings_prove_right_is_not_suspected() -> None:
    assert "the conversion, the input or its preprocessing differs" in golden()
    assert "the conversion, the input or its preprocessing differs" in golden(unlike_before="a")
    between = golden(alike_before="a")
    assert "a before it is as recorded, so look between them\nthe conversion differs" in between
    assert "preprocessing" not in between


def test_a_picture_that_is_not_as_recorded_is_a_matter_of_its_preprocessing() -> None:
    said = golden(fed=True)
    assert said.startswith("the preprocessing of the picture differs from what was recorded: its size")
    assert "nothing before it" not in said
