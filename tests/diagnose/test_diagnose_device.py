"""Failures that are not a matter of 16 bits: devices, masks, shaders, deaths; and what outputs blame."""

import math
from dataclasses import replace

import pytest
from failed_cases import (
    BF16,
    CONV,
    FP32,
    ON_VULKAN,
    OUTPUT,
    RANGE,
    RIGHT,
    SHIPPED,
    WRONG,
    case,
    died,
    evidence,
    failed,
    headline,
)

from pytest_ncnn_parity.compare.comparisons import BUILT_IN, Comparison, Pair, Setup
from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.diagnose.deaths import refused_layer
from pytest_ncnn_parity.diagnose.downstream import Red
from pytest_ncnn_parity.diagnose.wording import remark
from pytest_ncnn_parity.engine.evidence import Distrust, Evidence, Inside, Integers, Trial
from pytest_ncnn_parity.engine.int8_evidence import OtherScale, WeightSteps
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, DeathKind, Step
from pytest_ncnn_parity.network.versions.kept_by_quantizing import Difference

LOAD = Step("load", "cpu fp32")


def test_device_where_fp32_alone_is_wrong() -> None:
    of = case("conv_1", "Convolution", FP32)
    assert headline(of, failed([1.5, 2.0], [1.0, 2.0])) == (
        "conv_1 (Convolution): off by 0.5 on vulkan fp32 (scaled 0.25), 1 of 2 elements, in fp32 "
        "(device)"
    )


def test_a_reference_in_16_bits_blames_no_candidate_in_fp32() -> None:
    swapped = Pair("swapped", Setup("vulkan", "fp16"), Setup("cpu"))
    of = case("conv_1", "Convolution", swapped)
    said = diagnose(of, failed([1.5, 2.0], [1.0, 2.0]))
    assert said.cause == "reference"
    assert said.what.endswith(
        "the reference stores values in fp16, the candidate does not: are they swapped?"
    )


def test_a_reference_in_16_bits_that_fp32_differs_from_as_well_blames_no_device() -> None:
    across = Pair("across", Setup("vulkan", "fp16"), Setup("vulkan", "bf16"))
    of = case("conv_1", "Convolution", across)
    said = diagnose(of, failed([1.5, 2.0], [1.0, 2.0], fp32_on_device=WRONG))
    assert said.cause == "reference"
    assert said.what.endswith("the reference stores values in fp16, and fp32 differs from it as well")
    assert diagnose(of, failed([1.5, 2.0], [1.0, 2.0], fp32_on_device=RIGHT)).cause == "precision"
    assert diagnose(CONV, failed([1.5, 2.0], [1.0, 2.0], fp32_on_device=WRONG)).cause == "device"
    own = failed([1.5, 2.0], [1.0, 2.0], fp32_on_device=WRONG, without_arithmetic=RIGHT)
    assert diagnose(of, own).cause == "device", "the candidate is right in the reference's arithmetic"


def test_an_error_of_rounding_in_fp32_blames_no_device() -> None:
    of = case("conv_1", "Convolution", FP32)
    close = failed([1.0, 2.0 + 1e-6], [1.0, 2.0], allowed=1e-8)
    assert headline(of, close).endswith("(scaled 5e-07), 1 of 2 elements, in fp32 (precision)")
    assert evidence(of, close).startswith("rounding in fp32 explains it: sums in another order differ")
    assert headline(of, failed([1.0, 2.0 + 4e-6], [1.0, 2.0], allowed=1e-8)).endswith("(device)")
    nowhere = failed([math.nan, 2.0 + 1e-6], [1.0, 2.0], allowed=1e-8)
    assert headline(of, nowhere).endswith("(device)")


def test_device_where_fp32_is_wrong_as_well() -> None:
    result = failed([1.5, 2.0], [1.0, 2.0], without_arithmetic=WRONG, fp32_on_device=WRONG)
    assert headline(CONV, result).endswith("; fp32 on the same device is wrong as well (device)")
    assert "tried in fp32 on the same device: wrong, scaled 0.25" in evidence(CONV, result)


