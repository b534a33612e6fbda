"""A case in the saved report and the same case in this run -> what became worse about it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.report.document.case import CaseRecord, MetricsRecord, Number, ToleranceRecord
from pytest_ncnn_parity.report.document.regression import Kind

# An error that doubles is news only if it is a noticeable share of its tolerance: far below that, a sum
# was only taken in another order. In the same way, a largest value that doubles is news only if it comes
# near the end of fp16's range.
NOISE = 0.1
NEAR = 16.0


class CaseChange(Frozen):
    """`before` and `after`: what a regression of this kind records; `what`: the change in words."""

    kind: Kind
    before: str | float | None
    after: str | float | None
    what: str


def case_changes(
    before: CaseRecord | None, after: CaseRecord, factor: float, in_fp16: bool
) -> Iterator[CaseChange]:
    """What is worse in `after`. `in_fp16`: the candidate may hold the values in fp16."""
    outcome = None if before is None else before["outcome"]
    if after["outcome"] == "failed" and outcome != "failed":
        headline = after["message"].partition("\n")[0]
        then = "not in the baseline" if outcome is None else f"{outcome} in the baseline"
        yield CaseChange("red", outcome, "failed", f"red, {then}: {headline}")
        return
    if before is None or (after["known"] and not before["known"]):
        return  # which is declared in the spec
    if _left_gpu(before, after):
        what = f"left the GPU: {before['execution']} -> {after['execution']}"
        yield CaseChange("moved", before["execution"], after["execution"], what)
    elif outcome != "skipped" and after["outcome"] == "skipped":
        yield CaseChange("skipped", outcome, "skipped", f"no longer compared: {after['message']}")
    if before["metrics"] is None or after["metrics"] is None:
        return
    yield from _larger_error(before["metrics"], after["metrics"], before["tolerance"], factor)
    if in_fp16 and after["layer"] is not None and after["outcome"] == "passed":
        yield from _less_headroom(before["metrics"], after["metrics"], factor)


def _left_gpu(before: CaseRecord, after: CaseRecord) -> bool:
    then, now = before["execution"] or "", after["execution"] or ""
    return after["layer"] is not None and then.startswith("vulkan") and now.startswith("cpu")


def _larger_error(
    before: MetricsRecord, after: MetricsRecord, allowed_before: ToleranceRecord | None, factor: float
) -> Iterator[CaseChange]:
    was, now = number(before["scaled"]), number(after["scaled"])
    # a tolerance widened since the baseline must not hide what the earlier one would have shown
    share = max(number(after["used"]), _share(after, allowed_before))
    if now > factor * was and share >= NOISE:
        used = f"{share:.0%} of its tolerance" if math.isfinite(share) else "which nothing allows"
        what = f"error {was:.3g} -> {now:.3g} of the largest value, {used}"
        yield CaseChange("error", before["scaled"], after["scaled"], what)


def _share(metrics: MetricsRecord, tolerance: ToleranceRecord | None) -> float:
    """The largest error as a share of the tolerance that the largest value would have."""
    if tolerance is None:
        return 0.0
    error, absmax = number(metrics["max_abs"]), number(metrics["reference_absmax"])
    budget = tolerance["atol"] + (tolerance["rtol"] + tolerance["scaled"]) * absmax
    if budget > 0.0:
        return error / budget
    return math.inf if error > 0.0 else 0.0


def _less_headroom(before: MetricsRecord, after: MetricsRecord, factor: float) -> Iterator[CaseChange]:
    was, now = number(before["reference_absmax"]), number(after["reference_absmax"])
    if now > factor * was and FP16_MAX / NEAR <= now <= FP16_MAX:
        what = (
            f"largest value {was:.4g} -> {now:.4g}: fp16 ends at {FP16_MAX:.0f}, "
            f"{FP16_MAX / now:.2g} times as large"
        )
        yield CaseChange("headroom", before["reference_absmax"], after["reference_absmax"], what)


def number(value: Number) -> float:
    """A report's number; nan, which nothing exceeds, counts as inf."""
    number = float(value)
    return math.inf if math.isnan(number) else number
