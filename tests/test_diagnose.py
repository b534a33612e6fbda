"""Why a case failed: one cause each, and the line a summary shows."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from pytest_ncnn_parity.compare import compare
from pytest_ncnn_parity.diagnose import Red, diagnose
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.param import Layer
from pytest_ncnn_parity.plan import Case
from pytest_ncnn_parity.report import failure
from pytest_ncnn_parity.setups import BUILT_IN, Comparison, Setup
from pytest_ncnn_parity.tolerance import Tolerance

SHIPPED = BUILT_IN["shipped"][0]
RANGE = BUILT_IN["fp16-range"][0]
FP32 = BUILT_IN["cpu-vs-vulkan"][0]
BF16 = Comparison("bf16", Setup(), Setup("vulkan", "bf16"))

RIGHT = {"agrees": True, "scaled": 1e-4, "nonfinite": 0}
WRONG = {"agrees": False, "scaled": 0.25, "nonfinite": 0}
UNTRIED = {"agrees": None, "problem": "no such option"}
ON_VULKAN = {"execution": "vulkan fp16"}


def case(name: str, kind: str, comparison: Comparison = SHIPPED) -> Case:
    layer = Layer(7, 9, kind, name, ("x",), ("y",), {}, 0)
    return Case(name, comparison, Tolerance(scaled=0.04), layer)


CONV = case("conv_1", "Convolution")
OUTPUT = Case("output:out0", SHIPPED, Tolerance(scaled=0.04), output="out0")


def failed(candidate: list[float], reference: list[float], **evidence: Any) -> Result:
    """The result of a case whose candidate and reference made these values."""
    metrics = compare(np.array(candidate), np.array(reference), Tolerance(scaled=0.04))
    return Result("any", "failed", asdict(metrics), evidence=evidence)


def died(kind: str, detail: str, step: str = "run conv_1", **evidence: Any) -> Result:
    death = {"kind": kind, "detail": detail, "step": step, "stderr": "one\n\ntwo\n"}
    return Result("any", "failed", evidence={"death": death, **evidence})


def told(of: Case, result: Result, *upstream: Red) -> str:
    """The first line of the failure."""
    return failure.headline(of, diagnose(of, result, upstream))


def evidence(of: Case, result: Result, *upstream: Red) -> str:
    return "\n".join(diagnose(of, result, upstream).evidence)


# -- layers ----------------------------------------------------------------------------------------

SUM = case("sum_249", "Reduction")


def beyond(absmax: float, *readers: str, **more: Any) -> dict[str, Any]:
    return {"unrepresentable": {"blob": "249", "absmax": absmax, "readers": list(readers)}, **more}


def test_storage_overflow_is_told_as_the_gfpgan_report_wants_it() -> None:
    result = failed(
        [math.inf, math.inf], [1803979.25, 2963884.0], **beyond(2963884.0, "rsqrt_1 (UnaryOp)")
    )
    assert told(SUM, result) == (
        "sum_249 (Reduction): inf on vulkan fp16, 2 of 2 elements; "
        "fp32 reference 1803979.25 > 65504 (storage-overflow)"
    )
    assert diagnose(SUM, result).evidence == (
        "249 reaches 2963884 in fp32; fp16 ends at 65504",
        "read in fp16 by: rsqrt_1 (UnaryOp)",
    )


def test_storage_overflow_where_the_layer_itself_is_right_and_its_readers_are_not() -> None:
    result = failed([1e5], [1e5], **beyond(1e5, "a (ReLU)", "b (ReLU)", execution="cpu fp32"))
    assert told(SUM, result) == (
        "sum_249 (Reduction): 100000 > 65504 is finite here (cpu fp32) and inf to its readers "
        "(storage-overflow)"
    )
    assert "read in fp16 by: a (ReLU), b (ReLU)" in evidence(SUM, result)


def test_storage_overflow_foreseen_without_a_device_says_so() -> None:
    of = case("sum_249", "Reduction", RANGE)
    result = failed([math.inf], [1803979.25], **beyond(1803979.25, predicted=True))
    assert told(of, result) == (
        "sum_249 (Reduction): fp32 reference 1803979.25 > 65504: inf in fp16, predicted "
        "(storage-overflow)"
    )


def test_a_negative_overflow_does_not_claim_to_be_above_the_limit() -> None:
    result = failed([-math.inf, 1.0], [-1803979.25, 1.0], **beyond(1803979.25))
    assert "inf on vulkan fp16, 1 of 2 elements" in told(SUM, result)
    assert "1803979.25" in told(SUM, result)
    assert "-1803979.25 > 65504" not in told(SUM, result)


def test_inf_where_inputs_and_outputs_fit_overflowed_inside_the_layer() -> None:
    result = failed([math.inf, 1.0], [2.0, 1.0], without_arithmetic=WRONG)
    assert told(CONV, result) == (
        "conv_1 (Convolution): inf on vulkan fp16, 1 of 2 elements (storage-overflow)"
    )
    assert "a value inside the layer does not" in evidence(CONV, result)


def test_accumulator_overflow_is_right_without_fp16_arithmetic() -> None:
    of = case("average", "Pooling")
    result = failed([math.inf, 300.0], [301.0, 300.0], without_arithmetic=RIGHT)
    assert told(of, result) == (
        "average (Pooling): inf on vulkan fp16, 1 of 2 elements; right without fp16 arithmetic "
        "(accumulator-overflow)"
    )
    assert evidence(of, result).splitlines() == [
        "the true values end at 301 and fit",
        "tried without fp16 arithmetic: right, scaled 0.0001",
    ]


@pytest.mark.parametrize(("candidate", "cause"), [(0.0, "accumulator-overflow"), (0.8, "precision")])
def test_a_finite_collapse_is_an_accumulators_and_a_small_error_is_not(
    candidate: float, cause: str
) -> None:
    """Softmax over 4096 values stays finite in fp16, and is almost wholly wrong."""
    result = failed([candidate, 0.1], [1.0, 0.1], without_arithmetic=RIGHT)
    assert diagnose(CONV, result).cause == cause


def test_underflow_names_the_reader_that_breaks() -> None:
    found = {"count": 12, "reader": "log_1", "reader_type": "UnaryOp", "nonfinite": 3, "scaled": 1}
    result = failed([1.0], [1.0], underflow=found)
    of = case("prob_1", "Softmax")
    assert told(of, result) == (
        "prob_1 (Softmax): 12 values become 0 in fp16, and log_1 (UnaryOp) makes 3 inf or nan of "
        "that (underflow)"
    )
    result = failed([1.0], [1.0], underflow={**found, "nonfinite": 0, "scaled": 0.31})
    assert "log_1 (UnaryOp) makes an error of scaled 0.31 of that (underflow)" in told(of, result)


def test_nan_of_the_device() -> None:
    result = failed([math.nan, 1.0], [2.0, 1.0], without_arithmetic=WRONG)
    assert told(CONV, result) == ("conv_1 (Convolution): nan on vulkan fp16, 1 of 2 elements (nan)")


def test_nan_of_the_reference_accuses_the_model() -> None:
    result = failed([math.nan, 1.0], [math.nan, 1.0], reference_nan=1)
    assert told(CONV, result) == ("conv_1 (Convolution): the fp32 reference itself makes 1 nan (nan)")
    assert "the model or its input is at fault" in evidence(CONV, result)


@pytest.mark.parametrize(("rounding", "verdict"), [(0.06, "explains"), (1e-3, "alone does not explain")])
def test_precision_says_whether_rounding_explains_it(rounding: float, verdict: str) -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=WRONG, rounding=rounding)
    assert told(CONV, result) == (
        "conv_1 (Convolution): off by 0.1 on vulkan fp16 (scaled 0.05), 1 of 2 elements (precision)"
    )
    assert evidence(CONV, result).splitlines() == [
        f"rounding the true output to 16 bits gives scaled {rounding:g}: that {verdict} the error",
        "tried without fp16 arithmetic: wrong, scaled 0.25",
    ]


def test_precision_of_fp16_arithmetic() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=RIGHT)
    assert told(CONV, result).endswith("fp16 arithmetic explains it: right without (precision)")


def test_a_condition_on_the_whole_is_told_where_every_element_is_in_budget() -> None:
    metrics = compare(np.array([1.0, 0.5]), np.ones(2), Tolerance(atol=1, cosine=0.99))
    result = Result("any", "failed", asdict(metrics))
    assert told(CONV, result) == (
        "conv_1 (Convolution): cosine 0.948683 < 0.99 on vulkan fp16 (precision)"
    )


def test_device_where_fp32_alone_is_wrong() -> None:
    of = case("conv_1", "Convolution", FP32)
    assert told(of, failed([1.5, 2.0], [1.0, 2.0])) == (
        "conv_1 (Convolution): off by 0.5 on vulkan fp32 (scaled 0.25), 1 of 2 elements, in fp32 "
        "(device)"
    )


def test_device_where_fp32_is_wrong_as_well() -> None:
    result = failed([1.5, 2.0], [1.0, 2.0], without_arithmetic=WRONG, fp32_on_device=WRONG)
    assert told(CONV, result).endswith("; fp32 on the same device is wrong as well (device)")
    assert "tried in fp32 on the same device: wrong, scaled 0.25" in evidence(CONV, result)


def test_an_attempt_that_could_not_be_made_accuses_nobody() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0], without_arithmetic=UNTRIED, fp32_on_device=UNTRIED)
    assert diagnose(CONV, result).cause == "precision"
    assert "tried without fp16 arithmetic: no such option" in evidence(CONV, result)


def test_an_output_of_another_shape_is_the_devices() -> None:
    result = died("shape", "shape (1, 2), the reference's is (2,)", "compare y")
    assert told(CONV, result) == (
        "conv_1 (Convolution): shape (1, 2), the reference's is (2,), on vulkan fp16 (device)"
    )


def test_unsafe_mask_gives_the_mask_to_write() -> None:
    result = failed([9.0, 1.0], [2.0, 1.0], mask=3, **ON_VULKAN)
    assert told(CONV, result) == (
        "conv_1 (Convolution): off by 7 on vulkan fp16 (scaled 3.5), 1 of 2 elements; 31=3 takes "
        "fp16 storage from a layer that stays on Vulkan (unsafe-mask)"
    )
    assert evidence(CONV, result).endswith("Write 19")
    assert "write 31=19" in evidence(CONV, died("crash", "killed", mask=3, **ON_VULKAN))


@pytest.mark.parametrize(
    ("mask", "execution", "comparison"),
    [
        (18, "vulkan fp16", SHIPPED),
        (1, "vulkan fp16", SHIPPED),
        (2, "cpu fp32", SHIPPED),
        (2, "vulkan bf16", BF16),
    ],
)
def test_a_safe_mask_is_not_accused(mask: int, execution: str, comparison: Comparison) -> None:
    of = case("conv_1", "Convolution", comparison)
    result = failed([9.0, 1.0], [2.0, 1.0], mask=mask, execution=execution)
    assert diagnose(of, result).cause == "precision"


def test_a_shader_that_did_not_compile() -> None:
    result = failed([9.0, 1.0], [2.0, 1.0], shader="compile spir-v module failed")
    assert told(CONV, result).endswith("1 of 2 elements; a shader did not compile (shader)")
    assert evidence(CONV, result) == "stderr: compile spir-v module failed"


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (died("crash", "killed by SIGSEGV"), "killed by SIGSEGV on vulkan fp16 (crash)"),
        (died("timeout", "no answer for 60 s"), "no answer for 60 s on vulkan fp16 (timeout)"),
        (
            died("crash", "killed by SIGSEGV", shader="compile failed"),
            "killed by SIGSEGV on vulkan fp16; a shader did not compile (shader)",
        ),
        (
            died("crash", "killed by SIGSEGV", mask=2, shader="compile failed", **ON_VULKAN),
            "killed by SIGSEGV on vulkan fp16; 31=2 takes fp16 storage from a layer that stays on "
            "Vulkan (unsafe-mask)",
        ),
        (died("refused", "rc -1", "load net on cpu"), "ncnn could not load net on cpu: rc -1 (load)"),
        (died("refused", "rc -100", "run conv_1"), "ncnn could not run conv_1: rc -100 (crash)"),
    ],
)
def test_a_death_is_told_with_its_step_and_its_last_words(result: Result, line: str) -> None:
    assert told(CONV, result) == f"conv_1 (Convolution): {line}"
    shown = evidence(CONV, result)
    assert f"in: {result.evidence['death']['step']}" in shown
    assert "stderr: one\nstderr: two" in shown


# -- outputs -------------------------------------------------------------------------------------

SUM_RED = Red("sum_249", "Reduction", "storage-overflow")
MORE_RED = Red("sum_250", "Reduction", "underflow")


def test_an_output_blames_the_first_red_layer_upstream() -> None:
    result = failed([math.nan, 1.0], [2.0, 1.0])
    assert told(OUTPUT, result, SUM_RED, MORE_RED) == (
        "output out0: nan on vulkan fp16, 1 of 2 elements; sum_249 (Reduction) and 1 more upstream "
        "is red (storage-overflow)"
    )
    assert evidence(OUTPUT, result, SUM_RED, MORE_RED).splitlines() == [
        "red layer: sum_249 (Reduction): storage-overflow",
        "red layer: sum_250 (Reduction): underflow",
    ]


def test_an_output_that_died_blames_the_red_layer_as_well() -> None:
    assert told(OUTPUT, died("crash", "killed by SIGSEGV"), SUM_RED) == (
        "output out0: killed by SIGSEGV on vulkan fp16; sum_249 (Reduction) upstream is red "
        "(storage-overflow)"
    )


def test_a_layer_is_not_excused_by_another() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0])
    assert diagnose(CONV, result, [SUM_RED]) == diagnose(CONV, result)
