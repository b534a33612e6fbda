"""Rules for constants of a layer, parameters and weights, that fp16 cannot hold."""

from __future__ import annotations

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials


def of_storage_beyond_fp16(failure: Failure) -> Explanation | None:
    """A weight, a scale, or what a norm computes from its epsilon, that fp16 storage turns into inf."""
    constant = failure.evidence.constant
    if constant is None or not constant.overflows or constant.lost_in != "storage":
        return None
    otherwise = "" if "scale" in constant.what else ", or a smaller weight or larger epsilon"
    return _explained(failure, f"keeps it in fp16 storage: 31=18{otherwise}")


def of_arithmetic_beyond_fp16(failure: Failure) -> Explanation | None:
    """A parameter that fp16 arithmetic turns into inf; if a run without that was tried, it was right."""
    constant = failure.evidence.constant
    if constant is None or not constant.overflows or constant.lost_in != "arithmetic":
        return None
    if not (failure.evidence.predicted or failure.evidence.right("without_arithmetic")):
        return None
    return _explained(failure, "takes it in fp16 arithmetic: 31=1 on this layer fixes it")


def too_coarse_in_fp16(failure: Failure) -> Explanation | None:
    """What a kernel computes in fp16 arithmetic, such as a pixel's position; right without it."""
    constant = failure.evidence.constant
    if constant is None or not constant.coarse:
        return None
    certain = failure.evidence.predicted or constant.lost_in == "storage"
    if not (certain or failure.evidence.right("without_arithmetic")):
        return None
    seen = "predicted" if failure.evidence.predicted else failure.seen
    how = "computes it in fp16 arithmetic: 31=1"
    if constant.lost_in == "storage":
        how = "reads what fp16 storage has rounded: 31=18"
    return with_trials(
        failure,
        f"fp16 rounds {constant.what}, up to {wording.number(constant.value)}, too coarsely; {seen}",
        f"ncnn's kernel on Vulkan {how} on this layer fixes it",
    )


def too_small_for_fp16(failure: Failure) -> Explanation | None:
    constant = failure.evidence.constant
    if constant is None or constant.overflows or constant.coarse:
        return None
    certain = failure.evidence.predicted or constant.lost_in == "storage"
    if not (certain or failure.evidence.right("without_arithmetic")):
        return None
    mask = "31=1" if constant.lost_in == "arithmetic" else "31=18"
    return _explained(failure, f"takes it in fp16 {constant.lost_in}: {mask} on this layer fixes it")


def _explained(failure: Failure, how: str) -> Explanation:
    constant = failure.evidence.constant
    assert constant is not None
    value = wording.number(abs(constant.value))
    limit = f"> {FP16_MAX:.0f}: inf in fp16" if constant.overflows else "is 0 or inexact in fp16"
    sign = "-" if constant.value < 0.0 else ""
    named = (
        f"{constant.what}{sign}{value}" if constant.what.endswith("=") else f"{constant.what} {value}"
    )
    seen = "predicted" if failure.evidence.predicted else failure.seen
    fits = f"the true values reach {wording.number(failure.metrics.reference_absmax)}"
    return with_trials(failure, f"{named} {limit}; {seen}", f"ncnn's kernel on Vulkan {how}", fits)