def test_a_wrong_reference_acquits_no_device_that_gives_nan_itself() -> None:
    """As pow(-1, 3), which is 2.4e38 on the CPU among others, nan on Vulkan, and in truth -1."""
    uneven = Distrust("cube", "BinaryOp", "uneven")
    cube = case("cube", "BinaryOp", FP32)
    both = failed([math.nan, 8.0], [2.4e38, 8.0], distrust=uneven)
    assert headline(cube, both).endswith("the CPU's kernel computes some elements wrongly (reference)")
    assert "vulkan fp32 gives 1 nan from the same inputs, so it may be wrong as well" in evidence(
        cube, both
    )
    on_vulkan = case("cube", "BinaryOp", BUILT_IN["fp16-vs-fp32"][0])
    alike = failed([math.nan, 8.0], [math.nan, 8.0], distrust=uneven, reference_nan=1)
    assert "vulkan fp32 gives 1 nan" in evidence(on_vulkan, alike)
    right = failed([-1.0, 8.0], [2.4e38, 8.0], distrust=uneven)
    assert "this is no evidence against a device; no mask can fix it" in evidence(cube, right)
    behind = case("tanh", "TanH", FP32)  # which reads what the CPU gave
    assert "no evidence against a device" in evidence(behind, both)


def test_what_only_copies_rounds_nothing() -> None:
    """As Permute on Vulkan, which in 16 bits takes other elements of a picture of odd sides."""
    values = ([1.5, 2.0], [1.0, 2.0])
    moved = failed(*values, without_arithmetic=WRONG, fp32_on_device=RIGHT, rounding=0.0)
    permute = case("perm", "Permute")
    assert headline(permute, moved) == (
        "perm (Permute): off by 0.5 on vulkan fp16 (scaled 0.25), 1 of 2 elements; its kernel on vulkan "
        "fp16 copies other values than in fp32 (device)"
    )
    assert evidence(permute, moved).startswith("Permute computes nothing, and fp16 holds what it")
    assert headline(CONV, moved).endswith("(precision)")
    coarse = failed(*values, fp32_on_device=RIGHT, rounding=0.2)  # if a tolerance asks for more
    assert headline(permute, coarse).endswith("(precision)")
    unknown = failed(*values, without_arithmetic=WRONG, rounding=0.0)
    assert headline(permute, unknown).endswith("(precision)")


def test_int8_that_the_cpu_computes_right_is_the_devices_fault() -> None:
    values = ([1.5, 2.0], [1.0, 2.0])
    right = failed(*values, other_files=RIGHT, in_int8=True)
    assert headline(CONV, right).endswith("; the CPU is right with the same files (device)")
    assert evidence(CONV, right) == ("tried the other model in fp32 on the CPU: right, scaled 0.0001")
    assert headline(OUTPUT, right).endswith("(device)")
    assert headline(CONV, failed(*values, other_files=WRONG, in_int8=True)).endswith("(quantization)")
    assert headline(CONV, failed(*values, in_int8=True)).endswith("(quantization)")
    steps = WeightSteps("conv_1", 4.0, (0,), 8, 4.0, 0.0)  # wrong in the files, whoever computes
    wrong = failed(*values, other_files=RIGHT, in_int8=True, weights=steps)
    assert headline(CONV, wrong).endswith("its weights are not those in floats (quantization)")
    steps = WeightSteps("conv_1", 0.0, (), 8, 1.0, 0.0, unscaled=(3,), unscaled_largest=0.5)
    wrong = failed(*values, in_int8=True, weights=steps)
    assert headline(CONV, wrong).endswith("its weights are not those in floats (quantization)")
    assert evidence(CONV, wrong).startswith(
        "the scale of weights of 1 of 8 outputs (3) is 0, inf or nan"
    )
    steps = WeightSteps("conv_1", 0.99, (), 8, 1.0, 0.0, rounded="down", against_nearest=312)
    wrong = failed(*values, in_int8=True, weights=steps, other_files=RIGHT)
    said = "its weights are rounded down, not to the nearest (quantization)"
    assert headline(CONV, wrong).endswith(said)
    assert evidence(CONV, wrong).startswith("312 of its weights, or nearly all such, were rounded down ")


@pytest.mark.parametrize(("taken", "words"), [(25.0, "25"), (19.99999, "19.99999")])
def test_int8_that_is_given_by_another_scale_than_it_is_read_by(taken: float, words: str) -> None:
    scale = OtherScale(20.0, "next", taken, of_all=True)
    for trials in ({}, {"other_files": RIGHT}):  # wrong in the files, whoever computes
        result = failed([1.5, 2.0], [1.0, 2.0], in_int8=True, other_scale=scale, **trials)
        said = f"; it gives int8 by 20, next reads it by {words} (quantization)"
        assert headline(CONV, result).endswith(said)
        assert f"{20.0 / taken:.4g} times that of the input of next" in evidence(CONV, result)


