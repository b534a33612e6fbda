"""What the figures of cases say, in words: the worst, their share of the budget, what fp16 has left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_ncnn_parity.compare.fp16 import FP16_MAX

Case = Mapping[str, Any]


def devices(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The Vulkan devices that cases ran on; ncnn tells of all there are."""
    used = {case["device"] for model in document["models"] for case in model["cases"]}
    return [device for device in document["environment"]["devices"] if device["name"] in used]


def name(case: Case) -> str:
    """What the case is about: a layer, or an output."""
    return str(case["layer"]) if case["output"] is None else f"output {case['output']}"


def load(case: Case) -> float:
    """How much of its budget a case took: 1 is all of it."""
    needed = float(case["metrics"]["least_scaled"])
    allowed = case["tolerance"]["scaled"]
    return needed / allowed if allowed else (math.inf if needed else 0.0)


def share(case: Case) -> str:
    """Error and budget of a case that was compared."""
    metrics, tolerance = case["metrics"], case["tolerance"]
    terms = (f"{key} {tolerance[key]:g}" for key in ("rtol", "atol") if tolerance[key])
    allowed = f"{tolerance['scaled']:g}" if tolerance["scaled"] else ", ".join(terms) or "nothing"
    return f"max_abs {_g(metrics['max_abs'])}, scaled {_g(metrics['scaled'])} of {allowed} allowed"


def worst(cases: Sequence[Case]) -> list[Case]:
    """Those that passed, the one nearest to its budget first."""
    passed = [case for case in cases if case["outcome"] == "passed" and case["metrics"]]
    return sorted(passed, key=load, reverse=True)


def headroom(cases: Sequence[Case]) -> str:
    """How far the largest value that fp16 is to hold is from its end; empty where none was seen."""
    held = [case for case in cases if case["metrics"] and case["layer"] and _in_fp16(case)]
    if not held:
        return ""
    largest = max(held, key=lambda case: float(case["metrics"]["reference_absmax"]))
    value = float(largest["metrics"]["reference_absmax"])
    reaches = f"{largest['layer']} reaches {value:.9g}"
    if value > FP16_MAX:
        return f"none: {reaches}, and fp16 ends at {FP16_MAX:.0f}"
    left = FP16_MAX / value if value else math.inf
    return f"{left:.0f}x" if left > 100 else f"{left:.3g}x: {reaches} of {FP16_MAX:.0f}"


def _in_fp16(case: Case) -> bool:
    return case["comparison"] == "fp16-range" or "fp16 storage" in (case["execution"] or "")


def _g(value: Any) -> str:
    return f"{float(value):.3g}"
