"""Says which outputs agree though they hold so little that a faulty device might give the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.report.document.case import CaseRecord, MetricsRecord

ADVICE = "so its agreement says little: feed an input for which it holds something else"


def notes(cases: Collection[CaseRecord]) -> list[str]:
    """Return a line for each such output.

    It lists no detection, has one value, is the same in all samples, or smaller than what is allowed.
    """
    passed: dict[str, list[CaseRecord]] = {}
    for case in cases:
        if case["output"] is not None and case["outcome"] == "passed" and case["metrics"]:
            passed.setdefault(case["output"], []).append(case)
    return [printable(line) for output, own in passed.items() for line in _lines(output, own)]


def _lines(output: str, cases: Collection[CaseRecord]) -> Iterator[str]:
    """Yield the lines about one output in comparisons that have the same reference values."""
    samples = list(dict.fromkeys(case["sample"] for case in cases))
    holds: dict[str, list[str]] = {}
    for case in cases:
        what = _what(case["metrics"])
        if what and case["sample"] not in holds.setdefault(what, []):
            holds[what].append(case["sample"])
    for what, where in holds.items():
        if len(where) < len(samples):
            which = f" in sample{'s' * (len(where) > 1)} {', '.join(where)}"
        else:
            which = " in all samples" if len(samples) > 1 else ""
        yield f"output {output} {what}{which}, {ADVICE}"
    if not holds and _are_alike(cases):
        yield f"output {output} is the same, bit for bit, in all {len(samples)} samples, {ADVICE}"


def _what(metrics: MetricsRecord | None) -> str:
    """Return what an output holds if that says little; of a single float, if 0 would agree as well."""
    assert metrics is not None
    if not metrics["total"]:
        return "lists no detection on both sides"
    value = metrics.get("one_value")
    if value is not None and not (metrics["total"] == 1 and (value != 0.0 or metrics.get("integers"))):
        return f"holds nothing but {float(value):g} on both sides"
    if metrics.get("integers") or float(metrics["reference_absmax"]) > float(
        metrics.get("allowed", 0.0)
    ):
        return ""
    return f"holds nothing beyond {float(metrics['reference_absmax']):.2g}, less than the error allowed"


def _are_alike(cases: Collection[CaseRecord]) -> bool:
    """Return whether an output that depends on its input has the same bits in all samples.

    Integers do not count: two pictures may well be of the same class.
    """
    digests: dict[str, list[str]] = {}
    for case in cases:
        assert case["metrics"] is not None
        digest = case["metrics"].get("digest", "")
        if not digest or case["metrics"].get("integers"):
            return False
        digests.setdefault(case["comparison"], []).append(digest)
    most = max(digests.values(), key=len)
    return len(most) > 1 and all(len(set(own)) == 1 for own in digests.values())