def test_what_quantizing_does_not_change_comes_first() -> None:
    scale = OtherScale(20.0, "next", 25.0, of_all=True)
    found = (Difference("activation", "ReLU", "none"), Difference("pad_value (18=)", "0", "1"))
    result = failed(
        [1.5, 2.0], [1.0, 2.0], in_int8=True, other_scale=scale, differences=found, other_files=RIGHT
    )
    assert headline(CONV, result).endswith(
        "; its activation is ReLU in floats and none in int8 and its pad_value (18=) is 0 in floats and "
        "1 in int8 and it gives int8 by 20, next reads it by 25 (quantization)"
    )
    alone = failed([1.5, 2.0], [1.0, 2.0], in_int8=True, differences=found[:1], other_files=RIGHT)
    said = "its activation is ReLU in floats and none in int8 (quantization)"
    assert headline(CONV, alone).endswith(said)


@pytest.mark.parametrize(
    ("kind", "said", "layer"),
    [
        ("files", "layer load_param 2 mean failed", 2),
        ("files", "param is too old\nParamDict load_param 4 conv failed", 4),
        ("files", "invalid bottom_count or top_count for one_blob_only layer 3", 3),
        ("files", "invalid shape hints at layer 1", 1),
        ("files", "invalid feature mask at layer 7", 7),
        ("files", "invalid layer_count or blob_count", None),
        ("crash", "layer load_param 2 mean failed", 2),
        ("timeout", "layer load_param 2 mean failed", None),
    ],
)
def test_the_layer_that_ncnn_refuses_is_read_from_what_it_says(
    kind: DeathKind, said: str, layer: int | None
) -> None:
    assert refused_layer(Death(kind, "load_param: -1", LOAD, said)) == layer
    assert refused_layer(Death(kind, "load_param: -1", Step("layer", "cpu fp32"), said)) is None


def test_what_ncnn_dies_of_as_it_refuses_it_is_a_fault_of_the_file() -> None:
    """Older versions destroy layers that they have not created."""
    said = "param is too old, please regenerate!\nlayer load_param 2 mean failed"
    for stderr, cause in ((said, "load"), ("", "crash")):
        death = Death("crash", "killed by SIGSEGV", LOAD, stderr)
        found = diagnose(CONV, Result("any", "failed", evidence=Evidence(death=death)))
        assert found.cause == cause
    assert refused_layer(Death("crash", "killed by SIGSEGV", LOAD, said)) == 2


def test_a_plain_run_that_could_not_be_made_blames_no_kernel() -> None:
    how = "without packing, winograd and sgemm"
    lost = failed([1.5, 2.0], [1.0, 2.0])
    for trial, blamed in (
        (Trial(how, None, problem="out of memory"), False),
        (Trial(how, False, math.inf, problem="shape (4,)"), True),
    ):
        result = replace(lost, evidence=replace(lost.evidence, trials={"plain_cpu": trial}))
        said = "does not agree with itself on the shape"
        assert (said in headline(CONV, result)) is blamed


def test_a_fault_that_both_sides_share_is_no_empty_symptom() -> None:
    result = failed([math.nan, 2.0], [math.nan, 2.0], fp32_on_device=WRONG)
    assert headline(OUTPUT, result).startswith(
        "output out0: equal to the reference on vulkan fp16; fp32 on the same device is wrong"
    )


@pytest.mark.parametrize(
    ("largest", "how", "cause"),
    [
        (1.5e13, "vulkan, fp16 storage", "device"),
        (1.5e13, "vulkan", "precision"),  # in fp32 storage it is a value like any other
        (3.0, "vulkan, fp16 storage", "precision"),
    ],
)
def test_a_value_that_fp16_does_not_have_was_taken_for_fp32(
    largest: float, how: str, cause: str
) -> None:
    of = case("pack", "Packing")
    values = ([largest, 2.0], [1.0, 2.0])
    wrong = failed(*values, without_arithmetic=WRONG, fp32_on_device=RIGHT, execution=how)
    assert diagnose(of, wrong).cause == cause


