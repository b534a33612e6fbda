"""Puts a model's figures into words: the worst cases, their share of the tolerance, fp16's headroom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_OVERFLOW
from pytest_ncnn_parity.report.document import DeviceRecord, Report
from pytest_ncnn_parity.report.document.case import (
    CaseRecord,
    Number,
    ToleranceRecord,
)

RANGE = "fp16-range"

Target = tuple[str, int | None]


def first_line(message: str | None) -> str:
    """Return the first line of a case's message, which stands for it in lists."""
    return (message or "").partition("\n")[0]


def devices(document: Report) -> list[DeviceRecord]:
    """Return the Vulkan devices that cases ran on, out of all that ncnn lists."""
    used = {case["device"] for model in document["models"] for case in model["cases"]}
    return [device for device in document["environment"]["devices"] if device["name"] in used]


def where(document: Report) -> list[str]:
    """Return each ncnn version that ran and what it ran on, that of this machine first."""
    environment = document["environment"]
    workers = environment.get("workers", {})
    on_vulkan = devices(document) or any(worker["devices"] for worker in workers.values())
    ran = ["ncnn did not run here"]
    if environment["ncnn"] is not None:
        ran = [f"ncnn {environment['ncnn']}{'' if on_vulkan else ', no case ran on Vulkan'}"]
    for name, worker in workers.items():
        on = ", ".join(filter(None, (worker["machine"], worker["devices"])))
        ran.append(f"worker {name}: ncnn {worker['ncnn']} on {on}")
    return ran


def name(case: CaseRecord) -> str:
    """Return the name of the layer or the output that the case is about."""
    return str(case["layer"]) if case["output"] is None else f"output {case['output']}"


def target(case: CaseRecord) -> Target:
    """Return what the case is about, as a key: layers of one name are told apart by their numbers."""
    return name(case), case.get("number")


def fault(case: CaseRecord) -> tuple[Target, str]:
    """Return what tells red cases apart that are alike but for their sample: the target and the cause.

    What no cause explains, such as an input that cannot be read, differs by its first line.
    """
    return target(case), case["cause"] or first_line(case["message"])


def share(case: CaseRecord) -> str:
    """Return the error and the tolerance of a case, or an empty string if it was not compared."""
    metrics, tolerance = case["metrics"], case["tolerance"]
    if metrics is None or tolerance is None:
        return ""
    if case["outcome"] == "failed" and not metrics["mismatched"] and not _as_a_whole(tolerance):
        return ""  # it is red for another value than those that were compared
    if metrics.get("integers"):
        return f"off by {float(metrics['max_abs']):.0f}; integers are right or wrong"
    error = f"max_abs {_g(metrics['max_abs'])}, scaled {_g(metrics['scaled'])}"
    if (least := tolerance.get("sqnr_db")) is not None:
        error = f"sqnr {_g(metrics['sqnr_db'])} dB, {least:g} or more allowed; {error}"
    allowed = f"{error} of {_allowed(tolerance)} allowed"
    within = case["outcome"] == "passed" and not metrics["mismatched"]
    if within and 0.0 < tolerance["scaled"] < float(metrics["scaled"]):
        # a share of what the output can be, as of 1 for a probability, not of its largest value
        allowed = f"max_abs {_g(metrics['max_abs'])} of {_g(metrics.get('allowed', 0.0))} allowed"
    if case["outcome"] == "passed" and metrics["mismatched"] and case["message"]:
        return f"{allowed}; {case['message']}"
    return allowed


def _as_a_whole(tolerance: ToleranceRecord) -> bool:
    """Whether more than single elements must agree."""
    return tolerance.get("cosine") is not None or tolerance.get("sqnr_db") is not None


def _allowed(tolerance: ToleranceRecord) -> str:
    if tolerance["scaled"]:
        return f"{tolerance['scaled']:g}"
    terms = {"rtol": tolerance["rtol"], "atol": tolerance["atol"]}
    return ", ".join(f"{key} {value:g}" for key, value in terms.items() if value) or "nothing"


def worst(cases: Sequence[CaseRecord]) -> list[CaseRecord]:
    """Return the cases that passed, the one that used most of its tolerance first."""
    passed = [
        (float(case["metrics"]["used"]), case)
        for case in cases
        if case["outcome"] == "passed" and case["metrics"]
    ]
    return [case for _, case in sorted(passed, key=lambda pair: pair[0], reverse=True)]


def headroom(cases: Sequence[CaseRecord]) -> str:
    """Return how far the largest value in fp16 is from fp16's limit; empty if there is none."""
    held = [
        case
        for case in cases
        if case["metrics"] and case["layer"] and _in_fp16(case) and case["cause"] != "reference"
    ]
    # in another setup the same value has other last digits; one number for a layer is enough
    by_range = {(one["sample"], target(one)) for one in held if one["comparison"] == RANGE}
    reached = [
        reached
        for case in held
        if case["comparison"] == RANGE or (case["sample"], target(case)) not in by_range
        for reached in _reached(case)
    ]
    if not reached:
        return ""
    value, reaches = max(reached, key=lambda pair: pair[0])
    if value >= FP16_OVERFLOW:
        return f"none: {reaches}, and fp16 ends at {FP16_MAX:.0f}"
    left = max(1.0, FP16_MAX / value) if value else math.inf  # what is rounded to the end is held
    return f"{left:.0f}x" if left > 100 else f"{left:.3g}x: {reaches} of {FP16_MAX:.0f}"


def _reached(case: CaseRecord) -> Iterator[tuple[float, str]]:
    """Yield the largest values that fp16 must hold, in and inside the layer, each also in words."""
    if case["metrics"] is not None:
        value = float(case["metrics"]["reference_absmax"])
        yield value, f"{case['layer']} reaches {value:.9g}"
    inside = case.get("inside")
    if inside is not None:
        value = float(inside["stored"])
        yield value, f"{case['layer']} reaches {value:.9g} in {inside['kernel']}"


def _in_fp16(case: CaseRecord) -> bool:
    return case["comparison"] == RANGE or "fp16 storage" in (case["execution"] or "")


def _g(value: Number) -> str:
    return f"{float(value):.3g}"
