"""The summary at the end of a run, as lines of plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ncnn_parity.report import failure
from pytest_ncnn_parity.report.records import Records, counted

WORST = 3


def summary(records: Records, verbosity: int) -> Iterator[str]:
    """What ran where, how it ended, and which masks repair it."""
    if not records.cases or verbosity < 0:
        return
    environment = records.environment
    devices = ", ".join(f"{d['name']} (fp16 {d['fp16']})" for d in environment.get("devices", ()))
    yield f"ncnn {environment.get('ncnn')}, Vulkan: {devices or 'no device used'}"
    for model in records.document()["models"]:
        yield ""
        yield model["spec"]
        for name in dict.fromkeys(case["comparison"] for case in model["cases"]):
            yield from _comparison(name, [c for c in model["cases"] if c["comparison"] == name])
        yield from (f"  note: {note}" for note in model["notes"])
        for notice in model["masks"]:
            mask = f"31={notice['mask']} on {notice['layer']}"
            yield f"  {notice['kind']} mask: {mask}: {notice['what']}"
        for fix in model["fixes"]:
            yield from _fix(fix)


def _comparison(name: str, cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    counts = counted(cases)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    yield f"  {name}: {told}{_headroom(cases)}"
    if not counts["passed"] and not counts["failed"]:
        reason, _ = Counter(str(case["message"]) for case in cases).most_common(1)[0]
        yield f"    nothing was compared: {reason}"
    red = [case for case in cases if case["outcome"] == "failed"]
    for case in red[:WORST]:
        yield f"    {case['message'].splitlines()[0]}"
    if len(red) > WORST:
        yield f"    ... and {len(red) - WORST} more"
    if not red and counts["passed"]:
        worst = max(
            (c for c in cases if c["metrics"] is not None),
            key=lambda case: (
                float(case["metrics"]["least_scaled"]) / (case["tolerance"]["scaled"] or 1.0)
            ),
        )
        yield (
            f"    worst: {worst['layer'] or 'output ' + worst['output']}, needs scaled "
            f"{float(worst['metrics']['least_scaled']):.3g} of {worst['tolerance']['scaled']:g}"
        )


def _headroom(cases: Sequence[Mapping[str, Any]]) -> str:
    """How far the largest value stays from fp16's end."""
    held = [c["metrics"]["reference_absmax"] for c in cases if c["metrics"] and not c["cause"]]
    if not held or cases[0]["comparison"] != "fp16-range":
        return ""
    largest = max(map(float, held))
    return f", largest passing value {largest:.4g} of 65504"


def _fix(fix: Mapping[str, Any]) -> Iterator[str]:
    first, *rest = failure.fix_lines(fix)
    yield f"  {first} for {fix['comparison']}"
    yield from (f"  {line}" for line in rest)
    patches = [path for path in fix["written"] if path.endswith(".patch")]
    yield from (f"    apply: git apply {path}" for path in patches)