def test_a_cast_that_takes_fp16_for_fp32_is_the_devices_fault() -> None:
    of = case("to_half", "Cast")
    values = ([0.0, 9.0], [1.0, 2.0])
    wrong = failed(*values, without_arithmetic=WRONG, fp32_on_device=RIGHT, **ON_VULKAN)
    assert headline(of, wrong).endswith("takes its input for fp32, which is stored in fp16 (device)")
    on_cpu = failed(*values, without_arithmetic=WRONG, fp32_on_device=RIGHT)
    assert headline(of, on_cpu).endswith("(precision)")


def test_a_packed_kernel_is_the_devices_fault() -> None:
    result = failed([1.5, 2.0], [1.0, 2.0], without_arithmetic=WRONG, without_packing=RIGHT)
    assert headline(CONV, result).endswith(
        "; right without packing, so a packed kernel is wrong (device)"
    )
    assert "tried without packing: right" in evidence(CONV, result)


def test_winograd_in_fp16_gives_the_mask_that_fixes_it() -> None:
    result = failed([1.5, 2.0], [1.0, 2.0], without_arithmetic=RIGHT, without_winograd=RIGHT)
    assert headline(CONV, result).endswith("; winograd in fp16 explains it (precision)")
    assert "31=64 on this layer" in evidence(CONV, result)


@pytest.mark.parametrize("candidate", [[float("inf"), 2.0], [float("nan"), 2.0], [9.0, 2.0]], ids=str)
def test_what_overflows_in_winograd_is_named_after_it(candidate: list[float]) -> None:
    result = failed(candidate, [1.0, 2.0], without_arithmetic=RIGHT, without_winograd=RIGHT)
    assert headline(CONV, result).endswith("; right without winograd (winograd-overflow)")
    assert "31=64 on this layer" in evidence(CONV, result)
    neither = failed(candidate, [1.0, 2.0], without_arithmetic=RIGHT, without_winograd=WRONG)
    assert headline(CONV, neither).endswith("; right without fp16 arithmetic (accumulator-overflow)")


def test_of_an_output_no_layer_is_named_that_might_lose_winograd() -> None:
    result = failed([float("nan"), 2.0], [1.0, 2.0], without_winograd=RIGHT, whole=True)
    assert headline(OUTPUT, result).endswith("; right without winograd (winograd-overflow)")
    assert "on this layer" not in evidence(OUTPUT, result)


def test_inf_where_no_value_overflows_comes_of_a_0() -> None:
    candidate = [float("-inf"), 2.0]
    known = failed(candidate, [1.0, 2.0], whole=True, fits_up_to_here=True)
    assert headline(OUTPUT, known).endswith("or its logarithm taken (underflow)")
    unknown = failed(candidate, [1.0, 2.0], whole=True)
    assert headline(OUTPUT, unknown).endswith("(storage-overflow)")


def test_an_overflow_in_winograd_is_predicted() -> None:
    inside = Inside("winograd F(4,3)", 64, 80000.0, "the transform of its inputs", 9e4, "")
    result = failed([1.0, 2.0], [1.0, 2.0], inside=inside, predicted=True)
    of = case("conv_1", "Convolution", RANGE)
    assert headline(of, result).endswith(
        "winograd F(4,3): the transform of its inputs reaches 80000 > 65504: inf in fp16, predicted "
        "(winograd-overflow)"
    )
    within = replace(inside, stored=60000.0)
    passed = replace(result, outcome="passed", evidence=Evidence(inside=within))
    assert "31=64 avoids it" in remark(passed)
    assert remark(replace(passed, evidence=Evidence(inside=replace(within, bound=6e4)))) == ""


@pytest.mark.parametrize(
    ("in_fp32", "cause"), [(WRONG, "winograd-overflow"), (replace(WRONG, nonfinite=1), "device")]
)
def test_an_overflow_in_winograd_beside_a_wrong_fp32(in_fp32: Trial, cause: str) -> None:
    """It explains nan only where fp32, wrong as it is, has none."""
    inside = Inside("winograd F(4,3)", 64, 80000.0, "the transform of its inputs", 9e4, "")
    result = failed([float("nan"), 2.0], [1.0, 2.0], inside=inside, fp32_on_device=in_fp32)
    assert headline(CONV, result).endswith(f"({cause})")
    finite = failed([1.5, 2.0], [1.0, 2.0], inside=inside, fp32_on_device=in_fp32)
    assert headline(CONV, finite).endswith("(device)")


