"""What was seen of a failed case, and what came of trying it otherwise: in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def seen(metrics: Mapping[str, Any], where: str) -> str:
    """The symptom: what stands where something else should."""
    total = metrics["total"]
    for kind in ("nan", "inf"):
        if metrics[kind]:
            return f"{kind} on {where}, {metrics[kind]} of {total} elements"
    if metrics["mismatched"]:
        scaled = float(metrics["scaled"])
        return (
            f"off by {float(metrics['max_abs']):.4g} on {where} (scaled {scaled:.3g}), "
            f"{metrics['mismatched']} of {total} elements"
        )
    return f"{'; '.join(metrics['failed'])} on {where}"


def tried(evidence: Mapping[str, Any]) -> list[str]:
    names = {
        "plain_cpu": "without packing, winograd and sgemm",
        "repeated": "the same once more, which gave other bits",
        "without_arithmetic": "without fp16 arithmetic",
        "without_packing": "without packing",
        "without_winograd": "without winograd",
        "fp32_on_device": "in fp32 on the same device",
    }
    lines = []
    for key, name in names.items():
        if key in evidence:
            found = evidence[key]
            if found["agrees"] is None:
                lines.append(f"tried {name}: {found['problem']}")
            else:
                verdict = "right" if found["agrees"] else "wrong"
                count = f", {found['nonfinite']} inf or nan" if found["nonfinite"] else ""
                lines.append(f"tried {name}: {verdict}, scaled {float(found['scaled']):.3g}{count}")
    return lines


def number(value: Any) -> str:
    return f"{float(value):.10g}"