def test_an_output_of_another_shape_is_the_devices() -> None:
    result = died("shape", "shape (1, 2), the reference's is (2,)", Step("compare", name="y"))
    assert headline(CONV, result) == (
        "conv_1 (Convolution): shape (1, 2), the reference's is (2,), on vulkan fp16 (device)"
    )


def test_unsafe_mask_gives_the_mask_to_write() -> None:
    result = failed([9.0, 1.0], [2.0, 1.0], mask=3, **ON_VULKAN)
    assert headline(CONV, result) == (
        "conv_1 (Convolution): off by 7 on vulkan fp16 (scaled 3.5), 1 of 2 elements; 31=3 takes "
        "fp16 storage from a layer that stays on Vulkan (unsafe-mask)"
    )
    assert evidence(CONV, result).endswith("Write 19")
    assert "write 31=19" in evidence(CONV, died("crash", "killed", mask=3, **ON_VULKAN))


def test_a_mask_that_misreads_16_bit_values_on_a_cpu() -> None:
    of = case("conv_1", "Convolution", BUILT_IN["fp16-vs-fp32-cpu"][0])
    result = failed([9.0, 1.0], [2.0, 1.0], mask=2, misread="x", execution="cpu fp32")
    assert headline(of, result) == (
        "conv_1 (Convolution): 31=2 makes it read the 16-bit values of x as fp32 on cpu fp16 "
        "(unsafe-mask)"
    )


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
    assert headline(CONV, result).endswith("1 of 2 elements; a shader did not compile (shader)")
    assert evidence(CONV, result) == "stderr: compile spir-v module failed"


def test_a_shader_of_another_layer_is_not_why_16_bits_do_not_hold_an_integer() -> None:
    fork = case("fork", "Split")
    said = {"shader": "compile spir-v module failed", "integers": Integers("bits")}
    assert diagnose(fork, failed([0.0], [7.0], fp32_on_device=RIGHT, **said)).cause == "precision"
    assert diagnose(fork, failed([0.0], [7.0], fp32_on_device=WRONG, **said)).cause == "shader"


def test_a_device_that_dies_by_itself_is_told_though_the_reference_is_not_trusted() -> None:
    own, other = Distrust("conv_1", "Convolution"), Distrust("sdpa", "SDPA")
    lost = died("crash", "killed by SIGSEGV", Step("layer", "vulkan fp16", 7, "conv_1"))
    for of, distrust, cause in (
        (CONV, own, "crash"),  # what it was fed has nothing of the kernel
        (CONV, other, "reference"),
        (OUTPUT, other, "crash"),
    ):
        result = replace(lost, evidence=replace(lost.evidence, distrust=distrust))
        assert diagnose(of, result).cause == cause
        assert (f"the CPU's kernel of {distrust.layer} is not right" in evidence(of, result)) is (
            cause == "crash"
        )
    here = died("crash", "killed by SIGSEGV", Step("layer", "cpu fp32", 7, "conv_1"), distrust=own)
    assert diagnose(CONV, here).cause == "reference"


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
        (died("refused", "rc -1", LOAD), "ncnn could not load on cpu fp32: rc -1 (load)"),
        (
            died("refused", "rc -100"),
            "ncnn could not run layer 7 conv_1 on vulkan fp16: rc -100 (device)",
        ),
        (
            died("refused", "rc -100", Step("layer", "cpu fp32", 7, "conv_1")),
            "ncnn could not run layer 7 conv_1 on cpu fp32: rc -100 (shape)",
        ),
    ],
)
def test_a_death_is_reported_with_its_step_and_its_last_words(result: Result, line: str) -> None:
    assert headline(CONV, result) == f"conv_1 (Convolution): {line}"
    shown = evidence(CONV, result)
    assert result.evidence.death is not None
    assert f"in: {result.evidence.death.step}" in shown
    assert "stderr: one\nstderr: two" in shown


@pytest.mark.parametrize(
    ("operator", "label", "cause"),
    [("Cast", "vulkan fp32", "device"), ("Cast", "cpu fp32", "crash"), ("ReLU", "vulkan fp32", "crash")],
)
def test_a_cast_that_vulkan_has_no_kernel_for_is_the_devices_fault(
    operator: str, label: str, cause: str
) -> None:
    result = died("crash", "killed by SIGSEGV", Step("layer", label, 7, "it"))
    diagnosis = diagnose(case("it", operator), result)
    assert diagnosis.cause == cause
    assert any("31=16" in line for line in diagnosis.evidence) == (cause == "device")


# -- outputs -------------------------------------------------------------------------------------

SUM_RED = Red("sum_249", "Reduction", "storage-overflow")
MORE_RED = Red("sum_250", "Reduction", "underflow")


def test_what_the_reference_refuses_when_packed_alone_is_its_own_fault() -> None:
    plain = Trial("without packing, winograd and sgemm", True)
    step = Step("layer", "cpu fp32", 7, "conv_1")
    refused = died("refused", "extract y: -100", step, trials={"plain_cpu": plain})
    assert headline(CONV, refused).endswith("(reference)")
    assert "feed the number of dimensions that the network was made for" in evidence(CONV, refused)
    assert not headline(CONV, died("refused", "extract y: -100", step)).endswith("(reference)")


def test_an_output_blames_a_layer_that_was_compared_before_one_whose_link_was_cut() -> None:
    cut = Red("square_7", "UnaryOp", "worker", compared=False)
    wrong = failed([math.nan, 2.0], [1.0, 2.0])
    assert headline(OUTPUT, wrong, cut, SUM_RED).endswith(
        "sum_249 (Reduction) and 1 more upstream are red (storage-overflow)"
    )
    assert headline(OUTPUT, wrong, cut).endswith("square_7 (UnaryOp) upstream is red (worker)")
    lost = died("crash", "killed by SIGSEGV")
    assert headline(OUTPUT, lost, cut, SUM_RED).endswith("1 more upstream are red (worker)")


def test_an_output_blames_the_first_red_layer_upstream() -> None:
    result = failed([math.nan, 1.0], [2.0, 1.0])
    assert headline(OUTPUT, result, SUM_RED, MORE_RED) == (
        "output out0: nan on vulkan fp16, 1 of 2 elements; sum_249 (Reduction) and 1 more upstream "
        "are red (storage-overflow)"
    )
    assert evidence(OUTPUT, result, SUM_RED, MORE_RED).splitlines() == [
        "red layer: sum_249 (Reduction): storage-overflow",
        "red layer: sum_250 (Reduction): underflow",
    ]


def test_an_output_blames_the_reference_only_if_that_explains_it() -> None:
    """A norm of which the CPU is wrong, and behind it a layer of which the device is."""
    norm, conv = Red("norm_1", "InstanceNorm", "reference"), Red("conv_2", "Convolution1D", "device")
    result = failed([1.5, 2.0], [1.0, 2.0])
    assert diagnose(OUTPUT, result, [norm, conv]).cause == "device"
    assert diagnose(OUTPUT, result, [norm]).cause == "reference"
    explained = failed([1.5, 2.0], [1.0, 2.0], distrust=Distrust("norm_1", "InstanceNorm", "sums"))
    assert diagnose(OUTPUT, explained, [norm, conv]).cause == "reference"


def test_an_output_that_died_blames_the_red_layer_as_well() -> None:
    assert headline(OUTPUT, died("crash", "killed by SIGSEGV"), SUM_RED) == (
        "output out0: killed by SIGSEGV on vulkan fp16; sum_249 (Reduction) upstream is red "
        "(storage-overflow)"
    )


def test_a_layer_is_not_excused_by_another() -> None:
    result = failed([1.1, 2.0], [1.0, 2.0])
    assert diagnose(CONV, result, [SUM_RED]) == diagnose(CONV, result)


@pytest.mark.parametrize(
    ("off", "noise", "cause"),
    [(0.4, 0.5, "reference"), (400.0, 0.5, "precision"), (400.0, None, "reference")],
)
def test_rounding_to_16_bits_is_coarser_than_the_reference_is_unlike_itself(
    off: float, noise: float | None, cause: str
) -> None:
    plain = Trial("plainly", False, 0.2)
    result = failed([1.0 + off, 2.0], [1.0, 1.0], fp32_on_device=RIGHT, noise=noise)
    result = replace(
        result,
        evidence=replace(
            result.evidence, whole=True, trials={**result.evidence.trials, "plain_cpu": plain}
        ),
    )
    assert diagnose(OUTPUT, result).cause == cause
